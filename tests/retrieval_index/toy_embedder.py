"""An embedder of arithmetic: how much of a sound lies at each of a few pitches. A text names one of them, as `440`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval_index.embedder import Frames, Vectors
from retrieval_index.windows import Wave

PITCHES_HZ = (220, 440, 880, 1760)


def tone(pitch_hz: float, seconds: float, rate_hz: int) -> Wave:
    """A sine at half of full scale."""
    return (0.5 * np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


@dataclass(frozen=True)
class Pitches:
    sample_rate_hz: int = 8_000
    window_s: float = 2.0
    dimension: int = len(PITCHES_HZ)
    weights: str = "first"

    def embed_sound(self, wave_BT: Wave) -> Vectors:
        angles_TD = np.outer(np.arange(wave_BT.shape[1]), PITCHES_HZ) * 2 * np.pi / self.sample_rate_hz
        strength_BD = np.abs(wave_BT.astype(np.float64) @ np.exp(1j * angles_TD)) + 1e-3
        return (strength_BD / np.linalg.norm(strength_BD, axis=1, keepdims=True)).astype(np.float32)

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        return np.stack([np.eye(self.dimension, dtype=np.float32)[PITCHES_HZ.index(int(text))] for text in texts])

    def identity(self) -> dict[str, Any]:
        return {"class": "Pitches", "weights": self.weights, "preprocessing": "none"}


class Broken(Pitches):
    """Gives what an overflow gives."""

    def embed_sound(self, wave_BT: Wave) -> Vectors:
        return np.full((len(wave_BT), self.dimension), np.nan, np.float32)


@dataclass(frozen=True)
class Seeing(Pitches):
    """Also sees: how red, green and blue frames are, in the first three numbers; both is the sum."""

    frames: int = 2
    frame_size_px: int = 8

    def embed_picture(self, frames_BNSSC: Frames) -> Vectors:
        assert frames_BNSSC.dtype == np.uint8 and frames_BNSSC.shape[1:] == (self.frames, 8, 8, 3)
        level_BD = np.concatenate([frames_BNSSC.mean(axis=(1, 2, 3)), np.full((len(frames_BNSSC), 1), 64.0)], axis=1)
        return (level_BD / np.linalg.norm(level_BD, axis=1, keepdims=True)).astype(np.float32)

    def embed_both(self, wave_BT: Wave, frames_BNSSC: Frames) -> Vectors:
        joint_BD = self.embed_sound(wave_BT) + self.embed_picture(frames_BNSSC)
        return (joint_BD / np.linalg.norm(joint_BD, axis=1, keepdims=True)).astype(np.float32)
