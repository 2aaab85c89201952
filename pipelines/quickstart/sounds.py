"""The eight sound classes of the quickstart's world, each a formula with a handful of parameters.

A class turns parameters into a `Score`: the sound, and beside it the pitch and the level at every sample, from which
the picture is drawn. The classes are narrow on purpose: they differ in what arithmetic can measure (`judge`), and their
energy lies below 4 kHz, so that a small network can learn them in a minute. They are no model of real sounds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 48_000
"""Sample rate of every sound made here; the rate at which clips are kept by default."""

RAMP_S = 0.005
"""Length of the ramps that open and close a gate, so that a gated tone has no click of its own. Source: ours."""

PEAK_MAX = 0.9
"""Largest absolute sample, so that the AAC encoder has headroom and nothing clips. Source: ours."""

Track = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What is known about one sound.

    Args:
        base_hz: Lowest pitch of a tone, carrier of a click, or centre of a noise band.
        rate_hz: Sweeps, pulses, cycles or notes a second.
        depth: What the class says it is: octaves, share of the period, or depth of modulation.
        level_db: Root mean square of the sound in dB (a square wave of 1.0 is 0 dB); less where `PEAK_MAX` binds.
        hue: Colour of the picture, 0 to 1 around the colour circle.
    """

    base_hz: float
    rate_hz: float
    depth: float
    level_db: float
    hue: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A sound and the two curves its picture follows, each (samples,) float64 at `RATE_HZ`.

    Args:
        wave: The sound before it is scaled to its level.
        pitch_hz: Pitch at every sample; constant for noise.
        level: Loudness at every sample, 0 to 1.
    """

    wave: Track
    pitch_hz: Track
    level: Track


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundClass:
    """One class: its label, the ranges from which its parameters are drawn, and its formula.

    Args:
        label: Its name in lists and verdicts.
        base_hz: Range of `Parameters.base_hz`.
        rate_hz: Range of `Parameters.rate_hz`.
        depth: Range of `Parameters.depth`.
        play: (parameters, times in s, generator) -> score.
    """

    label: str
    base_hz: tuple[float, float]
    rate_hz: tuple[float, float]
    depth: tuple[float, float]
    play: Callable[[Parameters, Track, np.random.Generator], Score]


LEVEL_DB = (-22.0, -18.0)
"""Range of `Parameters.level_db`. Source: ours; near the loudness of public videos, far above silence thresholds."""


def _tone(pitch_hz: Track, partials: tuple[float, ...] = (1.0,)) -> Track:
    """A phase-continuous tone with harmonics of the given amplitudes, (samples,)."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    wave: Track = np.sum([amplitude * np.sin(n * phase) for n, amplitude in enumerate(partials, start=1)], axis=0)
    return wave


def _gate(phase: Track, rate_hz: float, share: float) -> Track:
    """1 during the first `share` of every period, 0 after, with ramps of `RAMP_S`; (samples,)."""
    since_s, left_s = phase / rate_hz, (share - phase) / rate_hz
    return np.clip(np.minimum(since_s, left_s) / RAMP_S, 0.0, 1.0)


def _sweep(parameters: Parameters, position: Track, phase: Track) -> Score:
    """A tone `depth * position` octaves above its base, (samples,)."""
    pitch_hz = parameters.base_hz * 2.0 ** (parameters.depth * position)
    level = _gate(phase, parameters.rate_hz, 1.0)
    return Score(wave=_tone(pitch_hz) * level, pitch_hz=pitch_hz, level=level)


def _rising_chirp(parameters: Parameters, time_s: Track, rng: np.random.Generator) -> Score:
    """Sweeps up by `depth` octaves, one after the other."""
    phase = time_s * parameters.rate_hz % 1.0
    return _sweep(parameters, phase, phase)


def _falling_chirp(parameters: Parameters, time_s: Track, rng: np.random.Generator) -> Score:
    """Sweeps down by `depth` octaves, one after the other."""
    phase = time_s * parameters.rate_hz % 1.0
    return _sweep(parameters, 1.0 - phase, phase)


def _beep_train(parameters: Parameters, time_s: Track, rng: np.random.Generator) -> Score:
    """One steady tone, on for the share `depth` of every period."""
    pitch_hz = np.full_like(time_s, parameters.base_hz)
    level = _gate(time_s * parameters.rate_hz % 1.0, parameters.rate_hz, parameters.depth)
    return Score(wave=_tone(pitch_hz) * level, pitch_hz=pitch_hz, level=level)


def _two_tone_siren(parameters: Parameters, time_s: Track, rng: np.random.Generator) -> Score:
    """A tone without gaps, half of every period `depth` octaves higher than the other half."""
    high = time_s * parameters.rate_hz % 1.0 < 0.5
    pitch_hz: Track = parameters.base_hz * 2.0 ** (parameters.depth * high.astype(np.float64))
    return Score(wave=_tone(pitch_hz), pitch_hz=pitch_hz, level=np.ones_like(time_s))


def _pulsing_hum(parameters: Parameters, time_s: Track, rng: np.random.Generator) -> Score:
    """A low tone with harmonics whose level swings between 1 and 1 - `depth`."""
    pitch_hz = np.full_like(time_s, parameters.base_hz)
    level = 1.0 - parameters.depth * (0.5 + 0.5 * np.cos(2 * np.pi * parameters.rate_hz * time_s))
    return Score(wave=_tone(pitch_hz, (1.0, 0.5, 0.33, 0.25)) * level, pitch_hz=pitch_hz, level=level)


