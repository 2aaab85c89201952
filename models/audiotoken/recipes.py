"""Recipes of AudioToken, each a function that returns a whole configuration, and the function that trains one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from models.audiotoken.generate import AudioToken, FrozenSources, check_widths
from models.audiotoken.network import AudioTokenConfig, AudioTokenNetwork
from models.audiotoken.objective import AudioTokenObjective, ObjectiveSettings
from models.audiotoken.text_to_image import TextToImage
from models.encoders.beats import Beats
from models.model_folder import RUN_MODEL
from models.training.averaged import RowsAt, open_together, seeded, train_averaged, written
from models.training.ema import EmaSettings
from models.training.execution import Execution
from models.training.loop import TrainSettings, Watchers
from models.training.optimizers import OptimizerSettings
from models.training.schedule import Schedule
from models.training.world import World

WINDOW_S = 5.0
"""Length of the sounds that are learned from. Source: the published code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioTokenRecipe:
    """All that determines a trained AudioToken but its data and its frozen models.

    Attributes:
        network: Sizes.
        training: Settings of the run.
        batch_clips: Clips in a batch, for whoever makes the batches.
        objective: What a step minimises.
    """

    network: AudioTokenConfig
    training: TrainSettings
    batch_clips: int
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)

    def __post_init__(self) -> None:
        if self.batch_clips < 1:
            raise ValueError(f"batch_clips is {self.batch_clips}: it must be at least 1")


def audiotoken_tiny(*, heard_width: int, token_width: int, total_clips: int = 4_000, seed: int = 0) -> AudioTokenRecipe:
    """For a CPU core and a text-to-image model of the recipe `pictures-tiny`. The numbers are ours.

    Args:
        heard_width: Of BEATs' features.
        token_width: Of the text encoder.
        total_clips: Length of the run.
        seed: Of the run.
    """
    return AudioTokenRecipe(
        network=AudioTokenConfig(heard_width=heard_width, token_width=token_width, dropout=0.1),
        training=TrainSettings(
            seed=seed,
            total_clips=total_clips,
            schedule=Schedule(peak=1e-3, warmup_clips=min(200, total_clips // 10), decay="cosine", floor=0.05),
            ema=EmaSettings(halflife_clips=400),
            optimizer=OptimizerSettings(weight_decay=1e-2, betas=(0.9, 0.999)),
            clip_seconds=WINDOW_S,
            report_every_clips=200,
            save_every_clips=1_000,
        ),
        batch_clips=16,
    )


def audiotoken_base(
    *, heard_width: int = 2304, token_width: int = 768, total_clips: int = 480_000, seed: int = 0
) -> AudioTokenRecipe:
    """AudioToken as it was published: 8.9 M trained weights for Stable Diffusion 1, 10.8 M for 2.

    Source: arXiv 2305.13050 and its code: 30,000 steps of 16 clips, AdamW at 1e-5 for each clip of a batch (1.6e-4),
    betas 0.9 and 0.999, weight decay 0.01, a warm-up of 500 steps, then constant; the mean absolute value of the word
    with 0.01, no classification loss unless asked for. Ours: gradients are clipped, weights averaged, and
    vectors that are no matrices do not decay.

    Args:
        heard_width: Of BEATs' features.
        token_width: Of the text encoder: 768 (Stable Diffusion 1), 1024 (2).
        total_clips: Length of the run.
        seed: Of the run.
    """
    return AudioTokenRecipe(
        network=AudioTokenConfig(heard_width=heard_width, token_width=token_width),
        training=TrainSettings(
            seed=seed,
            total_clips=total_clips,
            schedule=Schedule(peak=1.6e-4, warmup_clips=8_000),
            ema=EmaSettings(halflife_clips=10_000),
            optimizer=OptimizerSettings(weight_decay=1e-2, betas=(0.9, 0.999)),
            clip_seconds=WINDOW_S,
            report_every_clips=1_600,
            save_every_clips=16_000,
            evaluate_every_clips=16_000,
        ),
        batch_clips=16,
    )


def audiotoken_labels_base(
    *, heard_width: int = 2304, token_width: int = 768, total_clips: int = 480_000, seed: int = 0
) -> AudioTokenRecipe:
    """The same with the classification loss, 0.01 of it: words are drawn towards those of their labels.

    Source: the variant of the paper whose pictures are more often of the sound's class (AIC 48.0 for 45.5 %) and
    farther from real ones (FID 66.1 for 56.7). Arguments as of `audiotoken_base`.
    """
    base = audiotoken_base(heard_width=heard_width, token_width=token_width, total_clips=total_clips, seed=seed)
    return replace(base, objective=replace(base.objective, label_weight=0.01))


@dataclass(frozen=True, kw_only=True, slots=True)
class Frozen:
    """What a run needs and does not train.

    Attributes:
        pictures: The text-to-image model, on the run's device.
        listener: BEATs, likewise.
        sources: Where both were loaded from.
    """

    pictures: TextToImage
    listener: Beats
    sources: FrozenSources

    @classmethod
    def load(cls, sources: FrozenSources, device: torch.device | str) -> "Frozen":
        """Both from where they are; raises what loading them does."""
        pictures, listener = sources.load(device)
        return cls(pictures=pictures, listener=listener, sources=sources)


def train_audiotoken(
    recipe: AudioTokenRecipe,
    batch_at: RowsAt,
    *,
    frozen: Frozen,
    folder: Path,
    data: Mapping[str, Any],
    world: World,
    execution: Execution | None = None,
    watchers: Watchers | None = None,
) -> AudioToken | None:
    """Trains an AudioToken, or goes on with the run in the folder, and saves the averaged embedder in `folder/model`.

    Args:
        recipe: What to train.
        batch_at: Rows of batch b; see `AudioTokenObjective` for what is in it.
        frozen: What is not trained.
        folder: Of the run.
        data: What the batches are made of, as JSON; a run is not resumed with other data.
        world: The processes that train together.
        execution: How the run is executed.
        watchers: Who is told what.

    Returns:
        The model, or None where the run was stopped before its end, or in another process than the first.

    Raises:
        ValueError: The folder holds another run, or the parts do not fit the recipe.
        FloatingPointError: A loss is not finite.
    """
    if execution is not None and execution.spread == "shards":
        raise ValueError("an embedder is trained as replicas; drop --spread shards")
    pictures, listener = frozen.pictures, frozen.listener
    check_widths(recipe.network, pictures, listener)
    identities = {"pictures": pictures.identity(), "listener": listener.identity()}
    open_together(folder, {"recipe": written(recipe), "frozen": identities, "data": dict(data)}, world)
    averaged = train_averaged(
        seeded(lambda: AudioTokenNetwork(recipe.network), recipe.training.seed).to(world.device),
        AudioTokenObjective(recipe.objective, pictures, listener),
        batch_at,
        recipe,
        folder=folder,
        world=world,
        execution=execution,
        watchers=watchers,
    )
    if averaged is None:
        return None
    model = AudioToken(averaged, pictures=pictures, listener=listener, prompt=recipe.objective.prompt)
    model.save_pretrained(folder / RUN_MODEL, frozen.sources)
    return model
