"""Says by arithmetic which class of the quickstart's world a sound belongs to, if any.

Everything is measured on the sound with the formulas below and compared with the ranges from which `sounds` draws;
nothing is learned, so a generated sound is judged by what it is and not by a network's taste. It knows these eight
classes and no other sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

RATE_HZ = 16_000
"""Rate at which sounds are judged; all classes lie below 4 kHz."""

HOP_SAMPLES = 160
WINDOW_SAMPLES = 512
FFT_SAMPLES = 1024
PEAK_HZ = 65.0
"""Half width of a spectral peak: the main lobe of a 32 ms Hann window, 2 / 0.032 s."""

SILENCE_DB = -50.0
"""Below this root mean square a sound is silence."""

QUIET_DB = 20.0
"""Frames that lie further below the loudest one do not count for pitch."""

SLOPE_S = 0.05
"""Time over which the change of pitch is taken: 0.1 octaves in a sweep of the world, above the error of a peak."""

JUMP_OCTAVES_PER_S = 6.0
"""A faster change is a jump, not a glide: a sweep glides at 2, its return and the siren jump at 10 or more."""

LEAP_S = 0.1
LEAP_OCTAVES = 0.3
"""A pitch has leapt when its medians over `LEAP_S` before and after are as far apart; the siren leaps by 0.5 or
more."""

RATES_HZ = (0.7, 12.0)
"""Where the rate of the envelope is looked for."""

RATE_FFT_FRAMES = 8192
"""Zero padding of the envelope's transform: 0.012 Hz between its points; beyond 81 s the rest gives no rate."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What was measured.

    Args:
        level_db: Root mean square, dB below full scale.
        pitch_hz: Median frequency of the strongest spectral peak, weighted by power, as are all but the leaps up to
            `tonality`.
        spread_octaves: Distance of its 10th and 90th percentiles.
        slope_octaves_per_s: Median of its change over time, jumps left out.
        leaps_per_s: How often a second the pitch jumps and stays.
        tonality: Median share of the power that lies within `PEAK_HZ` of the peak, 0 to 1.
        swing: 1 - (10th / 97th percentile of the envelope): 0 is steady, 1 has gaps.
        rate_hz: Strongest frequency of the envelope.
        on_share: Share of the time in which the envelope is above half of its 97th percentile.
    """

    level_db: float
    pitch_hz: float
    spread_octaves: float
    slope_octaves_per_s: float
    leaps_per_s: float
    tonality: float
    swing: float
    rate_hz: float
    on_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The class of a sound, or None if it is none of them, and why."""

    label: str | None
    evidence: Evidence


Range = tuple[float, float]

ANY = float("inf")

RULES: dict[str, dict[str, Range]] = {
    "rising chirp": {
        "slope_octaves_per_s": (0.8, 4.0),
        "spread_octaves": (0.9, 2.6),
        "pitch_hz": (350, 1600),
        "tonality": (0.45, 1),
        "swing": (0, 0.7),
    },
    "falling chirp": {
        "slope_octaves_per_s": (-4.0, -0.8),
        "spread_octaves": (0.9, 2.6),
        "pitch_hz": (350, 1600),
        "tonality": (0.45, 1),
        "swing": (0, 0.7),
    },
    "beep train": {
        "pitch_hz": (750, 1450),
        "spread_octaves": (0, 0.25),
        "tonality": (0.45, 1),
        "swing": (0.5, 1),
        "rate_hz": (3.2, 4.8),
    },
    "two-tone siren": {
        "pitch_hz": (400, 1100),
        "spread_octaves": (0.3, 0.9),
        "slope_octaves_per_s": (-0.3, 0.3),
        "leaps_per_s": (1.0, 3.5),
        "tonality": (0.45, 1),
        "swing": (0, 0.49),
    },
    "pulsing hum": {
        "pitch_hz": (80, 180),
        "spread_octaves": (0, 0.6),
        "tonality": (0.45, 1),
        "swing": (0.4, 1),
        "rate_hz": (1.5, 2.6),
    },
    "noise bursts": {
        "pitch_hz": (300, 2000),
        "spread_octaves": (0.7, ANY),
        "tonality": (0, 0.4),
        "swing": (0.5, 1),
        "rate_hz": (1.5, 2.6),
    },
    "click train": {
        "pitch_hz": (2300, 3800),
        "spread_octaves": (0, 0.4),
        "swing": (0.6, 1),
        "rate_hz": (5.0, 7.0),
        "on_share": (0, 0.4),
    },
    "plucked notes": {
        "pitch_hz": (190, 560),
        "spread_octaves": (0.2, 1.4),
        "slope_octaves_per_s": (-0.5, 0.5),
        "tonality": (0.45, 1),
        "swing": (0.5, 1),
        "rate_hz": (1.5, 2.6),
    },
}
"""Label -> what must hold of the evidence. Source: ours; the ranges of `sounds.CLASSES` as measured, widened by about a
quarter for generated sounds, and no two classes overlap in all of them, so that at most one fits."""


