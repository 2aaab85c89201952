"""Levels of a sound, sample by sample: peak, true peak, clipping, silence, offset, and how alike its channels are.

A sound comes in blocks, so that a long one needs no more memory than a short one; where it is divided changes nothing.
Loudness is in `curation/measures/loudness.py`, what lies in its spectrum in `curation/measures/spectrum.py`.
"""

import hashlib

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
"""16-bit samples of shape (samples, channels)."""

Floats = npt.NDArray[np.float32]
"""Sound of shape (channels, samples), full scale 1.0."""

FULL_SCALE = 32_768
"""Magnitude of 0 dBFS in 16-bit samples."""

# fmt: off
TRUE_PEAK_PHASES = np.array([
    (0.0017089843750, 0.0109863281250, -0.0196533203125, 0.0332031250000, -0.0594482421875, 0.1373291015625,
     0.9721679687500, -0.1022949218750, 0.0476074218750, -0.0266113281250, 0.0148925781250, -0.0083007812500),
    (-0.0291748046875, 0.0292968750000, -0.0517578125000, 0.0891113281250, -0.1665039062500, 0.4650878906250,
     0.7797851562500, -0.2003173828125, 0.1015625000000, -0.0582275390625, 0.0330810546875, -0.0189208984375),
], np.float32)
# fmt: on
"""The first two of the four phases of the interpolator; the others are the same backwards. Source: BS.1770-4 annex 2,
"Filter coefficients, order 48, 4-phase, FIR interpolating"."""

CONSTANT_RATIO = 1e-6
"""A channel that varies by less than this share of the other's power has no correlation. Source: ours, what single
precision tells apart."""

TRUE_PEAK_STEP = 64
"""New samples in a row that is interpolated at a time. Source: ours; the fastest of 32, 64 and 128."""


def as_floats(samples: Samples) -> Floats:
    """Samples of shape (samples, channels) as sound of shape (channels, samples)."""
    sound = np.empty(samples.shape[::-1], np.float32)
    return np.multiply(samples.T, np.float32(1 / FULL_SCALE), out=sound)


def decibels(amplitude: float) -> float | None:
    """An amplitude, full scale 1.0, in dB; None for nothing at all."""
    return float(20 * np.log10(amplitude)) if amplitude > 0 else None


class LevelMeter:
    """Peak, offset, clipping and hash of 16-bit samples, and how alike their channels are.

    Args:
        channels: Number of channels.
        sample_rate_hz: Rate, Hz; it only goes into the hash.
        clipping_run_samples: Shortest run at full scale, in samples of one channel, that is clipped.
    """

    def __init__(self, channels: int, sample_rate_hz: int, clipping_run_samples: int) -> None:
        self._samples = self._peak = self._clipped = 0
        self._run_samples = clipping_run_samples
        self._open_runs = np.zeros(channels, np.int64)
        self._sums = np.zeros(channels, np.int64)
        self._products = np.zeros(3)
        self._identical = channels > 1
        # Rate and channels count, so that silence is not all the same.
        self._hash = hashlib.sha256(f"{sample_rate_hz} Hz, {channels} channels, s16le\n".encode())

    def add(self, samples: Samples, sound: Floats) -> None:
        """Take the next block, as samples and as sound."""
        if not len(samples):
            return
        self._samples += len(samples)
        self._hash.update(samples.astype("<i2", copy=False).tobytes())
        peak = max(int(samples.max()), -int(samples.min()))
        self._peak = max(self._peak, peak)
        self._sums += samples.sum(axis=0, dtype=np.int64)
        if peak >= FULL_SCALE - 1 or self._open_runs.any():
            self._count_runs(samples)
        if len(sound) > 1:
            self._products += [sound[0] @ sound[0], sound[1] @ sound[1], sound[0] @ sound[1]]
            self._identical = self._identical and all(np.array_equal(sound[0], other) for other in sound[1:])

    def _count_runs(self, samples: Samples) -> None:
        """Count runs at full scale that end in this block, and keep open those that reach its end."""
        full = (samples >= FULL_SCALE - 1) | (samples <= 1 - FULL_SCALE)
        for channel, is_full in enumerate(full.T):
            edges = np.flatnonzero(np.diff(is_full, prepend=False, append=False))
            lengths = edges[1::2] - edges[::2]
            if is_full[0]:
                lengths[0] += self._open_runs[channel]
            else:
                lengths = np.concatenate([self._open_runs[channel : channel + 1], lengths])
            self._open_runs[channel] = 0
            if is_full[-1]:
                self._open_runs[channel], lengths = lengths[-1], lengths[:-1]
            self._clipped += self._long_enough(lengths)

    def _long_enough(self, lengths: npt.NDArray[np.int64]) -> int:
        """Samples in runs that count as clipped."""
        return int(lengths[lengths >= self._run_samples].sum())

    @property
    def peak(self) -> float:
        """Largest magnitude so far, full scale 1.0."""
        return self._peak / FULL_SCALE

    def values(self) -> dict[str, float | bool | str | None]:
        """`peak_dbfs`, `clipping_ratio`, `dc_offset`, `channels_identical`, `channel_correlation`, `pcm_sha256`."""
        clipped = self._clipped + self._long_enough(self._open_runs)
        means = self._sums / max(self._samples, 1) / FULL_SCALE
        is_one = len(self._sums) == 1
        return {
            "peak_dbfs": decibels(self.peak),
            "clipping_ratio": clipped / max(self._samples * len(self._sums), 1),
            "dc_offset": float(means[np.abs(means).argmax()]),
            "channels_identical": None if is_one else self._identical,
            "channel_correlation": None if is_one else self._correlation(),
            "pcm_sha256": self._hash.hexdigest(),
        }

    def _correlation(self) -> float | None:
        """Pearson's correlation of the first two channels; None where one of them is constant, or without sound."""
        if not self._samples:
            return None
        first, second = self._sums[:2] / FULL_SCALE
        deviations = self._products - np.array([first * first, second * second, first * second]) / self._samples
        spread = deviations[0] * deviations[1]
        if min(deviations[:2]) <= CONSTANT_RATIO * max(self._products[:2]):
            return None
        return float(np.clip(deviations[2] / np.sqrt(spread), -1.0, 1.0))


