"""Recipes of AudioX, each a function that returns a whole configuration, and the function that trains one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.audiox.adapters import Adapters
from models.audiox.conditioning import FramePatches
from models.audiox.encoder_source import ConditionSources
from models.audiox.generate import AudioX
from models.audiox.masking import ConditionDrop, default_masking
from models.audiox.network import AudioXConfig, AudioXNetwork
from models.audiox.objective import AudioXObjective, ObjectiveSettings
from models.audiox.tasks import TaskMix
from models.codecs.codec import Codec
from models.diffusion.times import TimeDraw
from models.model_folder import RUN_MODEL
from models.training.averaged import RowsAt, open_together, seeded, train_averaged, written
from models.training.checkpoint import checkpoints
from models.training.ema import EmaSettings
from models.training.execution import Execution
from models.training.loop import TrainSettings, Watchers
from models.training.optimizers import OptimizerSettings
from models.training.schedule import Schedule
from models.training.world import World

_SCALE_BATCHES = 32
"""Batches from which the scale of the latents is measured. Ours: a few hundred clips settle it to a percent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioXRecipe:
    """All that determines a trained AudioX but its data, codec and encoders.

    Attributes:
        network: Sizes.
        objective: What a step minimises.
        training: Settings of the run.
        batch_clips: Clips in a batch, for whoever makes the batches.
    """

    network: AudioXConfig
    objective: ObjectiveSettings
    training: TrainSettings
    batch_clips: int

    def __post_init__(self) -> None:
        if self.batch_clips < 1:
            raise ValueError(f"batch_clips is {self.batch_clips}: it must be at least 1")


def tiny_frames() -> FramePatches:
    """How `audiox_tiny` sees: 8 pictures of 32 x 32 pixels, 4 patches each."""
    return FramePatches(pictures=8, side_px=32, patch_px=16)


def audiox_tiny(*, latent_channels: int, text_width: int, total_clips: int = 8_000, seed: int = 0) -> AudioXRecipe:
    """For two CPU cores and some 64 clips of 4 s at 40 latent frames a second: 115 CPU seconds for 8,000 clips.

    The numbers are ours, chosen on the quickstart's world with MDCT latents of 96 channels and one seed, by the same
    prompts that are counted here: 28 of 32 sounds from texts (guidance 3) and 37 of 40 from held-out pictures were
    nearest to a training clip of their class, where chance is 4 and 5. Before `gains` and the rotation of the codec's
    components it was 15 of 32 after 22,400 clips, with other rates and batches. Heun, and more than 24 steps of Euler,
    changed nothing.

    Args:
        latent_channels: Of the codec.
        text_width: Of the text encoder.
        total_clips: Length of the run.
        seed: Of the run.
    """
    frames = tiny_frames()
    return AudioXRecipe(
        network=AudioXConfig(
            latent_channels=latent_channels,
            text_width=text_width,
            frame_width=frames.frame_width,
            frame_patches=frames.frame_patches,
            width=128,
            depth=4,
            heads=4,
            context_width=128,
            frames_per_token=2,
            gains=True,
        ),
        objective=ObjectiveSettings(times=TimeDraw(mean=0.3), drop=ConditionDrop(everything=0.1, text=0.1, frames=0.3)),
        training=TrainSettings(
            seed=seed,
            total_clips=total_clips,
            schedule=Schedule(peak=3e-3, warmup_clips=300, decay="cosine", floor=0.05),
            ema=EmaSettings(halflife_clips=1_000, rampup_ratio=0.05),
            report_every_clips=400,
            save_every_clips=2_000,
        ),
        batch_clips=8,
    )


def small_frames() -> FramePatches:
    """How `audiox_small` sees: 10 pictures of 64 x 64 pixels, 16 patches each."""
    return FramePatches(pictures=10, side_px=64, patch_px=16)


def default_tasks() -> TaskMix:
    """What rows without a type train: all that AudioX does. The weights are ours; AudioX's were not published."""
    return TaskMix(weights={"text": 0.3, "video": 0.2, "text+video": 0.2, "image": 0.05, "audio": 0.15, "uni": 0.1})


def audiox_small(*, latent_channels: int, text_width: int, total_clips: int = 40_000, seed: int = 0) -> AudioXRecipe:
    """For an hour on two CPU cores, or minutes on a GPU: 12 M parameters, every condition, masked training.

    For 5 s of sound at 40 latent frames a second. The numbers are ours: twice as wide and deep as `audiox_tiny`,
    at half its rate; no other values were tried but for the times. On real sounds uniform ones give the smaller loss at
    every time, most of all at the last, where quiet parts are told from noise (docs/log.md).

    Args:
        latent_channels: Of the codec.
        text_width: Of the text encoder.
        total_clips: Length of the run.
        seed: Of the run.
    """
    frames = small_frames()
    return AudioXRecipe(
        network=AudioXConfig(
            latent_channels=latent_channels,
            text_width=text_width,
            frame_width=frames.frame_width,
            frame_patches=frames.frame_patches,
            width=256,
            depth=8,
            heads=4,
            context_width=256,
            adapters=Adapters(audio=True),
            frames_per_token=2,
            gains=True,
        ),
        objective=ObjectiveSettings(times=TimeDraw(kind="uniform"), masking=default_masking(), tasks=default_tasks()),
        training=TrainSettings(
            seed=seed,
            total_clips=total_clips,
            schedule=Schedule(peak=1.5e-3, warmup_clips=1_000, decay="cosine", floor=0.05),
            ema=EmaSettings(halflife_clips=3_000, rampup_ratio=0.05),
            report_every_clips=800,
            save_every_clips=4_000,
            evaluate_every_clips=10_000,
        ),
        batch_clips=16,
    )


