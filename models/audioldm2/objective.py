"""What a training step of AudioLDM 2 minimises, in each of its three phases.

    diffusion   the UNet learns to find noise, conditioned on the true language of audio (LOA) of the sound itself
    language    the language model learns to say the LOA from words
    joint       both go on together: the UNet is conditioned on the true LOA in a quarter of the samples, and on what
                the language model says of the words in the others, through which the language model learns too

Source: Liu et al. 2023, arXiv 2308.05734, and the published configuration: prediction of noise, words dropped with 0.1,
0.25 and 0.75 in the joint phase, L1 (the paper writes the mean square error). Ours: the regression goes on in the joint
phase, so that what is said stays LOA; where words are dropped, the UNet is conditioned on what the language model says
of nothing, as guidance has it, before there is one on the mean LOA.

Legend: B batch, N those of it whose LOA is said, F latent frames, D latent channels, L LOA vectors, W their width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from models.audioldm2.conditioning import Nothing, of_streams, streams_of_batch
from models.audioldm2.language import Streams
from models.audioldm2.network import AudioLdm2Network
from models.diffusion.discrete import DiscreteSchedule
from models.training.step import Batch, StepResult

Phase = Literal["diffusion", "language", "joint"]
Distance = Literal["l1", "mse"]


def published_schedule() -> DiscreteSchedule:
    """The levels of noise that AudioLDM 2 was trained on.

    Source: its configuration says linear from 0.0015 to 0.0195; in the code that reads it roots are spaced evenly, as
    diffusers' `scaled_linear`.
    """
    return DiscreteSchedule()


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveSettings:
    """What a step minimises.

    Attributes:
        phase: Which of the three.
        schedule: Levels of noise.
        drop: Share of samples whose words are taken away, so that guidance can lead away from that. Source: 0.1 in the
            published configuration.
        true_ratio: In the joint phase, share of samples whose UNet is conditioned on the true LOA; never those whose
            words are taken away. Source: 0.25 in AudioLDM 2.
        distance: Between LOA vectors: "l1", as the published code has it, or "mse", as the paper.
        language_weight: Of the regression beside the diffusion in the joint phase. Ours.
        of_sound_ratio: Share of samples whose CLAP vector is that of the sound instead of its words, where the batch
            has it. Source: AudioLDM 2 takes words; other shares are for sets with few.
    """

    phase: Phase
    schedule: DiscreteSchedule = field(default_factory=published_schedule)
    drop: float = 0.1
    true_ratio: float = 0.25
    distance: Distance = "l1"
    language_weight: float = 1.0
    of_sound_ratio: float = 0.0

    def __post_init__(self) -> None:
        if self.phase not in get_args(Phase):
            raise ValueError(f"phase is {self.phase!r}: choose one of {', '.join(get_args(Phase))}")
        if self.distance not in get_args(Distance):
            raise ValueError(f"distance is {self.distance!r}: choose 'l1' or 'mse'")
        for name in ("drop", "true_ratio", "of_sound_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it goes from 0 to 1")
        if self.language_weight < 0:
            raise ValueError(f"language_weight is {self.language_weight}: it cannot be negative")


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What is drawn for each sample, the same in every phase."""

    dropped_B: Tensor
    level_B: Tensor
    is_true_B: Tensor
    of_sound_B: Tensor
    noise_BFD: Tensor


