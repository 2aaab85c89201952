"""A mel autoencoder and a HiFi-GAN of our own, trained in one run, and the recipe for two CPU cores.

The two do not meet in training: the vocoder hears true spectrograms. So their losses are added up and each gets its own
gradients; likewise the judge of the vocoder's sounds (`waveform_vae.py`).

Shapes: B clips, T samples, F frames, M mel bands, Z channels of the autoencoder, W its bins of frequency.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.codecs.discriminator import DiscriminatorConfig, StftDiscriminator
from models.codecs.losses import SpectralLoss, SpectralSettings, latent_divergence
from models.codecs.mel import LogMel, LogMelConfig
from models.codecs.mel_vae import MelVaeCodec, voiced
from models.codecs.recipes import WavesAt, begin_run
from models.codecs.waveform_vae import judged, result_of
from models.model_folder import RUN_MODEL, written_whole
from models.training.averaged import seeded, train_averaged
from models.training.ema import EmaSettings
from models.training.execution import Execution
from models.training.loop import TrainSettings, Watchers
from models.training.optimizers import OptimizerSettings
from models.training.schedule import Schedule
from models.training.step import Batch, StepResult
from models.training.world import World

DILATIONS = (1, 3, 5)
"""Of the layers of a residual block of the vocoder. Source: HiFi-GAN's code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MelVaeConfig:
    """Sizes of the autoencoder and of the vocoder.

    Source of the defaults: AudioLDM 2 (arXiv 2308.05734) and its published configuration: 8 latent channels of 16 bins,
    25 frames a second; HiFi-GAN (arXiv 2010.05646) with strides of 160 in all.

    Attributes:
        mel: The spectrogram between them, with n_fft 1024 and bands from 0 to half the rate, as no file tells another.
        latent_channels: Of the autoencoder, for each bin.
        widths: Of its levels; each but the first halves time and frequency.
        layers: Residual blocks of a level.
        vocoder_width: Of the vocoder at its mel end.
        strides: Of the vocoder; their product is the hop.
        kernels: As many; a stride and its kernel differ by an even number, else the sound is longer, and cut.
        block_kernels: Of the residual blocks behind each stride, which are averaged.
    """

    mel: LogMelConfig = field(default_factory=LogMelConfig)
    latent_channels: int = 8
    widths: tuple[int, ...] = (128, 256, 512)
    layers: int = 2
    vocoder_width: int = 1024
    strides: tuple[int, ...] = (5, 4, 2, 2, 2)
    kernels: tuple[int, ...] = (16, 16, 8, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7, 11)

    def __post_init__(self) -> None:
        if self.latent_channels < 1 or self.layers < 1:
            raise ValueError(f"latent_channels and layers must be at least 1: {self.latent_channels}, {self.layers}")
        if not self.widths or any(width % 8 or width < 8 for width in self.widths):
            raise ValueError(f"widths must be multiples of 8, got {self.widths}")
        if self.mel.mel_bins % self.frames:
            raise ValueError(f"{self.mel.mel_bins} mel bands cannot be divided by {self.frames}")
        if int(np.prod(self.strides)) != self.mel.hop_samples or len(self.kernels) != len(self.strides):
            raise ValueError(
                f"strides {self.strides} must make {self.mel.hop_samples} samples of a frame, with as many kernels, "
                f"got {self.kernels}"
            )
        if not self.block_kernels or any(kernel < 1 or kernel % 2 == 0 for kernel in self.block_kernels):
            raise ValueError(f"block_kernels must be odd numbers, at least one, got {self.block_kernels}")
        if self.vocoder_width % 2 ** len(self.strides):
            raise ValueError(f"vocoder_width is halved {len(self.strides)} times, got {self.vocoder_width}")

    @property
    def frames(self) -> int:
        """Mel frames of one latent frame."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def hop_samples(self) -> int:
        """Samples of one latent frame."""
        return self.frames * self.mel.hop_samples

    def build_vae(self) -> Any:
        """An untrained `AutoencoderKL`, with weights from torch's generator.

        Raises:
            ImportError: diffusers is not installed.
        """
        try:
            from diffusers import AutoencoderKL
        except ImportError as error:
            raise ImportError("a mel autoencoder needs diffusers: pip install 'diffusers>=0.38'") from error
        levels = len(self.widths)
        return AutoencoderKL(
            in_channels=1,
            out_channels=1,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=self.widths,
            layers_per_block=self.layers,
            latent_channels=self.latent_channels,
            norm_num_groups=min(32, *(width // 4 for width in self.widths)),
        )

    def build_vocoder(self) -> Any:
        """An untrained `SpeechT5HifiGan`, with weights from torch's generator."""
        from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

        config = SpeechT5HifiGanConfig(
            model_in_dim=self.mel.mel_bins,
            sampling_rate=self.mel.sample_rate_hz,
            upsample_initial_channel=self.vocoder_width,
            upsample_rates=list(self.strides),
            upsample_kernel_sizes=list(self.kernels),
            resblock_kernel_sizes=list(self.block_kernels),
            resblock_dilation_sizes=[list(DILATIONS)] * len(self.block_kernels),
            normalize_before=True,
        )
        return _audible(SpeechT5HifiGan(config))