def _noise_bursts(parameters: Parameters, time_s: Track, rng: np.random.Generator) -> Score:
    """Noise of about three octaves around its base, on for the share `depth` of every period."""
    spectrum = np.fft.rfft(rng.standard_normal(time_s.size))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(time_s.size, 1 / RATE_HZ), 1.0) / parameters.base_hz)
    noise = np.fft.irfft(spectrum * np.clip(4.0 * (1.5 - np.abs(octaves)), 0.0, 1.0), time_s.size)
    level = _gate(time_s * parameters.rate_hz % 1.0, parameters.rate_hz, parameters.depth)
    pitch_hz = np.full_like(time_s, parameters.base_hz)
    return Score(wave=noise / np.abs(noise).max() * level, pitch_hz=pitch_hz, level=level)


def _click_train(parameters: Parameters, time_s: Track, rng: np.random.Generator) -> Score:
    """Short damped ticks, each falling by a factor e in the share `depth` of the period."""
    phase = time_s * parameters.rate_hz % 1.0
    since_s = phase / parameters.rate_hz
    level = np.exp(-phase / parameters.depth)
    pitch_hz = np.full_like(time_s, parameters.base_hz)
    return Score(wave=np.sin(2 * np.pi * parameters.base_hz * since_s) * level, pitch_hz=pitch_hz, level=level)


def _plucked_notes(parameters: Parameters, time_s: Track, rng: np.random.Generator) -> Score:
    """Notes of a pentatonic scale, never one twice in a row, each falling by a factor e in the share `depth`."""
    scale = np.array([0, 3, 5, 7, 10, 12]) / 12.0
    position = time_s * parameters.rate_hz
    steps = rng.integers(1, scale.size, size=int(position[-1]) + 1)
    pitch_hz = parameters.base_hz * 2.0 ** scale[np.cumsum(steps) % scale.size][position.astype(np.int64)]
    phase = position % 1.0
    level = np.exp(-phase / parameters.depth) * _gate(phase, parameters.rate_hz, 1.0)
    return Score(wave=_tone(pitch_hz, (1.0, 0.5, 0.25, 0.12)) * level, pitch_hz=pitch_hz, level=level)


CLASSES = {
    one.label: one
    for one in (
        SoundClass(
            label="rising chirp", base_hz=(350, 450), rate_hz=(0.95, 1.05), depth=(1.8, 2.2), play=_rising_chirp
        ),
        SoundClass(
            label="falling chirp", base_hz=(350, 450), rate_hz=(0.95, 1.05), depth=(1.8, 2.2), play=_falling_chirp
        ),
        SoundClass(label="beep train", base_hz=(900, 1250), rate_hz=(3.8, 4.2), depth=(0.4, 0.5), play=_beep_train),
        SoundClass(
            label="two-tone siren", base_hz=(500, 620), rate_hz=(0.95, 1.05), depth=(0.5, 0.65), play=_two_tone_siren
        ),
        SoundClass(label="pulsing hum", base_hz=(100, 130), rate_hz=(1.8, 2.2), depth=(0.75, 0.95), play=_pulsing_hum),
        SoundClass(label="noise bursts", base_hz=(600, 750), rate_hz=(1.9, 2.1), depth=(0.3, 0.4), play=_noise_bursts),
        SoundClass(
            label="click train", base_hz=(2700, 3300), rate_hz=(5.7, 6.3), depth=(0.025, 0.035), play=_click_train
        ),
        SoundClass(
            label="plucked notes", base_hz=(200, 250), rate_hz=(1.9, 2.1), depth=(0.25, 0.35), play=_plucked_notes
        ),
    )
}
"""Label -> class, in the order in which they are shown. Source: ours, chosen so that `judge` tells them apart."""


def draw_parameters(label: str, rng: np.random.Generator) -> Parameters:
    """Parameters of one sound of a class, uniform in the class's ranges."""
    one = CLASSES[label]
    return Parameters(
        base_hz=float(rng.uniform(*one.base_hz)),
        rate_hz=float(rng.uniform(*one.rate_hz)),
        depth=float(rng.uniform(*one.depth)),
        level_db=float(rng.uniform(*LEVEL_DB)),
        hue=float(rng.uniform()),
    )


def play(label: str, parameters: Parameters, duration_s: float, rng: np.random.Generator) -> Score:
    """The score of one sound, scaled to its level.

    Args:
        label: One of `CLASSES`.
        parameters: What is known about it.
        duration_s: Length, above 0.
        rng: Source of what the parameters leave open: noise samples, the order of notes.

    Returns:
        The score, `round(duration_s * RATE_HZ)` samples long.

    Raises:
        ValueError: If the duration is not above 0.
    """
    if not duration_s > 0:
        raise ValueError(f"a sound needs a duration above 0 s, not {duration_s}")
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    score = CLASSES[label].play(parameters, time_s, rng)
    rms, peak = np.sqrt(np.mean(score.wave**2)), np.abs(score.wave).max()
    gain = min(10 ** (parameters.level_db / 20) / rms, PEAK_MAX / peak)
    return Score(wave=score.wave * gain, pitch_hz=score.pitch_hz, level=score.level)
