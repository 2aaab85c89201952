"""Recipes of AudioX, each a function that returns a whole configuration, and the function that trains one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from models.audiox.conditioning import FramePatches
from models.audiox.encoder_source import ConditionSources
from models.audiox.generate import AudioX
from models.audiox.network import AudioXConfig, AudioXNetwork
from models.audiox.objective import AudioXObjective, ConditionDrop, ObjectiveSettings
from models.codecs.codec import Codec
from models.diffusion.times import TimeDraw
from models.training.ema import EmaSettings
from models.training.loop import OnReport, TrainSettings, Watchers, train
from models.training.prefetch import BatchAt
from models.training.run_folder import open_run
from models.training.schedule import Schedule

_SCALE_BATCHES = 32
"""Batches from which the scale of the latents is measured. Ours: a few hundred clips settle it to a percent."""
_HOW = ("report_every_clips", "save_every_clips", "evaluate_every_clips", "keep")
"""Settings of a run that do not change its result."""


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


def train_audiox(
    recipe: AudioXRecipe,
    batch_at: BatchAt,
    *,
    codec: Codec,
    sources: ConditionSources,
    folder: Path,
    data: Mapping[str, Any],
    device: torch.device | str = "cpu",
    on_report: OnReport | None = None,
) -> AudioX | None:
    """Trains an AudioX, or goes on with the run in the folder, and saves the averaged model in `folder/model`.

    Args:
        recipe: What to train.
        batch_at: Batch b; see `AudioXObjective` for what is in it.
        codec: Whose latents the batches hold.
        sources: Of the frozen encoders.
        folder: Of the run.
        data: What the batches are made of, as JSON; a run is not resumed with other data.
        device: Where to compute.
        on_report: Called with each line of the log.

    Returns:
        The model, or None where the run was stopped before its end.

    Raises:
        ValueError: if the folder holds another run, or the parts do not fit the recipe.
        FloatingPointError: if a loss is not finite.
    """
    settings = asdict(recipe)
    for name in _HOW:
        del settings["training"][name]
    open_run(folder, {"recipe": settings, "codec": codec.identity(), "sources": asdict(sources), "data": dict(data)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        network = AudioXNetwork(recipe.network)
    network.scale.fit(batch_at(number)["latents"] for number in range(_SCALE_BATCHES))
    network.to(device)
    encoders = sources.encoders(device)
    objective = AudioXObjective(recipe.objective, encoders)
    state = train(network, objective, batch_at, recipe.training, folder=folder, watchers=Watchers(report=on_report))
    if state.clips_seen < recipe.training.total_clips:
        return None
    averaged = state.ema.network
    if not isinstance(averaged, AudioXNetwork):
        raise TypeError(f"the averaged network is a {type(averaged).__name__}, not an AudioXNetwork")
    model = AudioX(averaged, codec=codec, encoders=encoders, path=recipe.objective.path)
    model.save_pretrained(folder / "model", sources)
    return model
