"""Numbers about the picture of a clip: how much of it stands still, how alike neighbours are, how much is black, how
much moves.

All of them are of small grey frames at a few a second, which one decoding pass gives. Only files that `cut` wrote are
opened here. What a picture shows is not looked at.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
"""Grey frames of shape (frames, side_px, side_px), 0 black to 255 white."""

Floats = npt.NDArray[np.float32]

BATCH_FRAMES = 128
"""Frames compared at a time, so that a long picture needs no more memory than a short one. Source: ours."""

SSIM_WINDOW_PX, SSIM_SIGMA_PX = 11, 1.5
"""Source: Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image Quality Assessment: From Error Visibility to
Structural Similarity", IEEE Transactions on Image Processing 13 (2004), section III-C."""

SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
"""Source: the same, K1 = 0.01, K2 = 0.03 and grey levels up to 255."""

MIDDLE_LEVEL = np.float32(128)

BLACK_LEVEL, BLACK_SHARE = 25, 0.98
"""A frame is black when so large a share of it is no brighter than a tenth of white. Source: the defaults of ffmpeg's
`blackdetect` (`pix_th` 0.10, `pic_th` 0.98)."""


class PictureMeter:
    """Compares neighbouring frames as they come.

    Args:
        still_difference: Mean difference of grey levels (0 to 255) below which two frames are equal.
    """

    def __init__(self, still_difference: float) -> None:
        self._still_difference = still_difference
        self._last: Frames | None = None
        self._frames = self._black = self._pairs = self._still = 0
        self._difference = self._similarity = 0.0

    def add(self, frames: Frames) -> None:
        """Take the next frames."""
        self._frames += len(frames)
        self._black += int(((frames <= BLACK_LEVEL).mean(axis=(1, 2)) >= BLACK_SHARE).sum())
        joined = frames if self._last is None else np.concatenate([self._last, frames])
        self._last = joined[-1:]
        if len(joined) < 2:
            return
        levels = joined.astype(np.float32)
        differences = np.abs(np.diff(levels, axis=0)).mean(axis=(1, 2))
        self._pairs += len(differences)
        self._still += int((differences < self._still_difference).sum())
        self._difference += float(differences.sum(dtype=np.float64))
        self._similarity += float(neighbour_ssim(levels).sum(dtype=np.float64))

    def values(self) -> dict[str, float | None]:
        """`still_ratio` (1.0 for a single frame), `ssim` and `motion` (None for one) and `black_ratio`."""
        return {
            "still_ratio": self._still / self._pairs if self._pairs else 1.0,
            "ssim": self._similarity / self._pairs if self._pairs else None,
            "motion": self._difference / self._pairs if self._pairs else None,
            "black_ratio": self._black / self._frames if self._frames else None,
        }


def grey_frames(path: Path, rate_hz: float, side_px: int) -> Iterator[Frames]:
    """Frames of one of our own MP4 files as small grey squares, `BATCH_FRAMES` at a time.

    Args:
        path: The file.
        rate_hz: Frames a second; all of them where the file has fewer.
        side_px: Side of the squares, px; the picture is averaged down and its shape ignored.
    """
    kept = []
    next_s = 0.0
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if frame.time + 1e-6 < next_s:
                continue
            next_s += 1.0 / rate_hz
            kept.append(frame.reformat(side_px, side_px, "gray", interpolation="AREA").to_ndarray())
            if len(kept) == BATCH_FRAMES:
                yield np.stack(kept)
                kept = []
    if kept:
        yield np.stack(kept)


def neighbour_ssim(levels: Floats) -> Floats:
    """Mean structural similarity of each frame with the next, shape (frames - 1,); 1 for equal frames.

    Args:
        levels: Grey frames of shape (frames, height, width), 0 to 255, each side at least 11 px.

    Source: Wang et al. 2004, equations 13 to 17, over all places where the window lies inside the frame.
    """
    centred = levels - MIDDLE_LEVEL  # small numbers lose less where squares are subtracted
    shift = _windowed(centred)
    variance = _windowed(np.square(centred)) - np.square(shift)
    covariance = _windowed(centred[:-1] * centred[1:]) - shift[:-1] * shift[1:]
    mean = shift + MIDDLE_LEVEL
    squares = np.square(mean)
    likeness = (2 * mean[:-1] * mean[1:] + SSIM_C1) * (2 * covariance + SSIM_C2)
    likeness /= (squares[:-1] + squares[1:] + SSIM_C1) * (variance[:-1] + variance[1:] + SSIM_C2)
    result: Floats = likeness.mean(axis=(1, 2))
    return result


def _windowed(levels: Floats) -> Floats:
    """Gaussian mean around each place, for frames of shape (frames, height, width): two products with band matrices."""
    down, across = _window_matrix(levels.shape[1]), _window_matrix(levels.shape[2])
    result: Floats = down @ (levels @ across.T)
    return result


@functools.lru_cache(maxsize=8)
def _window_matrix(side_px: int) -> Floats:
    """The window at each place of a line, shape (side_px - SSIM_WINDOW_PX + 1, side_px)."""
    if side_px < SSIM_WINDOW_PX:
        raise ValueError(f"structural similarity needs sides of at least {SSIM_WINDOW_PX} px, not {side_px}")
    offsets = np.arange(SSIM_WINDOW_PX) - SSIM_WINDOW_PX // 2
    window = np.exp(-np.square(offsets) / (2 * SSIM_SIGMA_PX**2))
    matrix = np.zeros((side_px - SSIM_WINDOW_PX + 1, side_px), np.float32)
    for place, line in enumerate(matrix):
        line[place : place + SSIM_WINDOW_PX] = window / window.sum()
    return matrix
