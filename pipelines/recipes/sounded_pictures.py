"""Windows of sound, each with a picture that is shown meanwhile: what AudioToken and `pictures-tiny` are trained on.

A window lies anywhere in its clip, its picture anywhere in the window, both drawn from the sample's own seed. Sounds
come from the shards; pictures from what the stage `encode_pictures` stored, or from the shards' videos.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curation.dataset import Dataset
from curation.encode import read_frames
from curation.encode_pictures import StoredPictures
from curation.errors import ArgumentError, DatasetError
from curation.selections.where import clips_where
from curation.shards.batches import BatchPlan
from curation.shards.reader import Shards
from pipelines.recipes.codec_windows import drawn_window


@dataclass(frozen=True, kw_only=True)
class SoundedPictures:
    """Batches of sounds with pictures; batch b is a function of the seed and b, whichever of its rows are asked for.

    Args:
        shards: Of the generation.
        clips: Numbers of the clips that are drawn from, which all have a picture.
        sample_rate_hz: Rate of the sounds.
        window_samples: Their length; shorter clips are filled up with silence.
        picture_rate_hz: Moments a second from which pictures are taken.
        side_px: Side of the pictures that are read from videos, px.
        batch_clips: Clips of a batch.
        seed: Of the draw.
        stored: Latents of the pictures of `clips`, in their order; None: pictures are read from the videos.
    """

    shards: Shards
    clips: Sequence[int]
    sample_rate_hz: int
    window_samples: int
    picture_rate_hz: float
    side_px: int
    batch_clips: int
    seed: int
    stored: StoredPictures | None = None

    @cached_property
    def _plan(self) -> BatchPlan:
        return BatchPlan(sizes=((len(self.clips),),), batch_size=self.batch_clips, seed=self.seed)

    def __call__(self, number: int, rows: range) -> dict[str, Any]:
        """Rows of batch b: `keys`, `labels`, `waves` float32 (rows, T), and `latents` and `spreads`, or `pictures`."""
        places = self._plan.batch(number).clips[rows.start : rows.stop : rows.step]
        samples = [
            self._sample(int(place), np.random.default_rng([self.seed, 1, number, row]))
            for place, row in zip(places, rows, strict=True)
        ]
        stacked: dict[str, Any] = {
            name: _stacked([sample[name] for sample in samples])
            for name in ("waves", "latents", "spreads", "pictures")
            if name in samples[0]
        }
        return {"keys": [sample["key"] for sample in samples], "labels": [one["label"] for one in samples], **stacked}

    def _sample(self, place: int, rng: np.random.Generator) -> dict[str, Any]:
        clip = self.clips[place]
        content = self.shards.read(clip, ("flac",))["flac"]
        wave_CT, start_s = drawn_window(content, self.sample_rate_hz, 1, self.window_samples, rng)
        moment = float(rng.random())
        sample = {"key": self.shards.key(clip), "label": label_of(self.shards, clip), "waves": wave_CT[0]}
        if self.stored is None:
            frames = clip_frames(self.shards, clip, self.picture_rate_hz, self.side_px)
            return {**sample, "pictures": frames[self._picture(start_s, len(frames), moment)]}
        picture = self._picture(start_s, int(self.stored.pictures[place]), moment)
        mean, spread = self.stored.read(place, picture)
        return {**sample, "latents": mean, "spreads": spread}

    def _picture(self, start_s: float, count: int, moment: float) -> int:
        """Number of the picture of a window: any of those that begin to be shown in it, else the one shown then."""
        end_s = start_s + self.window_samples / self.sample_rate_hz
        first = int(np.ceil(round(start_s * self.picture_rate_hz, 6)))
        last = min(int(np.ceil(round(end_s * self.picture_rate_hz, 6))), count)
        if first >= last:
            return max(0, min(int(start_s * self.picture_rate_hz), count - 1))
        return first + int(moment * (last - first))


def clip_frames(shards: Shards, clip: int, rate_hz: float, side_px: int) -> np.ndarray:
    """The middle squares of a clip's pictures, uint8 (N, side, side, 3), at least one.

    Raises:
        DatasetError: Its video has no frame.
    """
    frames = read_frames(io.BytesIO(shards.read(clip, ("mp4",))["mp4"]), rate_hz, side_px, middle=True)
    if not len(frames):
        raise DatasetError(f"the video of clip {shards.key(clip)} has no frame; cut it again and pack")
    return frames


def label_of(shards: Shards, clip: int) -> str:
    """The first label of a clip; empty where it has none."""
    labels = shards.about(clip)["labels"]
    return str(labels[0]) if labels else ""


def with_pictures(dataset: Dataset, shards: Shards, where: str | None = None) -> list[int]:
    """Numbers of the clips with a picture that meet a condition.

    Raises:
        ArgumentError: There is none.
    """
    has = [size is not None for offsets in shards.offsets() for size in offsets["mp4_size_bytes"].to_pylist()]
    wanted = None if where is None else set(clips_where(dataset, where))
    found = [number for number, shown in enumerate(has) if shown and (wanted is None or shards.key(number) in wanted)]
    if not found:
        raise ArgumentError(f"no clip of {dataset.path} {'that is wanted ' if where else ''}has a picture")
    return found


def _stacked(arrays: Sequence[np.ndarray]) -> Tensor:
    tensor = torch.from_numpy(np.stack(arrays))
    return tensor.float() if tensor.dtype == torch.float16 else tensor
