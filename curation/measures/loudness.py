"""Integrated loudness after ITU-R BS.1770-4: K-weighting, channel weights, two gates.

The two filters are run as one finite impulse response by FFT: their poles decay so fast that 0.34 s hold all
of them, and NumPy has no fast recursive filter. Not here: true peak (`curation/measures/levels.py`), loudness range.
"""

import functools

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STEP_S, STEPS = 0.1, 4
"""Gating blocks of 400 ms that overlap by 75 %: of four steps each. Source: BS.1770-4 annex 1."""

ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0
"""Source: BS.1770-4 annex 1, equations 5 to 7."""

OFFSET_DB = -0.691
"""Makes a 0 dBFS 997 Hz sine in one front channel -3.01 LUFS. Source: BS.1770-4 annex 1, equation 2."""

SURROUND_WEIGHT = 10**0.15
"""+1.5 dB (1.41) for channels 60 to 120 degrees aside. Source: BS.1770-4 annex 1, table 4."""

CHANNEL_WEIGHTS: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    2: (1.0, 1.0),
    3: (1.0, 1.0, 1.0),
    4: (1.0, 1.0, SURROUND_WEIGHT, SURROUND_WEIGHT),
    5: (1.0, 1.0, 1.0, SURROUND_WEIGHT, SURROUND_WEIGHT),
    6: (1.0, 1.0, 1.0, 0.0, SURROUND_WEIGHT, SURROUND_WEIGHT),
    7: (1.0, 1.0, 1.0, 0.0, 1.0, SURROUND_WEIGHT, SURROUND_WEIGHT),
    8: (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, SURROUND_WEIGHT, SURROUND_WEIGHT),
}
"""Weights in FLAC's channel orders: the low-frequency channel counts for nothing, centre and back channels for 1."""

RESPONSE_S = 0.34
"""Length of the impulse response, s. Source: ours; its slowest part falls to exp(-2 pi x 38 Hz x 0.34 s) = 1e-35."""


class LoudnessMeter:
    """Integrated loudness of a sound that comes in blocks; where it is divided changes nothing.

    Args:
        channels: 1 to 8, in FLAC's order.
        sample_rate_hz: Rate, Hz.

    Source: ITU-R BS.1770-4 (2015), annex 1.
    """

    def __init__(self, channels: int, sample_rate_hz: int) -> None:
        self._weights = np.array(CHANNEL_WEIGHTS[channels])
        self._step = round(STEP_S * sample_rate_hz)
        response = k_weighting_response(sample_rate_hz)
        self._before = len(response) - 1
        self._size = 1 << (2 * len(response)).bit_length()
        self._weighting = np.fft.rfft(response, self._size).astype(np.complex64)
        self._history = np.zeros((channels, self._before), np.float32)
        self._waiting = np.zeros((channels, 0), np.float32)
        self._steps: list[Floats] = []

    def add(self, sound: npt.NDArray[np.floating]) -> None:
        """Take the next block, shape (channels, samples), full scale 1.0."""
        weighted = np.concatenate([self._waiting, self._k_weighted(sound)], axis=1)
        steps = weighted.shape[1] // self._step
        self._waiting = weighted[:, steps * self._step :].copy()
        parts = weighted[:, : steps * self._step].reshape(len(weighted), steps, self._step)
        self._steps.append(self._weights @ np.einsum("cts,cts->ct", parts, parts).astype(np.float64))

    def _k_weighted(self, sound: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """The block through the two filters of K-weighting, by overlap-save."""
        padded = np.concatenate([self._history, sound], axis=1, dtype=np.float32, casting="same_kind")
        self._history = padded[:, -self._before :].copy()
        filtered = np.empty(sound.shape, np.float32)
        for start in range(0, sound.shape[1], self._size - self._before):
            spectrum = np.fft.rfft(padded[:, start : start + self._size], self._size)
            spectrum *= self._weighting
            part = np.fft.irfft(spectrum, self._size)[:, self._before :]
            filtered[:, start : start + part.shape[1]] = part[:, : sound.shape[1] - start]
        return filtered

    def integrated_lufs(self) -> float | None:
        """Loudness of all that came, LUFS; None where no block passes the gates: silence, or less than 400 ms."""
        steps = np.concatenate([np.zeros(0), *self._steps])
        if len(steps) < STEPS:
            return None
        blocks = np.lib.stride_tricks.sliding_window_view(steps, STEPS).sum(axis=1) / (STEPS * self._step)
        heard = blocks[blocks > _power(ABSOLUTE_GATE_LUFS)]
        if not len(heard):
            return None
        heard = heard[heard > heard.mean() * 10 ** (RELATIVE_GATE_LU / 10)]
        return float(OFFSET_DB + 10 * np.log10(heard.mean()))


@functools.lru_cache(maxsize=8)
def k_weighting_response(sample_rate_hz: int) -> Floats:
    """Impulse response of K-weighting at any rate, shape (samples,).

    Source: BS.1770-4 annex 1 tables 1 and 2 give the coefficients at 48 kHz. Their analogue prototypes, from which
    other rates follow by the bilinear transform: B. De Man, "Evaluation of Implementations of the EBU R128 Loudness
    Measurement", AES 145 (2018).
    """
    impulse = [1.0] + [0.0] * (round(RESPONSE_S * sample_rate_hz) - 1)
    return np.array(_biquad(_biquad(impulse, *_shelf(sample_rate_hz)), *_high_pass(sample_rate_hz)))


def _power(loudness_lufs: float) -> float:
    """Weighted mean square of a loudness."""
    return float(10 ** ((loudness_lufs - OFFSET_DB) / 10))


def _shelf(sample_rate_hz: int) -> tuple[list[float], list[float]]:
    """Numerator and denominator of the high shelf: +4 dB above 1.7 kHz, the acoustics of the head."""
    frequency_hz, gain_db, quality = 1681.974450955533, 3.999843853973347, 0.7071752369554196
    k = float(np.tan(np.pi * frequency_hz / sample_rate_hz))
    high = 10 ** (gain_db / 20)
    band = high**0.4996667741545416
    scale = 1 + k / quality + k * k
    b = [(high + band * k / quality + k * k) / scale, 2 * (k * k - high) / scale]
    b.append((high - band * k / quality + k * k) / scale)
    return b, [1.0, 2 * (k * k - 1) / scale, (1 - k / quality + k * k) / scale]


def _high_pass(sample_rate_hz: int) -> tuple[list[float], list[float]]:
    """Numerator and denominator of the high pass at 38 Hz."""
    frequency_hz, quality = 38.13547087602444, 0.5003270373238773
    k = float(np.tan(np.pi * frequency_hz / sample_rate_hz))
    scale = 1 + k / quality + k * k
    return [1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / scale, (1 - k / quality + k * k) / scale]


def _biquad(samples: list[float], b: list[float], a: list[float]) -> list[float]:
    """A second-order filter, sample by sample, in transposed direct form II; only for impulse responses."""
    first = second = 0.0
    filtered = []
    for x in samples:
        y = b[0] * x + first
        first, second = b[1] * x - a[1] * y + second, b[2] * x - a[2] * y
        filtered.append(y)
    return filtered
