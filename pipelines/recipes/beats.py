"""The recipe `beats-tiny`: a small BEATs trained on the labels of a generation, for AudioToken without weights."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from curation.shards.batches import BatchPlan
from curation.shards.reader import Shards
from models.encoders.beats import FBANK
from models.encoders.beats_fit import BeatsRecipe, beats_tiny, train_beats
from models.training.world import World
from pipelines.recipes.codec_windows import drawn_window
from pipelines.recipes.data import generation_identity, open_shards
from pipelines.recipes.options import RunOptions
from pipelines.recipes.sounded_pictures import label_of
from pipelines.training.board import watching
from pipelines.wiring.devices import device_name

NAME = "beats-tiny"


@dataclass(frozen=True, kw_only=True)
class LabelledSounds:
    """Batches of windows with labels; batch b is a function of the seed and b.

    Args:
        shards: Of the generation.
        clips: Numbers of those with a label.
        window_samples: Length of a window at 16 kHz.
        batch_clips: Clips of a batch.
        seed: Of the draw.
    """

    shards: Shards
    clips: list[int]
    window_samples: int
    batch_clips: int
    seed: int

    @cached_property
    def _plan(self) -> BatchPlan:
        return BatchPlan(sizes=((len(self.clips),),), batch_size=self.batch_clips, seed=self.seed)

    def __call__(self, number: int, rows: range) -> dict[str, Any]:
        """Rows of batch b: `keys`, `labels`, `waves` float32 (rows, T)."""
        places = self._plan.batch(number).clips[rows.start : rows.stop : rows.step]
        clips = [self.clips[int(place)] for place in places]
        waves = [
            drawn_window(
                self.shards.read(clip, ("flac",))["flac"],
                FBANK.sample_rate_hz,
                1,
                self.window_samples,
                np.random.default_rng([self.seed, 1, number, row]),
            )[0][0]
            for clip, row in zip(clips, rows, strict=True)
        ]
        return {
            "keys": [self.shards.key(clip) for clip in clips],
            "labels": [label_of(self.shards, clip) for clip in clips],
            "waves": torch.from_numpy(np.stack(waves)),
        }


def train_beats_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `beats-tiny`.

    Args:
        dataset: With the generation, whose clips have labels; of several the first is learned.
        folder: Of the run.
        options: What the user said.

    Returns:
        What there is to say: clips, classes, and the last loss with the share of sounds that were tagged right.

    Raises:
        ArgumentError: An option that it does not have, or fewer than two labels.
        StoppedError: The run was stopped before its end.
    """
    if options.sources or options.text_encoder is not None or options.codec is not None:
        raise ArgumentError(f"{NAME} learns from the sounds of one dataset: --data DATASET[@GENERATION], no encoders")
    world = World.join(device_name())
    shards = open_shards(dataset, options.generation)
    clips = [clip for clip in range(len(shards)) if label_of(shards, clip)]
    labels = sorted({label_of(shards, clip) for clip in clips})
    if len(labels) < 2:
        raise ArgumentError(f"generation {options.generation!r} of {dataset.path} has {len(labels)} labels: 2 at least")
    recipe = _recipe(len(labels), options)
    batches = LabelledSounds(
        shards=shards,
        clips=clips,
        window_samples=recipe.window_samples,
        batch_clips=recipe.batch_clips,
        seed=options.seed,
    )
    last: dict[str, float] = {}
    with watching(folder, options, world, total=recipe.training.total_clips, last=last) as watchers:
        listener = train_beats(
            recipe,
            batches,
            labels=labels,
            folder=folder,
            data=generation_identity(dataset, options.generation),
            world=world,
            execution=options.execution,
            watchers=watchers,
        )
    if listener is None and world.is_first:
        raise StoppedError(f"the run in {folder} was stopped; the same command goes on from its last checkpoint")
    return {"clips": len(clips), "classes": len(labels), **last}


def _recipe(classes: int, options: RunOptions) -> BeatsRecipe:
    """The recipe as the user said."""
    length = {} if options.clips is None else {"total_clips": options.clips}
    recipe = beats_tiny(classes=classes, **length, seed=options.seed)
    if options.seconds is None:
        return recipe
    training = replace(recipe.training, clip_seconds=options.seconds)
    return replace(recipe, window_samples=round(options.seconds * FBANK.sample_rate_hz), training=training)
