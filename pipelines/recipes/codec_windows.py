"""Random windows of the sounds of a generation, for the training of codecs. Not whole clips, and no latents."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from curation.encode import with_channels
from curation.errors import ArgumentError
from curation.shards.batches import BatchPlan
from curation.shards.reader import Shards
from pipelines.recipes.data import FITTING_CLIPS, sounds

# Ours: sets of short sounds are filled up with digital silence, of which nothing is learnt and which a relative error
# makes much of. A window this quiet (-60 dB of full scale) is drawn again, a few times.
QUIET_RMS = 1e-3
DRAWS = 4
# Ours: a tenth of the clips, and no more than tell codecs apart, are kept to measure by, 10 s of each.
HELD_OUT_SHARE = 10
HELD_OUT_CLIPS = 48
MEASURED_S = 10


@dataclass(frozen=True)
class SoundWindows:
    """Batches of windows; batch b is a function of the seed and b, whichever of its rows are asked for.

    Args:
        shards: Of the generation.
        sample_rate_hz: Rate of the windows.
        channels: Their channels.
        window_samples: Their length; shorter clips are filled up with silence.
        batch_clips: Windows of a batch.
        seed: Of the draw.

    Raises:
        ArgumentError: There are fewer than two clips.
    """

    shards: Shards
    sample_rate_hz: int
    channels: int
    window_samples: int
    batch_clips: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.shards) < 2:
            raise ArgumentError(f"a codec is trained on two clips at least, there are {len(self.shards)}")

    @cached_property
    def _order(self) -> list[int]:
        return [int(number) for number in np.random.default_rng([self.seed, 0]).permutation(len(self.shards))]

    @property
    def held_out(self) -> list[int]:
        """Clips that are in no batch, a tenth of all."""
        return sorted(self._order[: max(1, min(HELD_OUT_CLIPS, len(self.shards) // HELD_OUT_SHARE))])

    @cached_property
    def _trained(self) -> list[int]:
        return sorted(self._order[len(self.held_out) :])

    @cached_property
    def _plan(self) -> BatchPlan:
        return BatchPlan(sizes=((len(self._trained),),), batch_size=self.batch_clips, seed=self.seed)

    def __call__(self, number: int, rows: range) -> dict[str, Any]:
        """Rows of batch b: `keys`, and `waves`, float32 (rows, C, T)."""
        clips = [self._trained[place] for place in self._plan.batch(number).clips[rows.start : rows.stop : rows.step]]
        windows = [
            self._window(clip, np.random.default_rng([self.seed, 1, number, row]))
            for clip, row in zip(clips, rows, strict=True)
        ]
        return {
            "keys": [self.shards.key(clip) for clip in clips],
            "waves": torch.from_numpy(np.stack(windows)),
        }

    def _window(self, clip: int, rng: np.random.Generator) -> np.ndarray:
        """A window of a clip, float32 (C, T)."""
        content = self.shards.read(clip, ("flac",))["flac"]
        return drawn_window(content, self.sample_rate_hz, self.channels, self.window_samples, rng)[0]

    def waves(self, clips: Sequence[int]) -> list[Tensor]:
        """The first seconds of some clips, float32 (C, T) each."""
        longest = MEASURED_S * self.sample_rate_hz
        found = sounds(self.shards, self.sample_rate_hz, self.channels, list(clips))
        return [torch.from_numpy(wave_CT[:, :longest]) for wave_CT in found]

    @property
    def fitting(self) -> list[int]:
        """Clips that a closed-form codec is fitted on for comparison: as many trained ones as the recipes fit on."""
        return self._trained[:FITTING_CLIPS]


def drawn_window(
    content: bytes, sample_rate_hz: int, channels: int, window_samples: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """A window of a sound file at any place; a silent one is drawn again, a few times.

    Args:
        content: Of the file.
        sample_rate_hz: Rate of the window.
        channels: Its channels.
        window_samples: Its length; a shorter sound is filled up with silence.
        rng: Draws the place.

    Returns:
        float32 (channels, window_samples), and where it starts, s.
    """
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        rate_hz = file.samplerate
        wanted = -(-window_samples * rate_hz // sample_rate_hz)
        for _ in range(DRAWS):
            start = int(rng.integers(max(1, file.frames - wanted + 1)))
            file.seek(start)
            found_TC = file.read(wanted, dtype="float32", always_2d=True)
            if float(np.sqrt(np.mean(np.square(found_TC)))) > QUIET_RMS:
                break
    if rate_hz != sample_rate_hz:
        found_TC = soxr.resample(found_TC, rate_hz, sample_rate_hz, quality="HQ")
    wave_CT = with_channels(np.asarray(found_TC, np.float32), channels)[:, :window_samples]
    return np.pad(wave_CT, ((0, 0), (0, window_samples - wave_CT.shape[1]))), start / rate_hz
