"""A waveform autoencoder of our own: diffusers' `AutoencoderOobleck`, trained against a judge of its sounds.

The autoencoder and its judge are one network with one loss: what the autoencoder minimises sees the judge's weights
without gradient, what the judge minimises sees the made sounds without gradient, so one backward pass gives each its
own. So the loop trains, saves and resumes it like any other network.

Shapes: B clips, C channels, T samples, F latent frames, D latent channels.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.codecs.discriminator import DiscriminatorConfig, StftDiscriminator
from models.codecs.losses import (
    SpectralLoss,
    SpectralSettings,
    feature_distance,
    judge_loss,
    latent_divergence,
    persuasion_loss,
)
from models.training.step import Batch, StepResult


@dataclass(frozen=True, kw_only=True, slots=True)
class WaveformVaeConfig:
    """Size of the autoencoder.

    Source of the defaults: Stable Audio Open's, arXiv 2407.14358, section 3.1, as diffusers has it.

    Attributes:
        sample_rate_hz: Of the sounds.
        channels: Of the sounds.
        latent_channels: Of the latents; the encoder is twice as wide at its ends.
        strides: Samples that each block makes one of, even; their product is the hop.
        multiples: Width of each block in units of the first.
        decoder_width: Of the decoder at its sound end.
    """

    sample_rate_hz: int = 44_100
    channels: int = 2
    latent_channels: int = 64
    strides: tuple[int, ...] = (2, 4, 4, 8, 8)
    multiples: tuple[int, ...] = (1, 2, 4, 8, 16)
    decoder_width: int = 128

    def __post_init__(self) -> None:
        for name in ("sample_rate_hz", "channels", "latent_channels", "decoder_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.strides or any(stride < 2 or stride % 2 for stride in self.strides):
            raise ValueError(f"strides must be even and at least 2, got {self.strides}")
        if len(self.multiples) != len(self.strides) or any(one < 1 for one in self.multiples):
            raise ValueError(f"multiples must be as many as strides and at least 1, got {self.multiples}")

    @property
    def hop_samples(self) -> int:
        """Samples of one latent frame."""
        return math.prod(self.strides)

    def build(self) -> Any:
        """An untrained `AutoencoderOobleck`, with weights from torch's generator.

        Raises:
            ImportError: diffusers is not installed.
        """
        try:
            from diffusers import AutoencoderOobleck
        except ImportError as error:
            raise ImportError("a waveform autoencoder needs diffusers: pip install 'diffusers>=0.38'") from error
        # Without gradient, else the weights that it computes from others hang on them and it could not be copied.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*weight_norm", category=FutureWarning)
            return AutoencoderOobleck(
                encoder_hidden_size=2 * self.latent_channels,
                downsampling_ratios=list(self.strides),
                channel_multiples=list(self.multiples),
                decoder_channels=self.decoder_width,
                decoder_input_channels=self.latent_channels,
                audio_channels=self.channels,
                sampling_rate=self.sample_rate_hz,
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecLossSettings:
    """What each part of the loss weighs.

    Source of the defaults: `stable_audio_2_0_vae.json` of Stable Audio's code.

    Attributes:
        spectra: Which spectra are compared.
        spectral: Weight of their distance.
        wave: Weight of the mean absolute difference of samples, which hears phase as magnitudes do not.
        divergence: Weight of the latents' divergence from a standard normal.
        adversarial: Weight of the judge's marks; 0 with `features` 0: no judge.
        features: Weight of the distance of the judge's features.
    """

    spectra: SpectralSettings = field(default_factory=SpectralSettings)
    spectral: float = 1.0
    wave: float = 0.0
    divergence: float = 1e-4
    adversarial: float = 0.1
    features: float = 5.0

    def __post_init__(self) -> None:
        for name in ("spectral", "wave", "divergence", "adversarial", "features"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"the weight {name} cannot be negative, got {getattr(self, name)}")
        if not self.spectral + self.wave > 0:
            raise ValueError("the weights spectral and wave are both 0: nothing would hold the sounds together")

    @property
    def has_judge(self) -> bool:
        """Whether a judge takes part."""
        return self.adversarial + self.features > 0


class WaveformVae(nn.Module):
    """An autoencoder and the judge it is trained against; `autoencoder` is what stays of it."""

    def __init__(self, config: WaveformVaeConfig, judge: DiscriminatorConfig | None) -> None:
        super().__init__()
        if judge is not None and judge.channels != config.channels:
            raise ValueError(f"the judge hears {judge.channels} channels, the sounds have {config.channels}")
        self.config = config
        self.autoencoder = config.build()
        self.judge = None if judge is None else StftDiscriminator(judge)

    def forward(self, wave_BCT: Tensor, noise_BDF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sounds to latents and back.

        Args:
            wave_BCT: Float32, T a multiple of the hop.
            noise_BDF: Standard normal, for the draw of the latents.

        Returns:
            The made sounds (B, C, T), mean and standard deviation of the latents (B, D, F); float32.
        """
        latents = self.autoencoder.encode(wave_BCT).latent_dist
        made_BCT = self.autoencoder.decode(latents.mean + latents.std * noise_BDF.to(latents.mean.dtype)).sample
        return made_BCT.float(), latents.mean.float(), latents.std.float()