USUAL_MEL, USUAL_DEVIATION = -6.0, 3.0
"""Mean and deviation that log-mels are taken to have. Ours: silence is at -11.5, a loud sound at about 0."""

_QUIET = 0.1
"""Of the last layer's weights, so that a sound begins well within full scale. Ours."""


def _audible(vocoder: Any) -> Any:
    """Has a vocoder begin with sounds of about the loudness of real ones.

    Each layer keeps the variance of what it is given. With weights of 0.01, as transformers draws them, what comes out
    of a narrow vocoder is 1e-7, and so are its gradients.
    """
    vocoder.mean.fill_(USUAL_MEL)
    vocoder.scale.fill_(USUAL_DEVIATION)
    for layer in vocoder.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            nn.init.normal_(layer.weight, 0.0, (layer.in_channels * layer.kernel_size[0] / layer.stride[0]) ** -0.5)
    with torch.no_grad():
        vocoder.conv_post.weight.mul_(_QUIET)
    return vocoder


@dataclass(frozen=True, kw_only=True, slots=True)
class MelLossSettings:
    """What each part of the loss weighs.

    Attributes:
        spectrogram: Of the mean absolute difference of the autoencoder's spectrograms.
        divergence: Of its latents' divergence from a standard normal. Ours: the published weight goes with a sum.
        mel: Of the mean absolute difference of the vocoder's log-mels. Source: HiFi-GAN, section 2.3: 45.
        spectra: Which spectra of the vocoder's sounds are compared.
        spectral: Weight of their distance; ours, HiFi-GAN has none.
        adversarial: Of the judge's marks. Source: HiFi-GAN: 1.
        features: Of the distance of the judge's features. Source: HiFi-GAN: 2.
    """

    spectrogram: float = 1.0
    divergence: float = 1e-4
    mel: float = 45.0
    spectra: SpectralSettings = field(
        default_factory=lambda: SpectralSettings(
            windows_samples=(2048, 1024, 512, 256), sample_rate_hz=16_000, is_weighted=False
        )
    )
    spectral: float = 1.0
    adversarial: float = 1.0
    features: float = 2.0

    def __post_init__(self) -> None:
        for name in ("spectrogram", "divergence", "mel", "spectral", "adversarial", "features"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"the weight {name} cannot be negative, got {getattr(self, name)}")


