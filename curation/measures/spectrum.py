"""What lies in the spectrum of a sound: where it ends, and how flat it is.

Windows of 4,096 samples that overlap by half, as they come; a long sound needs no more memory than a short one.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
"""Sound of shape (channels, samples), full scale 1.0."""

SPECTRUM_SAMPLES = 4_096
"""Window of the average spectrum: 12 Hz a bin at 48 kHz. Source: ours."""

SPECTRUM_FRAMES = 32
"""Windows transformed at a time. Source: ours; the fastest of 16 to 256."""

QUANTISATION_DB = -98.1
"""Power of the rounding noise of 16 bits, dB below a 0 dBFS square wave. Source: step squared / 12 (Bennett 1948)."""

FLATNESS_BAND_HZ = (100.0, 8_000.0)
"""The band whose flatness is taken. Source: ours; below it mains hum and wind, above it lossy codecs take away what
they like, and one empty bin makes any spectrum look tonal."""


class SpectrumMeter:
    """The average spectrum, and the average flatness, of a sound in blocks.

    Args:
        sample_rate_hz: Rate, Hz.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz
        window = np.hanning(SPECTRUM_SAMPLES + 1)[:-1]
        self._scale = np.square(window).sum() * SPECTRUM_SAMPLES
        self._window = window.astype(np.float32)
        low, high = (round(hz * SPECTRUM_SAMPLES / sample_rate_hz) for hz in FLATNESS_BAND_HZ)
        self._band = slice(max(low, 1), min(high, SPECTRUM_SAMPLES // 2 - 1) + 1)
        self._tail: Floats | None = None
        self._total = np.zeros(SPECTRUM_SAMPLES // 2 + 1)
        self._frames = self._flat_frames = 0
        self._flatness = 0.0
        self._channels = 1

    def add(self, sound: Floats) -> None:
        """Take the next block."""
        joined = sound if self._tail is None else np.concatenate([self._tail, sound], axis=1)
        self._channels = len(sound)
        frames = max(0, (joined.shape[1] - SPECTRUM_SAMPLES) // (SPECTRUM_SAMPLES // 2) + 1)
        self._tail = joined[:, frames * SPECTRUM_SAMPLES // 2 :].copy()
        if frames:
            self._transform(joined)

    def _transform(self, joined: Floats) -> None:
        """Add all windows that lie in these samples."""
        for channel in joined:
            frames = np.lib.stride_tricks.sliding_window_view(channel, SPECTRUM_SAMPLES)[:: SPECTRUM_SAMPLES // 2]
            for start in range(0, len(frames), SPECTRUM_FRAMES):
                bins = np.fft.rfft(frames[start : start + SPECTRUM_FRAMES] * self._window, axis=1)
                power = np.square(bins.real) + np.square(bins.imag)
                self._total += power.sum(axis=0)
                self._add_flatness(power[:, self._band])
        self._frames += len(frames)

    def _add_flatness(self, power: npt.NDArray[np.float32]) -> None:
        """Add geometric over arithmetic mean of each window in which there is anything."""
        means = power.mean(axis=1)
        heard = means > 0
        if not heard.any():
            return
        power, means = power[heard], means[heard]
        # The smallest number above nothing stands for nothing, so that the logarithm exists.
        geometric = np.exp(np.log(np.maximum(power, np.finfo(np.float32).tiny)).mean(axis=1))
        self._flatness += float((geometric / means).sum(dtype=np.float64))
        self._flat_frames += len(means)

    def _finish(self) -> None:
        """A sound shorter than one window is padded with silence."""
        if not self._frames and self._tail is not None and self._tail.shape[1]:
            self._transform(np.pad(self._tail, ((0, 0), (0, SPECTRUM_SAMPLES - self._tail.shape[1]))))

    def flatness(self) -> float | None:
        """Flatness of the spectrum between 100 Hz and 8 kHz: near 0 for tones, 0.56 for white noise.

        Geometric over arithmetic mean of the power of the bins, averaged over windows and channels; None for digital
        silence. White noise has exp(-0.577) = 0.56, since the power of its bins is distributed exponentially.

        Source: J. D. Johnston, "Transform coding of audio signals using perceptual noise criteria", IEEE JSAC 6 (1988),
        spectral flatness measure.
        """
        self._finish()
        return self._flatness / self._flat_frames if self._flat_frames else None

    def bandwidth_hz(self, below_peak_db: float, noise_margin_db: float) -> float | None:
        """The highest frequency at which the average spectrum still stands out.

        It stands out where it is less than `below_peak_db` under the spectrum's peak and at least `noise_margin_db`
        over the rounding noise of 16 bits, so that a sound whose upper band a codec or an old rate removed shows it,
        loud or quiet. Spectrum: P. Welch's average of Hann windows that overlap by half (1967).

        Args:
            below_peak_db: Threshold below the peak, dB, negative.
            noise_margin_db: Threshold above the rounding noise, dB.

        Returns:
            The frequency, Hz; None where nothing stands out.
        """
        self._finish()
        if not self._frames:
            return None
        power = self._total / self._frames / self._scale
        # White noise of variance v has v / SPECTRUM_SAMPLES in every bin of the two-sided spectrum.
        floor = 10 ** ((QUANTISATION_DB + noise_margin_db) / 10) * self._channels / SPECTRUM_SAMPLES
        heard = np.flatnonzero(power > max(power.max() * 10 ** (below_peak_db / 10), floor))
        return float(heard[-1] * self._sample_rate_hz / SPECTRUM_SAMPLES) if len(heard) else None
