"""Codecs to train: sizes, losses and lengths of runs, and the function that trains one. Not where sounds come from."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.codecs.discriminator import DiscriminatorConfig
from models.codecs.losses import SpectralSettings
from models.codecs.oobleck import OobleckCodec
from models.codecs.waveform_vae import CodecLossSettings, WaveformVae, WaveformVaeConfig, WaveformVaeObjective
from models.model_folder import RUN_MODEL, written_whole
from models.training.averaged import decisive, open_together, seeded, train_averaged
from models.training.ema import EmaSettings
from models.training.execution import Execution
from models.training.loop import TrainSettings, Watchers
from models.training.optimizers import OptimizerSettings
from models.training.schedule import Schedule
from models.training.step import Batch
from models.training.world import World

WavesAt = Callable[[int, range], Batch]
"""Rows of batch b: `keys`, and `waves` as float32 (B, C, T), full scale 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecRecipe:
    """A waveform codec to train.

    Attributes:
        autoencoder: Its size.
        judge: The judge's size.
        losses: What is minimised; weights of 0 leave the judge out.
        training: The run.
        batch_clips: Clips of one batch, over all processes.
        window_samples: Length of a training sample, a multiple of the hop.
    """

    autoencoder: WaveformVaeConfig
    judge: DiscriminatorConfig
    training: TrainSettings
    batch_clips: int
    window_samples: int
    losses: CodecLossSettings = field(default_factory=CodecLossSettings)

    def __post_init__(self) -> None:
        if self.batch_clips < 1:
            raise ValueError(f"batch_clips must be at least 1, got {self.batch_clips}")
        hop, longest = self.autoencoder.hop_samples, max(self.losses.spectra.windows_samples)
        if self.losses.has_judge:
            longest = max(longest, *self.judge.windows_samples)
        if self.window_samples % hop or self.window_samples < longest:
            raise ValueError(
                f"window_samples must be a multiple of the hop ({hop}) and hold the longest spectrum ({longest}), "
                f"got {self.window_samples}"
            )
        rates = (self.autoencoder.sample_rate_hz, self.losses.spectra.sample_rate_hz)
        if rates[0] != rates[1]:
            raise ValueError(f"sounds are at {rates[0]} Hz and their spectra at {rates[1]} Hz")

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""
        return self.autoencoder.sample_rate_hz

    @property
    def channels(self) -> int:
        """Channels of the sounds."""
        return self.autoencoder.channels

    @property
    def hop_samples(self) -> int:
        """Samples of one latent frame."""
        return self.autoencoder.hop_samples


def codec_tiny(*, total_clips: int = 8_000, seed: int = 0) -> CodecRecipe:
    """A codec that two CPU cores train in minutes: 16 kHz mono, 125 frames of 16 channels a second. All of it is ours.

    Samples count as well as spectra: phase is learnt from nothing else in so short a run.

    Args:
        total_clips: Length of the run.
        seed: Of the run.
    """
    return CodecRecipe(
        autoencoder=WaveformVaeConfig(
            sample_rate_hz=16_000,
            channels=1,
            latent_channels=16,
            strides=(8, 4, 4),
            multiples=(1, 2, 4),
            decoder_width=24,
        ),
        judge=DiscriminatorConfig(channels=1, windows_samples=(1024, 256), filters=8),
        losses=CodecLossSettings(
            spectra=SpectralSettings(windows_samples=(1024, 512, 256, 128, 64), sample_rate_hz=16_000),
            wave=20.0,
        ),
        training=TrainSettings(
            seed=seed,
            total_clips=total_clips,
            schedule=Schedule(peak=1e-3, warmup_clips=200, decay="cosine", floor=0.05),
            ema=EmaSettings(halflife_clips=500),
            optimizer=OptimizerSettings(weight_decay=1e-3, betas=(0.8, 0.99)),
            clip_norm=10.0,
            clip_seconds=0.512,
            report_every_clips=200,
            save_every_clips=2_000,
        ),
        batch_clips=4,
        window_samples=8_192,
    )


def codec_44k(*, total_clips: int = 32_000_000, seed: int = 0) -> CodecRecipe:
    """Stable Audio's autoencoder: 44.1 kHz stereo, 21.5 frames of 64 channels a second, for GPUs.

    Source: `stable_audio_2_0_vae.json` of Stable Audio's code for sizes, weights, windows of 65,536 samples, AdamW with
    betas 0.8 and 0.99 and weight decay 1e-3, and the rate 1.5e-4. Ours: the judge has the same rate (there twice it),
    which falls with a cosine (there with the inverse root), gradients are clipped, and the length of the run.

    Args:
        total_clips: Length of the run.
        seed: Of the run.
    """
    return CodecRecipe(
        autoencoder=WaveformVaeConfig(),
        judge=DiscriminatorConfig(),
        training=TrainSettings(
            seed=seed,
            total_clips=total_clips,
            schedule=Schedule(peak=1.5e-4, warmup_clips=32_000, decay="cosine", floor=0.1),
            ema=EmaSettings(halflife_clips=220_000),
            optimizer=OptimizerSettings(weight_decay=1e-3, betas=(0.8, 0.99)),
            clip_norm=10.0,
            clip_seconds=65_536 / 44_100,
            report_every_clips=3_200,
            save_every_clips=320_000,
        ),
        batch_clips=32,
        window_samples=65_536,
    )


def train_codec(
    recipe: CodecRecipe,
    waves_at: WavesAt,
    *,
    folder: Path,
    data: Mapping[str, Any],
    world: World,
    execution: Execution | None = None,
    watchers: Watchers | None = None,
) -> OobleckCodec | None:
    """Trains a codec, or goes on with the run in the folder, and saves the averaged one in `folder/model`.

    Args:
        recipe: What to train.
        waves_at: Rows of batch b.
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
    judge = recipe.judge if recipe.losses.has_judge else None
    averaged = train_averaged(
        seeded(lambda: WaveformVae(recipe.autoencoder, judge), recipe.training.seed).to(world.device),
        WaveformVaeObjective(recipe.losses),
        waves_at,
        recipe,
        folder=folder,
        world=world,
        execution=execution,
        watchers=watchers,
    )
    if averaged is None:
        return None
    with written_whole(folder / RUN_MODEL) as partial:
        averaged.autoencoder.save_pretrained(str(partial))
    return OobleckCodec.from_pretrained(folder / RUN_MODEL, device=world.device)


def begin_run(
    folder: Path, recipe: dict[str, Any], *, data: Mapping[str, Any], world: World, execution: Execution | None
) -> None:
    """Opens a run's folder, in one process for all.

    Args:
        folder: Of the run.
        recipe: As nested dictionaries; how often it reports is left out.
        data: What the batches are made of.
        world: The processes that train together.
        execution: How the run is executed.

    Raises:
        ValueError: If the folder holds another run, or the network shall be spread as shards: its judge is called by
            itself, and then would not be whole.
    """
    if execution is not None and execution.spread == "shards":
        raise ValueError("codecs are trained as replicas; drop --spread shards")
    settings = {**recipe, "training": decisive(recipe["training"])}
    open_together(folder, {"recipe": settings, "data": dict(data)}, world)