def audiox_base(
    *, latent_channels: int = 64, text_width: int = 768, total_clips: int = 30_000_000, seed: int = 0
) -> AudioXRecipe:
    """AudioX at the size of its paper: 1.09 B trained parameters, for GPUs with 80 GB.

    Source: arXiv 2503.10522 and the code and configuration that were published with its weights: width 1536, 24 blocks
    of 24 heads, half of each head turned, 12 heads of condition tokens, time as a token, T5-base, 50 pictures of CLIP
    ViT-B/32 to 128 tokens, 215 frames of Oobleck latents for 10 s, v-prediction with uniform times, everything dropped
    with 0.1, AdamW with rate 5e-5, betas 0.9 and 0.999 and weight decay 1e-3, batches of 48, an average of 0.9999 a
    step. Ours: QK-norm by RMS (the published network has none), masks in cross-attention, how the modalities are masked
    and dropped by themselves, the tasks' weights, the warm-up, and the length of the run.

    Args:
        latent_channels: Of the codec.
        text_width: Of the text encoder.
        total_clips: Length of the run.
        seed: Of the run.
    """
    return AudioXRecipe(
        network=AudioXConfig(
            latent_channels=latent_channels,
            text_width=text_width,
            frame_width=768,
            frame_patches=50,
            width=1536,
            depth=24,
            heads=24,
            context_width=768,
            adapters=Adapters(audio=True, video_tokens=128),
            time_conditioning="token",
            context_heads=12,
            turned_channels=32,
            published_ends=True,
        ),
        objective=ObjectiveSettings(
            path="v", times=TimeDraw(kind="uniform"), masking=default_masking(), tasks=default_tasks()
        ),
        training=TrainSettings(
            seed=seed,
            total_clips=total_clips,
            schedule=Schedule(peak=5e-5, warmup_clips=48_000),
            ema=EmaSettings(halflife_clips=332_693),
            optimizer=OptimizerSettings(weight_decay=1e-3, betas=(0.9, 0.999)),
            clip_seconds=10.0,
            report_every_clips=4_800,
            save_every_clips=480_000,
            evaluate_every_clips=480_000,
        ),
        batch_clips=48,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Frozen:
    """What a run needs and does not train.

    Attributes:
        codec: Whose latents the batches hold.
        sources: Of the encoders of conditions.
    """

    codec: Codec
    sources: ConditionSources


def train_audiox(
    recipe: AudioXRecipe,
    batch_at: RowsAt,
    *,
    frozen: Frozen,
    folder: Path,
    data: Mapping[str, Any],
    world: World,
    execution: Execution | None = None,
    watchers: Watchers | None = None,
) -> AudioX | None:
    """Trains an AudioX, or goes on with the run in the folder, and saves the averaged model in `folder/model`.

    Args:
        recipe: What to train.
        batch_at: Rows of batch b; see `AudioXObjective` for what is in it.
        frozen: What is not trained.
        folder: Of the run.
        data: What the batches are made of, as JSON; a run is not resumed with other data.
        world: The processes that train together.
        execution: How the run is executed.
        watchers: Who is told what.

    Returns:
        The model, or None where the run was stopped before its end, or in another process than the first.

    Raises:
        ValueError: if the folder holds another run, or the parts do not fit the recipe.
        FloatingPointError: if a loss is not finite.
    """
    made_of = {"codec": frozen.codec.identity(), "sources": asdict(frozen.sources), "data": dict(data)}
    open_together(folder, {"recipe": written(recipe), **made_of}, world)
    encoders = frozen.sources.encoders(world.device)
    averaged = train_averaged(
        _new_network(recipe, batch_at, folder).to(world.device),
        AudioXObjective(recipe.objective, encoders),
        batch_at,
        recipe,
        folder=folder,
        world=world,
        execution=execution,
        watchers=watchers,
    )
    if averaged is None:
        return None
    model = AudioX(averaged, codec=frozen.codec, encoders=encoders, path=recipe.objective.path)
    model.save_pretrained(folder / RUN_MODEL, frozen.sources)
    return model


def _new_network(recipe: AudioXRecipe, batch_at: RowsAt, folder: Path) -> AudioXNetwork:
    """A network as it is before its first step, which knows the scale of the latents where no checkpoint tells it."""
    network = seeded(lambda: AudioXNetwork(recipe.network), recipe.training.seed)
    if not checkpoints(folder / "checkpoints"):
        network.scale.fit(batch_at(number, range(recipe.batch_clips))["latents"] for number in range(_SCALE_BATCHES))
    return network
