"""What one training step of AudioX minimises: the error of the predicted v at a drawn time, under masked conditions.

Every number a sample draws (which modalities it is shown, its time, its noise) comes from its own generator, in this
order, so that it does not depend on the rest of the batch nor on the device.

Legend: B batch, F latent frames, D latent channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from models.audiox.conditioning import ConditionEncoders
from models.audiox.network import AudioXNetwork
from models.diffusion.paths import PATHS, mixed, squared_error
from models.diffusion.times import TimeDraw
from models.training.step import Batch, StepResult


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionDrop:
    """Multi-modal masked training in its simplest form: how often a sample is not shown a condition.

    Source: masking across modalities, arXiv 2503.10522; `everything` as in its code; the others are ours.

    Attributes:
        everything: Probability that all conditions are taken away (which guidance needs).
        text: Probability that the text is, by itself.
        frames: Probability that the pictures are, by themselves.
    """

    everything: float = 0.1
    text: float = 0.1
    frames: float = 0.1

    def __post_init__(self) -> None:
        for name in ("everything", "text", "frames"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"probability {name} is {getattr(self, name)}: it goes from 0 to 1")

    def draw(self, rng: np.random.Generator) -> tuple[bool, bool]:
        """Whether one sample keeps its text, and whether it keeps its pictures."""
        everything, text, frames = rng.random(3)
        stays = bool(everything >= self.everything)
        return stays and bool(text >= self.text), stays and bool(frames >= self.frames)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveSettings:
    """Settings of the objective.

    Attributes:
        path: "flow" (rectified flow) or "v" (v-prediction).
        times: How times are drawn.
        drop: How often conditions are taken away.
        time_bins: Equal parts of [0, 1] for which the loss is reported.
    """

    path: Literal["flow", "v"] = "flow"
    times: TimeDraw = field(default_factory=TimeDraw)
    drop: ConditionDrop = field(default_factory=ConditionDrop)
    time_bins: int = 4

    def __post_init__(self) -> None:
        if self.path not in PATHS:
            raise ValueError(f"path is {self.path!r}: choose one of {', '.join(PATHS)}")
        if self.time_bins < 1:
            raise ValueError(f"time_bins is {self.time_bins}: it must be at least 1")


class AudioXObjective:
    """The objective, as the training loop calls it.

    A batch has `latents` (B, F, D) float32 in the codec's units, `texts` (B strings, empty where absent), `frames`
    (B, N, H, W, 3) uint8 or None, `has_frames` (B,) bool, and `keys`.
    """

    def __init__(self, settings: ObjectiveSettings, encoders: ConditionEncoders) -> None:
        self.settings = settings
        self.encoders = encoders
        self.path = PATHS[settings.path]

    def __call__(self, network: nn.Module, batch: Batch, rngs: Sequence[np.random.Generator]) -> StepResult:
        """The loss of a batch, and its mean by part of the time."""
        if not isinstance(network, AudioXNetwork):
            raise TypeError(f"the AudioX objective needs an AudioXNetwork, not a {type(network).__name__}")
        x_BFD = network.scale.scaled(batch["latents"])
        device = x_BFD.device
        keeps_B2 = torch.tensor([self.settings.drop.draw(rng) for rng in rngs], device=device)
        t_B = torch.tensor([self.settings.times.draw(rng) for rng in rngs], device=device)
        noise_BFD = drawn_noise(rngs, x_BFD)
        features = self.encoders.features(batch["texts"], batch["frames"], batch["has_frames"])
        features = features.keeping(keeps_B2[:, 0], keeps_B2[:, 1])
        v_BFD = network(mixed(self.path, x_BFD, noise_BFD, t_B), t_B, features)
        loss_B = squared_error(v_BFD, self.path.target(x_BFD, noise_BFD, t_B))
        return StepResult(loss=loss_B.mean(), tallies=self._by_time(loss_B.detach(), t_B))

    def _by_time(self, loss_B: Tensor, t_B: Tensor) -> dict[str, Tensor]:
        bins = self.settings.time_bins
        bin_B = (t_B * bins).long().clamp_max(bins - 1)
        inside_KB = bin_B == torch.arange(bins, device=bin_B.device)[:, None]
        tallies_K2 = torch.stack([(inside_KB * loss_B).sum(1), inside_KB.sum(1).float()], dim=1)
        return {f"loss_t_{k / bins:.2f}_{(k + 1) / bins:.2f}": tallies_K2[k] for k in range(bins)}


def drawn_noise(rngs: Sequence[np.random.Generator], like_BFD: Tensor) -> Tensor:
    """Standard normal noise, each sample from its own generator: (B, F, D) float32, on the device of `like_BFD`."""
    shape = tuple(like_BFD.shape[1:])
    noise = np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs])
    return torch.from_numpy(noise).to(like_BFD.device)
