"""What one training step of Re-AudioLDM minimises: the error of the noise that it predicts at a drawn level.

Sometimes the whole condition is taken away, for guidance, and sometimes only what retrieval found, so that the same
network also knows prompts without neighbours. Every number a sample draws comes from its own generator, in this order:
its level, its noise, what is taken away.

Legend: B batch, F latent frames, D latent channels; the letters of conditions stand in `conditioning.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from models.audiox.objective import drawn_noise
from models.diffusion.discrete import DiscreteSchedule
from models.diffusion.paths import squared_error
from models.re_audioldm.conditioning import Conditions
from models.re_audioldm.network import ReAudioLdmNetwork
from models.training.step import Batch, StepResult


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveSettings:
    """Settings of the objective.

    Attributes:
        schedule: Levels of noise.
        drop_all: How often the whole condition is taken away. Source: 0.1 in AudioLDM.
        drop_neighbours: How often the neighbours alone are, of the samples that keep their condition. Ours.
        level_bins: Equal parts of the levels for which the loss is reported.
    """

    schedule: DiscreteSchedule = field(default_factory=DiscreteSchedule)
    drop_all: float = 0.1
    drop_neighbours: float = 0.1
    level_bins: int = 4

    def __post_init__(self) -> None:
        for name in ("drop_all", "drop_neighbours"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it goes from 0 to 1")
        if self.level_bins < 1:
            raise ValueError(f"level_bins is {self.level_bins}: it must be at least 1")


class ReAudioLdmObjective:
    """The objective, as the training loop calls it.

    A batch has `latents` (B, F, D) float32 in the codec's units, `keys`, and `said` (B, S) float32, vectors of the
    texts. It may have neighbours of them, K a sample: `has_neighbours` (B, K) bool, `neighbour_heard` (B, K, L, H)
    float32, and `neighbour_tokens` (B, K, N, T) float32 with `neighbour_token_lengths` (B, K) int64.
    """

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.settings = settings

    def __call__(self, network: nn.Module, batch: Batch, rngs: Sequence[np.random.Generator]) -> StepResult:
        """The loss of a batch, and its mean by part of the levels."""
        if not isinstance(network, ReAudioLdmNetwork):
            raise TypeError(f"the Re-AudioLDM objective needs a ReAudioLdmNetwork, not a {type(network).__name__}")
        settings, schedule = self.settings, self.settings.schedule
        x_BFD = network.scale.scaled(batch["latents"])
        level_B = torch.tensor([schedule.draw(rng) for rng in rngs], device=x_BFD.device)
        noise_BFD = drawn_noise(rngs, x_BFD)
        draws = torch.tensor([rng.random(2).tolist() for rng in rngs], device=x_BFD.device)
        stays_B = draws[:, 0] >= settings.drop_all
        near_B = stays_B & (draws[:, 1] >= settings.drop_neighbours)
        conditions = Conditions.of_batch(batch, network.config.neighbours).keeping(stays_B, near_B)
        predicted_BFD = network(schedule.noised(x_BFD, noise_BFD, level_B), level_B, conditions)
        loss_B = squared_error(predicted_BFD, schedule.wanted(x_BFD, noise_BFD, level_B))
        return StepResult(loss=loss_B.mean(), tallies=self._by_level(loss_B.detach(), level_B))

    def _by_level(self, loss_B: Tensor, level_B: Tensor) -> dict[str, Tensor]:
        bins, levels = self.settings.level_bins, self.settings.schedule.levels
        bin_B = level_B * bins // levels
        inside_KB = bin_B == torch.arange(bins, device=bin_B.device)[:, None]
        tallies_K2 = torch.stack([(inside_KB * loss_B).sum(1), inside_KB.sum(1).float()], dim=1)
        edges = [levels * k // bins for k in range(bins + 1)]
        return {f"loss_level_{edges[k]}_{edges[k + 1]}": tallies_K2[k] for k in range(bins)}
