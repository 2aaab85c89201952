"""How a sound of any length is cut into the windows that an embedder takes.

Windows overlap by half, so that every sound event up to half a window lies whole in one of them. This file reads sound
files and cuts; it knows nothing of vectors.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

Wave = npt.NDArray[np.float32]

HOP_RATIO = 0.5
"""Distance between windows as a share of a window: 5 s for CLAP's 10 s. Source: ours."""


def mono(path: Path, sample_rate_hz: int) -> Wave:
    """A sound file as one channel at the rate asked for.

    Args:
        path: A file that libsndfile reads, as FLAC or WAV.
        sample_rate_hz: Rate wanted, Hz.

    Returns:
        (T,) float32 in [-1, 1], the mean of the channels, resampled by soxr (HQ).

    Raises:
        OSError: The file is not there.
        soundfile.LibsndfileError: It is no sound, or a damaged one.
    """
    wave_TC, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    wave_T = wave_TC.mean(axis=1, dtype=np.float32)
    if rate_hz != sample_rate_hz:
        wave_T = soxr.resample(wave_T, rate_hz, sample_rate_hz, quality="HQ")
    return np.ascontiguousarray(wave_T, dtype=np.float32)


def window_starts(length_s: float, window_s: float, hop_ratio: float = HOP_RATIO) -> list[float]:
    """Starts of the windows that cover a sound.

    The first begins at 0; another follows as long as the one before ends before the sound does.

    Args:
        length_s: Length of the sound, s.
        window_s: Length of a window, s, above 0; the last one may be shorter, but is longer than
            `(1 - hop_ratio) * window_s` unless it is the only one.
        hop_ratio: Distance between starts as a share of a window, in (0, 1].

    Returns:
        Starts, s, at least one.

    Raises:
        ValueError: A length or the ratio is out of range.
    """
    if window_s <= 0 or not 0 < hop_ratio <= 1:
        raise ValueError(f"window_s must be above 0 and hop_ratio in (0, 1], not {window_s} and {hop_ratio}")
    starts = [0.0]
    while starts[-1] + window_s < length_s:
        starts.append(len(starts) * hop_ratio * window_s)
    return starts


def windows(
    wave_T: Wave, sample_rate_hz: int, window_s: float, hop_ratio: float = HOP_RATIO
) -> list[tuple[float, Wave]]:
    """The windows of a sound as (start in s, samples); the samples are views."""
    length = round(window_s * sample_rate_hz)
    starts = window_starts(len(wave_T) / sample_rate_hz, window_s, hop_ratio)
    return [(start, wave_T[round(start * sample_rate_hz) :][:length]) for start in starts]