class MelVae(nn.Module):
    """An autoencoder of spectrograms, a vocoder, and the judge of its sounds, where there is one."""

    def __init__(self, config: MelVaeConfig, judge: DiscriminatorConfig | None) -> None:
        super().__init__()
        self.config = config
        self.vae = config.build_vae()
        self.vocoder = config.build_vocoder()
        self.judge = None if judge is None else StftDiscriminator(judge)

    def forward(self, mel_BFM: Tensor, noise_BZFW: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Spectrograms to latents and back, and to sounds.

        Args:
            mel_BFM: Float32.
            noise_BZFW: Standard normal, for the draw of the latents.

        Returns:
            The autoencoder's spectrograms (B, F, M), mean and standard deviation of its latents (B, Z, F, W), and the
            vocoder's sounds (B, 1, T); float32.
        """
        latents = self.vae.encode(mel_BFM[:, None]).latent_dist
        made_BFM = self.vae.decode(latents.mean + latents.std * noise_BZFW.to(latents.mean.dtype)).sample[:, 0]
        sound_BT = voiced(self.vocoder, mel_BFM, self.config.mel.hop_samples)
        return made_BFM.float(), latents.mean.float(), latents.std.float(), sound_BT.float()[:, None]


class MelVaeObjective:
    """What a step minimises: the losses of the autoencoder, of the vocoder and of the judge."""

    def __init__(self, config: MelVaeConfig, settings: MelLossSettings) -> None:
        self.config, self.settings = config, settings
        self._mel = LogMel(config.mel)
        self._spectral = SpectralLoss(settings.spectra)

    def __call__(self, network: nn.Module, batch: Batch, rngs: Sequence[np.random.Generator]) -> StepResult:
        """The loss of a batch.

        Args:
            network: A `MelVae`.
            batch: `waves`, float32 (B, 1, T).
            rngs: Draw the latents.

        Raises:
            TypeError: It is another network.
        """
        if not isinstance(network, MelVae):
            raise TypeError(f"a {type(network).__name__} is no MelVae")
        settings, config, wave_BCT = self.settings, self.config, batch["waves"]
        self._mel.to(wave_BCT.device)
        with torch.autocast(wave_BCT.device.type, enabled=False):
            mel_BFM = self._mel(wave_BCT[:, 0])
        shape = (config.latent_channels, mel_BFM.shape[1] // config.frames, config.mel.mel_bins // config.frames)
        noise = np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs])
        made_BFM, mean, std, sound_BCT = network(mel_BFM, torch.from_numpy(noise).to(mel_BFM.device))
        with torch.autocast(wave_BCT.device.type, enabled=False):
            parts = {
                "spectrogram": settings.spectrogram * (made_BFM - mel_BFM).abs().mean(),
                "divergence": settings.divergence * latent_divergence(mean.flatten(2), std.flatten(2)),
                "mel": settings.mel * (self._mel(sound_BCT[:, 0]) - mel_BFM).abs().mean(),
                "spectral": settings.spectral * self._spectral(sound_BCT, wave_BCT),
            }
        heard = judged(network.judge, sound_BCT, wave_BCT, adversarial=settings.adversarial, features=settings.features)
        return result_of({**parts, **heard}, clips=len(wave_BCT))


@dataclass(frozen=True, kw_only=True, slots=True)
class MelVaeRecipe:
    """A mel autoencoder with its vocoder to train.

    Attributes:
        networks: Their sizes.
        judge: The judge's size; None: there is none.
        losses: What is minimised.
        training: The run.
        batch_clips: Clips of one batch, over all processes.
        window_samples: Length of a training sample, a multiple of the hop.
    """

    networks: MelVaeConfig
    judge: DiscriminatorConfig | None
    training: TrainSettings
    batch_clips: int
    window_samples: int
    losses: MelLossSettings = field(default_factory=MelLossSettings)

    def __post_init__(self) -> None:
        if self.batch_clips < 1:
            raise ValueError(f"batch_clips must be at least 1, got {self.batch_clips}")
        judged = () if self.judge is None else self.judge.windows_samples
        longest = max(*self.losses.spectra.windows_samples, *judged, self.networks.mel.n_fft)
        if self.window_samples % self.networks.hop_samples or self.window_samples < longest:
            raise ValueError(
                f"window_samples must be a multiple of {self.networks.hop_samples} and at least {longest}, "
                f"got {self.window_samples}"
            )

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""
        return self.networks.mel.sample_rate_hz

    @property
    def channels(self) -> int:
        """Channels of the sounds."""
        return 1

    @property
    def hop_samples(self) -> int:
        """Samples of one latent frame."""
        return self.networks.hop_samples


def mel_vae_tiny(*, total_clips: int = 8_000, seed: int = 0) -> MelVaeRecipe:
    """AudioLDM 2's spectrograms and latents, with networks that two CPU cores train in minutes. Sizes are ours.

    Without a judge, which takes a third of the time of a step and has nothing to add before spectra are about right.

    Args:
        total_clips: Length of the run.
        seed: Of the run.
    """
    return MelVaeRecipe(
        networks=MelVaeConfig(
            widths=(16, 32, 32),
            layers=1,
            vocoder_width=128,
            strides=(5, 4, 4, 2),
            kernels=(11, 8, 8, 4),
            block_kernels=(7,),
        ),
        judge=None,
        training=TrainSettings(
            seed=seed,
            total_clips=total_clips,
            schedule=Schedule(peak=2e-3, warmup_clips=200, decay="cosine", floor=0.05),
            ema=EmaSettings(halflife_clips=500),
            optimizer=OptimizerSettings(weight_decay=1e-3, betas=(0.8, 0.99)),
            clip_norm=100.0,
            clip_seconds=0.64,
            report_every_clips=200,
            save_every_clips=2_000,
        ),
        batch_clips=4,
        window_samples=10_240,
    )


def train_mel_vae(
    recipe: MelVaeRecipe,
    waves_at: WavesAt,
    *,
    folder: Path,
    data: Mapping[str, Any],
    world: World,
    execution: Execution | None = None,
    watchers: Watchers | None = None,
) -> MelVaeCodec | None:
    """Trains a mel autoencoder and its vocoder, or goes on with the run, and saves their averages in `folder/model`.

    Args:
        recipe: What to train.
        waves_at: Rows of batch b, mono.
        folder: Of the run.
        data: What the batches are made of, as JSON; a run is not resumed with other data.
        world: The processes that train together.
        execution: How the run is executed.
        watchers: Who is told what.

    Returns:
        The codec, or None where the run was stopped before its end, or in another process than the first.

    Raises:
        ValueError: If the folder holds another run.
        FloatingPointError: If a loss is not finite.
    """
    begin_run(folder, asdict(recipe), data=data, world=world, execution=execution)
    averaged = train_averaged(
        seeded(lambda: MelVae(recipe.networks, recipe.judge), recipe.training.seed).to(world.device),
        MelVaeObjective(recipe.networks, recipe.losses),
        waves_at,
        recipe,
        folder=folder,
        world=world,
        execution=execution,
        watchers=watchers,
    )
    if averaged is None:
        return None
    codec = MelVaeCodec(averaged.vae, averaged.vocoder, weights_sha256="not yet saved")
    with written_whole(folder / RUN_MODEL) as partial:
        codec.save(partial)
    return MelVaeCodec.from_pretrained(folder / RUN_MODEL, device=world.device)
