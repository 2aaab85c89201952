"""Reading the picture of a clip as a captioner is shown it: frames at a fixed rate, at most one window long."""

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from curation.errors import ClipError, Code, DatasetError
from curation.programs.ffmpeg import input_options

FRAMES_HZ = 2.0
"""Frames a second. Source: Qwen2.5-Omni (arXiv 2503.20215), whose processor takes 2 where nothing else is said."""

WINDOW_S = 30.0
"""Longest picture that is shown, s, and longest sound that is heard with it. Source: ours; 60 frames of 360 lines are
about 9,000 tokens."""


def seen(path: Path, *, rate_hz: float = FRAMES_HZ, window_s: float = WINDOW_S) -> npt.NDArray[np.uint8]:
    """The frame shown at each moment k / `rate_hz` of the first `window_s`, at its own size.

    Args:
        path: A video of the media store.
        rate_hz: Frames a second.
        window_s: Longest part that is read, s.

    Returns:
        (N, H, W, 3) RGB, N at most `rate_hz * window_s`.

    Raises:
        ClipError: The file shows no frame (`NO_VIDEO`).
        DatasetError: The file is damaged.
    """
    try:
        frames = _frames(path, rate_hz, round(rate_hz * window_s))
    except av.FFmpegError as error:
        raise DatasetError(
            f"{path} was whole when it was cut and cannot be read ({error}); look after its disk, put the file back or "
            "fetch its video again"
        ) from error
    if not frames:
        raise ClipError(Code.NO_VIDEO, f"{path.name} shows no frame")
    return np.stack(frames)


def _frames(path: Path, rate_hz: float, most: int) -> list[npt.NDArray[np.uint8]]:
    """The first `most` frames at this rate, each (H, W, 3)."""
    frames: list[npt.NDArray[np.uint8]] = []
    with av.open(str(path), options=input_options()) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            shown = None
            while frame.time is not None and len(frames) < most and len(frames) <= frame.time * rate_hz + 1e-6:
                shown = frame.to_ndarray(format="rgb24") if shown is None else shown
                frames.append(shown)
            if len(frames) == most:
                break
    return frames
