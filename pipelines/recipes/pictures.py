"""The recipe `pictures-tiny`: a small text-to-image model from nothing, for AudioToken where no weights are at hand.

Its texts are "a photo of LABEL", so that a sound's word later stands where labels stood.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from curation.shards.batches import BatchPlan
from curation.shards.reader import Shards
from models.audiotoken.conditioning import PLACE, PROMPT
from models.audiotoken.text_to_image_fit import pictures_tiny, train_pictures
from models.training.world import World
from pipelines.recipes.audiotoken import PICTURE_RATE_HZ, checked_source
from pipelines.recipes.data import generation_identity, open_shards
from pipelines.recipes.options import RunOptions
from pipelines.recipes.sounded_pictures import clip_frames, label_of, with_pictures
from pipelines.training.board import watching
from pipelines.wiring.devices import device_name
from pipelines.wiring.text_to_image import quiet

NAME = "pictures-tiny"
MOST_BYTES = 1 << 30
"""Pictures are held in memory, up to so many bytes. Source: ours; 350,000 pictures of 32 px."""


@dataclass(frozen=True, kw_only=True)
class LabelledPictures:
    """Batches of pictures with texts; batch b is a function of the seed and b.

    Args:
        shards: Of the generation.
        clips: Those with a picture.
        rate_hz: Pictures a second.
        side_px: Their side.
        batch_clips: Pictures of a batch.
        seed: Of the draw.
    """

    shards: Shards
    clips: list[int]
    rate_hz: float
    side_px: int
    batch_clips: int
    seed: int

    @cached_property
    def _frames(self) -> list[np.ndarray]:
        """The pictures of each clip.

        Raises:
            ArgumentError: They are more than the memory is meant for.
        """
        found, size = [], 0
        for clip in self.clips:
            found.append(clip_frames(self.shards, clip, self.rate_hz, self.side_px))
            size += found[-1].nbytes
            if size > MOST_BYTES:
                raise ArgumentError(
                    f"{NAME} is for small sets: {len(self.clips)} clips have more than 1 GiB of pictures"
                )
        return found

    @cached_property
    def texts(self) -> list[str]:
        """Of each clip."""
        return [PROMPT.replace(PLACE, label_of(self.shards, clip)) for clip in self.clips]

    @cached_property
    def _plan(self) -> BatchPlan:
        return BatchPlan(sizes=((len(self.clips),),), batch_size=self.batch_clips, seed=self.seed)

    def __call__(self, number: int, rows: range) -> dict[str, Any]:
        """Rows of batch b: `keys`, `texts`, `pictures` uint8 (rows, H, W, 3)."""
        places = [int(one) for one in self._plan.batch(number).clips[rows.start : rows.stop : rows.step]]
        drawn = [np.random.default_rng([self.seed, 1, number, row]) for row in rows]
        pictures = [
            self._frames[place][int(rng.integers(len(self._frames[place])))]
            for place, rng in zip(places, drawn, strict=True)
        ]
        return {
            "keys": [self.shards.key(self.clips[place]) for place in places],
            "texts": [self.texts[place] for place in places],
            "pictures": torch.from_numpy(np.stack(pictures)),
        }


def train_pictures_tiny(dataset: Dataset, folder: Path, options: RunOptions) -> dict[str, Any]:
    """Train or go on with `pictures-tiny`.

    Args:
        dataset: With the generation, whose clips have labels and pictures.
        folder: Of the run.
        options: What the user said.

    Returns:
        What there is to say: clips with a picture, and the last loss.

    Raises:
        ArgumentError: An option that it does not have, or no labels.
        StoppedError: The run was stopped before its end.
    """
    where = checked_source(NAME, options)
    if options.seconds is not None:
        raise ArgumentError(f"{NAME} learns single pictures; drop --seconds")
    quiet()
    world = World.join(device_name())
    recipe = pictures_tiny(**({} if options.clips is None else {"total_clips": options.clips}), seed=options.seed)
    shards = open_shards(dataset, options.generation)
    labelled = [clip for clip in with_pictures(dataset, shards, where) if label_of(shards, clip)]
    if not labelled:
        raise ArgumentError(f"no clip of {dataset.path} has both a picture and a label, which {NAME} learns from")
    rate_hz = PICTURE_RATE_HZ["audiotoken-tiny"]
    batches = LabelledPictures(
        shards=shards,
        clips=labelled,
        rate_hz=rate_hz,
        side_px=recipe.config.side_px,
        batch_clips=recipe.batch_clips,
        seed=options.seed,
    )
    last: dict[str, float] = {}
    data = {**generation_identity(dataset, options.generation), **({} if where is None else {"where": where})}
    with watching(folder, options, world, total=recipe.training.total_clips, last=last) as watchers:
        made = train_pictures(
            recipe,
            batches,
            texts=batches.texts,
            folder=folder,
            data={**data, "picture_rate_hz": rate_hz},
            world=world,
            execution=options.execution,
            watchers=watchers,
        )
    if made is None:
        raise StoppedError(f"the run in {folder} was stopped; the same command goes on from its last checkpoint")
    return {"clips": len(labelled), **last}
