"""The pictures of the quickstart's world: one shape a class that shows what the sound does.

Height follows the pitch, size and brightness follow the level, and the shape drifts from left to right all the time, so
that no two frames of a good video are alike. Drawn from a score, never from the wave.
"""

import colorsys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipelines.quickstart.sounds import RATE_HZ, Score

SIDE_PIXELS = 128
FRAMES_PER_S = 12
"""Even and small: encoding the whole corpus is to take seconds. Source: ours."""

BACKGROUND = 24
"""Grey of the background, 0 to 255."""

CROSSINGS_HZ = 0.5
"""How often a second the shape crosses the picture."""

PITCH_HZ = (80.0, 4000.0)
"""Pitches at the bottom and the top of the picture, on a logarithmic scale."""

Grid = NDArray[np.float64]


Shape = Callable[[Grid, Grid], NDArray[np.bool_]]

SHAPES: dict[str, Shape] = {
    "rising chirp": lambda x, y: (y > -0.8) & (y < 1.0 - 1.8 * np.abs(x)),
    "falling chirp": lambda x, y: (y < 0.8) & (y > 1.8 * np.abs(x) - 1.0),
    "beep train": lambda x, y: np.hypot(x, y) < 0.9,
    "two-tone siren": lambda x, y: np.abs(np.hypot(x, y) - 0.8) < 0.2,
    "pulsing hum": lambda x, y: (np.abs(y) < 0.35) & (np.abs(x) < 1.2),
    "noise bursts": lambda x, y: np.maximum(np.abs(x), np.abs(y)) < 0.8,
    "click train": lambda x, y: (np.minimum(np.abs(x), np.abs(y)) < 0.3) & (np.maximum(np.abs(x), np.abs(y)) < 1.0),
    "plucked notes": lambda x, y: np.abs(x) + np.abs(y) < 1.0,
}
"""Label -> which points lie inside its shape, of radius about 1 around the origin with y upwards: triangles that point
up and down, disc, ring, bar, square, cross, diamond."""


def draw(label: str, score: Score, hue: float) -> NDArray[np.uint8]:
    """The frames that belong to a score.

    Args:
        label: The class, which gives the shape.
        score: Pitch and level of the sound; the pitch at the start of a frame, the largest level while it is shown.
        hue: Colour, 0 to 1.

    Returns:
        (frames, height, width, 3) uint8 RGB at `FRAMES_PER_S`.
    """
    step = RATE_HZ // FRAMES_PER_S
    n_frames = score.level.size // step
    pitch_hz = score.pitch_hz[: n_frames * step : step]
    level = score.level[: n_frames * step].reshape(n_frames, step).max(axis=1)
    low, high = np.log2(PITCH_HZ)
    centre_y = 0.1 + 0.8 * np.clip((np.log2(pitch_hz) - low) / (high - low), 0.0, 1.0)
    centre_x = 0.15 + 0.7 * (np.arange(n_frames) * CROSSINGS_HZ / FRAMES_PER_S % 1.0)
    radius = 0.13 + 0.08 * level

    grid = (np.arange(SIDE_PIXELS) + 0.5) / SIDE_PIXELS
    x = (grid[None, None, :] - centre_x[:, None, None]) / radius[:, None, None]
    y = (1.0 - grid[None, :, None] - centre_y[:, None, None]) / radius[:, None, None]
    mask = SHAPES[label](x, y)
    inside = ((140.0 + 110.0 * level)[:, None] * np.array(colorsys.hsv_to_rgb(hue, 0.75, 1.0))).astype(np.uint8)
    return np.where(mask[..., None], inside[:, None, None, :], np.uint8(BACKGROUND))


def blank(duration_s: float) -> NDArray[np.uint8]:
    """Frames of nothing but background for what lies outside a clip, (frames, height, width, 3) uint8."""
    n_frames = round(duration_s * FRAMES_PER_S)
    return np.full((n_frames, SIDE_PIXELS, SIDE_PIXELS, 3), BACKGROUND, dtype=np.uint8)