def _weighted_percentile(values: Floats, weights: Floats, percent: float) -> float:
    """The value below which `percent` of the weight lies."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    position = int(np.searchsorted(total, percent / 100 * total[-1]))
    return float(values[order][min(position, len(values) - 1)])


def _frames(wave: Floats) -> Floats:
    """Overlapping windows, (frames, WINDOW_SAMPLES); a short sound is padded to one window."""
    padded = np.pad(wave, (0, max(0, WINDOW_SAMPLES - wave.size)))
    windows: Floats = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES]
    return windows


def _pitch(frames: Floats) -> tuple[Floats, Floats, Floats]:
    """Peak frequency in Hz, tonality and power of each frame, each (frames,)."""
    spectra = np.abs(np.fft.rfft(frames * np.hanning(WINDOW_SAMPLES), FFT_SAMPLES)) ** 2
    hz = np.fft.rfftfreq(FFT_SAMPLES, 1 / RATE_HZ)
    spectra[:, hz < 50] = 0.0
    power = spectra.sum(axis=1)
    peak_hz = hz[spectra.argmax(axis=1)]
    near = np.abs(hz[None, :] - peak_hz[:, None]) <= PEAK_HZ
    centre_hz = (spectra * near * hz).sum(axis=1) / np.maximum((spectra * near).sum(axis=1), 1e-20)
    tonality = (spectra * near).sum(axis=1) / np.maximum(power, 1e-20)
    return np.maximum(centre_hz, 50.0), tonality, power


def _slope(octaves: Floats, weights: Floats) -> float:
    """Weighted median of the change of pitch in octaves a second; 0 where every change is a jump."""
    step = round(SLOPE_S * RATE_HZ / HOP_SAMPLES)
    change = (octaves[step:] - octaves[:-step]) / SLOPE_S
    weight = np.minimum(weights[step:], weights[:-step]) * (np.abs(change) < JUMP_OCTAVES_PER_S)
    return _weighted_percentile(change, weight, 50) if change.size and weight.sum() > 0 else 0.0


def _leaps(octaves: Floats) -> float:
    """Times a second that the median pitch of the next `LEAP_S` differs by `LEAP_OCTAVES` from that of the last."""
    n = round(LEAP_S * RATE_HZ / HOP_SAMPLES)
    if octaves.size < 2 * n:
        return 0.0
    medians = np.median(np.lib.stride_tricks.sliding_window_view(octaves, n), axis=1)
    apart = np.abs(medians[n:] - medians[:-n]) > LEAP_OCTAVES
    starts = np.count_nonzero(apart[1:] & ~apart[:-1]) + int(apart[0])
    return float(starts * RATE_HZ / (octaves.size * HOP_SAMPLES))


def _envelope(wave: Floats) -> Floats:
    """Root mean square over 20 ms every 10 ms, (frames,)."""
    blocks = wave[: wave.size // HOP_SAMPLES * HOP_SAMPLES].reshape(-1, HOP_SAMPLES)
    power = np.mean(blocks**2, axis=1)
    pairs: Floats = np.sqrt((power[1:] + power[:-1]) / 2)
    return pairs


def _rate(envelope: Floats) -> float:
    """Strongest frequency of the envelope within `RATES_HZ`; 0 where it does not vary at all."""
    varying = (envelope - envelope.mean()) * np.hanning(envelope.size)
    spectrum = np.abs(np.fft.rfft(varying, RATE_FFT_FRAMES)) ** 2
    hz = np.fft.rfftfreq(RATE_FFT_FRAMES, HOP_SAMPLES / RATE_HZ)
    spectrum[(hz < RATES_HZ[0]) | (hz > RATES_HZ[1])] = 0.0
    return float(hz[spectrum.argmax()]) if spectrum.any() else 0.0


def measure(wave: NDArray[np.floating], rate_hz: int) -> Evidence:
    """Measure a sound.

    Args:
        wave: (samples,) or (channels, samples), full scale 1.0; channels are averaged.
        rate_hz: Its sample rate, above 0.

    Returns:
        The evidence; all of it 0 but the level where the sound is silence or shorter than a tenth of a second.

    Raises:
        ValueError: If a sample is not finite.
    """
    mono: Floats = np.asarray(wave, dtype=np.float64)
    if not np.isfinite(mono).all():
        raise ValueError(f"a sound must be finite; {np.count_nonzero(~np.isfinite(mono))} of its samples are not")
    mono = mono.mean(axis=0) if mono.ndim == 2 else mono
    mono = soxr.resample(mono, rate_hz, RATE_HZ) if rate_hz != RATE_HZ and mono.size else mono
    mono = mono - mono.mean() if mono.size else mono
    level_db = float(10 * np.log10(max(float(np.mean(mono**2)) if mono.size else 0.0, 1e-12)))
    if level_db < SILENCE_DB or mono.size < RATE_HZ // 10:
        zeros = dict.fromkeys(Evidence.__dataclass_fields__, 0.0)
        return Evidence(**{**zeros, "level_db": level_db})
    pitch_hz, tonality, power = _pitch(_frames(mono))
    weights = power * (power > power.max() * 10 ** (-QUIET_DB / 10))
    octaves = np.log2(pitch_hz)
    envelope = _envelope(mono)
    low, high = np.percentile(envelope, [10, 97])
    return Evidence(
        level_db=level_db,
        pitch_hz=2 ** _weighted_percentile(octaves, weights, 50),
        spread_octaves=_weighted_percentile(octaves, weights, 90) - _weighted_percentile(octaves, weights, 10),
        slope_octaves_per_s=_slope(octaves, weights),
        leaps_per_s=_leaps(octaves[weights > 0]),
        tonality=_weighted_percentile(tonality, weights, 50),
        swing=float(1 - low / max(high, 1e-9)),
        rate_hz=_rate(envelope),
        on_share=float(np.mean(envelope > high / 2)),
    )


def judge(wave: NDArray[np.floating], rate_hz: int) -> Verdict:
    """The class whose every range holds what was measured, or None.

    Args:
        wave: (samples,) or (channels, samples), full scale 1.0.
        rate_hz: Its sample rate.
    """
    evidence = measure(wave, rate_hz)
    for label, ranges in RULES.items():
        if all(low <= getattr(evidence, name) <= high for name, (low, high) in ranges.items()):
            return Verdict(label=label, evidence=evidence)
    return Verdict(label=None, evidence=evidence)


def precision_at_5(ranked_labels: Sequence[str], label: str) -> float:
    """Share of the first five results that have the label; fewer than five results count as misses."""
    return sum(one == label for one in ranked_labels[:5]) / 5