class WaveformVaeObjective:
    """What a step minimises: the loss of the autoencoder plus that of the judge; see the module for why it is a sum."""

    def __init__(self, settings: CodecLossSettings) -> None:
        self.settings = settings
        self._spectral = SpectralLoss(settings.spectra)

    def __call__(self, network: nn.Module, batch: Batch, rngs: Sequence[np.random.Generator]) -> StepResult:
        """The loss of a batch.

        Args:
            network: A `WaveformVae`.
            batch: `waves`, float32 (B, C, T).
            rngs: Draw the latents.

        Raises:
            TypeError: It is another network.
        """
        if not isinstance(network, WaveformVae):
            raise TypeError(f"a {type(network).__name__} is no WaveformVae")
        settings, wave_BCT = self.settings, batch["waves"]
        channels, frames = network.config.latent_channels, wave_BCT.shape[2] // network.config.hop_samples
        noise_BDF = torch.from_numpy(
            np.stack([rng.standard_normal((channels, frames), dtype=np.float32) for rng in rngs])
        )
        made_BCT, mean_BDF, std_BDF = network(wave_BCT, noise_BDF.to(wave_BCT.device))
        with torch.autocast(wave_BCT.device.type, enabled=False):
            parts = {
                "spectral": settings.spectral * self._spectral(made_BCT, wave_BCT),
                "wave": settings.wave * (made_BCT - wave_BCT).abs().mean(),
                "divergence": settings.divergence * latent_divergence(mean_BDF, std_BDF),
            }
        heard = judged(network.judge, made_BCT, wave_BCT, adversarial=settings.adversarial, features=settings.features)
        return result_of({**parts, **heard}, clips=len(wave_BCT))


def judged(
    judge: StftDiscriminator | None, made_BCT: Tensor, wanted_BCT: Tensor, *, adversarial: float, features: float
) -> dict[str, Tensor]:
    """The parts of a loss that a judge adds: to the maker's loss `adversarial` and `features`, and `judge`, its own."""
    if judge is None:
        return {}
    real, made, persuading = judge(wanted_BCT), judge(made_BCT.detach()), judge.frozen(made_BCT)
    return {
        "adversarial": adversarial * persuasion_loss(persuading),
        "features": features * feature_distance(real, persuading),
        "judge": judge_loss(real, made),
    }


def result_of(parts: dict[str, Tensor], *, clips: int) -> StepResult:
    """The sum of weighted parts, and each of them for the log."""
    tallies = {name: torch.stack([part.detach() * clips, part.new_tensor(clips)]) for name, part in parts.items()}
    return StepResult(loss=torch.stack(list(parts.values())).sum(), tallies=tallies)