class TruePeakMeter:
    """Largest value of the waveform between and at the samples, by fourfold interpolation.

    At the samples themselves the interpolator gives up to 3 % less than they are, so they count beside it.

    Args:
        channels: Number of channels.

    Source: ITU-R BS.1770-4 (2015), annex 2.
    """

    GAIN = float(np.abs(TRUE_PEAK_PHASES).sum(axis=1).max())
    """No interpolated value is larger than so many times the largest sample it is made of."""

    def __init__(self, channels: int) -> None:
        taps = TRUE_PEAK_PHASES.shape[1]
        self._history = np.zeros((channels, taps - 1), np.float32)
        self._peak = 0.0
        phases = np.concatenate([TRUE_PEAK_PHASES, TRUE_PEAK_PHASES[:, ::-1]])
        # Column (phase, place) of the matrix holds the taps that make that value of a row of samples.
        self._matrix = np.zeros((TRUE_PEAK_STEP + taps - 1, len(phases), TRUE_PEAK_STEP), np.float32)
        for place in range(TRUE_PEAK_STEP):
            self._matrix[place : place + taps, :, place] = phases[:, ::-1].T
        self._matrix = self._matrix.reshape(len(self._matrix), -1)

    def add(self, sound: Floats) -> None:
        """Take the next block."""
        taps_before = self._history.shape[1]
        short = -sound.shape[1] % TRUE_PEAK_STEP
        joined = np.concatenate([self._history, sound, np.zeros((len(sound), short), np.float32)], axis=1)
        self._history = np.concatenate([self._history, sound], axis=1)[:, -taps_before:]
        self._peak = max(self._peak, float(np.abs(sound).max(initial=0.0)))
        for channel in joined:
            rows = np.lib.stride_tricks.sliding_window_view(channel, TRUE_PEAK_STEP + taps_before)[::TRUE_PEAK_STEP]
            # Rows that cannot reach what was found already are passed over: most of them, in most sounds.
            near = np.maximum(rows.max(axis=1), -rows.min(axis=1)) * self.GAIN > self._peak
            if near.any():
                self._peak = max(self._peak, float(np.abs(rows[near] @ self._matrix).max()))

    def decibels(self) -> float | None:
        """True peak, dBTP; None for digital silence."""
        flush = np.zeros_like(self._history)
        self.add(flush)
        return decibels(self._peak)


class SilenceMeter:
    """Share of frames whose root mean square over all channels lies below a level.

    Args:
        frame_samples: Length of a frame; a shorter one at the end counts like the others.
        silence_dbfs: The level, dB.
    """

    def __init__(self, frame_samples: int, silence_dbfs: float) -> None:
        self._frame_samples = frame_samples
        self._power = 10 ** (silence_dbfs / 10)
        self._frames = self._silent = 0

    def add(self, sound: Floats) -> None:
        """Take the next block; all but the last hold whole frames."""
        whole = sound.shape[1] // self._frame_samples * self._frame_samples
        frames = sound[:, :whole].reshape(len(sound), -1, self._frame_samples)
        powers = np.einsum("cfs,cfs->f", frames, frames) / (len(sound) * self._frame_samples)
        if whole < sound.shape[1]:
            powers = np.append(powers, np.square(sound[:, whole:]).mean())
        self._frames += len(powers)
        self._silent += int((powers < self._power).sum())

    def ratio(self) -> float:
        """The share, 0 to 1; 1 where there is no sound at all."""
        return self._silent / self._frames if self._frames else 1.0