class AudioLdm2Objective:
    """The loss of a batch.

    Args:
        settings: What to minimise.
        nothing: What stands where nothing is said; see `FrozenEncoders.nothing`.
    """

    def __init__(self, settings: ObjectiveSettings, nothing: Nothing) -> None:
        self.settings, self.nothing = settings, nothing

    def __call__(self, network: nn.Module, batch: Batch, rngs: Sequence[np.random.Generator]) -> StepResult:
        """The loss of a batch.

        Args:
            network: An `AudioLdm2Network`.
            batch: `latents` (B, F, D), `heard` (B, L, W), `texts`, and what `streams_of_batch` reads.
            rngs: Of each sample.
        """
        if not isinstance(network, AudioLdm2Network):
            raise TypeError(f"the network is a {type(network).__name__}, not an AudioLdm2Network")
        settings, loa_BLW = self.settings, batch["heard"].float()
        drawn = self._draw(batch["latents"], rngs)
        streams = streams_of_batch(
            batch,
            network.language.config.streams,
            dropped_B=drawn.dropped_B,
            nothing=self.nothing,
            of_sound_B=drawn.of_sound_B if settings.of_sound_ratio else None,
        )
        losses: dict[str, Tensor] = {}
        if settings.phase != "diffusion":
            losses["language"] = self._distance(network.language.predicted(streams, loa_BLW), loa_BLW)
        if settings.phase != "language":
            heard_BLW = self._conditions(network, streams, loa_BLW, drawn)
            losses["diffusion"] = self._diffusion(network, batch["latents"], heard_BLW, streams, drawn)
        weights = {"language": settings.language_weight if settings.phase == "joint" else 1.0}
        loss = torch.stack([weights.get(name, 1.0) * loss_B.mean() for name, loss_B in losses.items()]).sum()
        tallies = {
            f"loss_{name}": torch.stack([loss_B.detach().sum(), loss_B.new_tensor(float(len(loss_B)))])
            for name, loss_B in losses.items()
        }
        return StepResult(loss=loss, tallies=tallies)

    def _draw(self, latents_BFD: Tensor, rngs: Sequence[np.random.Generator]) -> _Drawn:
        settings, device = self.settings, latents_BFD.device
        shares = np.array([rng.random(3) for rng in rngs])
        levels = [settings.schedule.draw(rng) for rng in rngs]
        noise = [rng.standard_normal(latents_BFD.shape[1:], np.float32) for rng in rngs]
        dropped_B, is_true_B, of_sound_B = (
            torch.from_numpy(shares[:, column] < ratio).to(device)
            for column, ratio in enumerate((settings.drop, settings.true_ratio, settings.of_sound_ratio))
        )
        return _Drawn(
            dropped_B=dropped_B,
            level_B=torch.tensor(levels, device=device),
            is_true_B=is_true_B,
            of_sound_B=of_sound_B,
            noise_BFD=torch.from_numpy(np.stack(noise)).to(device),
        )

    def _conditions(self, network: AudioLdm2Network, streams: Streams, loa_BLW: Tensor, drawn: _Drawn) -> Tensor:
        """The LOA that each sample of the UNet is conditioned on."""
        if self.settings.phase == "diffusion":
            return torch.where(drawn.dropped_B[:, None, None], network.mean_loa_LW, loa_BLW)
        rows_N = torch.nonzero(~drawn.is_true_B | drawn.dropped_B)[:, 0]
        if not len(rows_N):
            return loa_BLW
        said_NLW = network.language.spoken(of_streams(streams, rows_N))
        return loa_BLW.to(said_NLW.dtype).index_copy(0, rows_N, said_NLW)

    def _diffusion(
        self, network: AudioLdm2Network, latents_BFD: Tensor, loa_BLW: Tensor, streams: Streams, drawn: _Drawn
    ) -> Tensor:
        """The mean square error of each sample, (B,)."""
        schedule = self.settings.schedule
        x_BFD = latents_BFD.float() * network.latent_scale
        z_BFD = schedule.noised(x_BFD, drawn.noise_BFD, drawn.level_B)
        text = None if network.text_stream is None else streams[network.text_stream]
        found_BFD = network.noise(z_BFD, drawn.level_B, loa_BLW, text).float()
        wanted_BFD = schedule.wanted(x_BFD, drawn.noise_BFD, drawn.level_B)
        return (found_BFD - wanted_BFD).square().flatten(1).mean(1)

    def _distance(self, said_BLW: Tensor, loa_BLW: Tensor) -> Tensor:
        """Between LOAs, (B,)."""
        difference_BLW = said_BLW.float() - loa_BLW
        size_BLW = difference_BLW.abs() if self.settings.distance == "l1" else difference_BLW.square()
        return size_BLW.flatten(1).mean(1)


def trained_parts(network: AudioLdm2Network, phase: Phase) -> None:
    """Has a network's parameters need a gradient where a phase trains them."""
    network.unet.requires_grad_(phase != "language")
    network.language.requires_grad_(phase != "diffusion")
    network.language.gpt2.wte.requires_grad_(False)
