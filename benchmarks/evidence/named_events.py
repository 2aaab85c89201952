"""A world of many named events, each a pattern of noise in time and frequency, drawn anew in every recording.

An event is a band of noise (`BANDS_HZ`) that does something (`GESTURES`), with something behind it (`BACKGROUNDS`); its
name is made up, so that no word tells how it sounds. A recording is drawn anew: where in its cycle it begins, how fast
it goes, how loud its parts are, and the noise itself. All of it is noise, so that means of log-mels tell it apart and
the codec of means loses nothing that matters. It is no model of real sounds.

Key: T samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from benchmarks.evidence.esc50 import Recording

RATE_HZ, SECONDS = 16_000, 2.56

BANDS_HZ = (566.0, 943.0, 1391.0, 2051.0, 3026.0, 4464.0)
"""Centres of bands, and of all but the first and the last of eight equal parts of the log-mel. Source: ours."""

BEHIND_HZ = {"rumble": 188.0, "hiss": 6586.0}
"""Of backgrounds: the first and the last of the eight."""

GESTURES = ("steady", "slow pulses", "fast pulses", "strokes", "rising", "falling")

BACKGROUNDS = ("nothing", "rumble", "hiss")

RATES_HZ = {"slow pulses": 1.2, "fast pulses": 2.4, "strokes": 0.8, "rising": 0.8, "falling": 0.8}
"""Cycles a second; not so fast that frames of 160 ms cannot follow."""

SPREAD_OCTAVES, THROWN_SAMPLES = 0.25, 40
"""Of noise in a band: how far beside its centre, and how often. Source: ours."""

Track = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One kind of sound.

    Args:
        name: A made-up word.
        band_hz: One of `BANDS_HZ`.
        gesture: One of `GESTURES`.
        background: One of `BACKGROUNDS`.
    """

    name: str
    band_hz: float
    gesture: str
    background: str


def events_of(seed: int) -> list[Event]:
    """Every combination, in an order and with names that the seed draws."""
    rng = np.random.default_rng(seed)
    combinations = list(product(BANDS_HZ, GESTURES, BACKGROUNDS))
    order = rng.permutation(len(combinations))
    names = _names(len(combinations), rng)
    return [
        Event(name=name, band_hz=band_hz, gesture=gesture, background=background)
        for name, (band_hz, gesture, background) in zip(names, (combinations[place] for place in order), strict=True)
    ]


def _names(count: int, rng: np.random.Generator) -> list[str]:
    """Different words of three syllables."""
    found: dict[str, None] = {}
    while len(found) < count:
        syllables = (rng.choice(list("bdfgklmnprstvz")) + rng.choice(list("aeiou")) for _ in range(3))
        found["".join(syllables)] = None
    return list(found)


def recorded(event: Event, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """One recording of an event, (T,) float32 at `RATE_HZ`, `SECONDS` long."""
    time_T = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
    cycle_T = (rng.uniform() + time_T * RATES_HZ.get(event.gesture, 1.0) * rng.uniform(0.92, 1.08)) % 1.0
    octaves_T, level_T = np.zeros_like(time_T), np.ones_like(time_T)
    if "pulses" in event.gesture:
        level_T = (cycle_T < 0.5).astype(np.float64)
    elif event.gesture == "strokes":
        level_T = np.exp(-5.0 * cycle_T)
    elif event.gesture in ("rising", "falling"):
        octaves_T = 1.5 * (cycle_T - 0.5) * (1 if event.gesture == "rising" else -1)
    wave_T = level_T * _band(event.band_hz * 2.0**octaves_T, rng) * 10 ** (rng.uniform(-2, 2) / 20)
    if event.background != "nothing":
        behind_hz = np.full_like(time_T, BEHIND_HZ[event.background])
        wave_T += 0.5 * _band(behind_hz, rng) * 10 ** (rng.uniform(-2, 2) / 20)
    return np.asarray(0.1 * (wave_T + 0.003 * rng.standard_normal(len(time_T))), np.float32)


def _band(centre_hz_T: Track, rng: np.random.Generator) -> Track:
    """A tone whose pitch is thrown about within `SPREAD_OCTAVES` of its centre: noise of variance 1 in a band, (T,)."""
    places = np.arange(0, len(centre_hz_T) + THROWN_SAMPLES, THROWN_SAMPLES)
    thrown_T = np.interp(np.arange(len(centre_hz_T)), places, rng.uniform(-1, 1, len(places)))
    phase_T = 2 * np.pi * np.cumsum(centre_hz_T * 2.0 ** (SPREAD_OCTAVES * thrown_T)) / RATE_HZ
    return np.asarray(np.sqrt(2) * np.sin(phase_T + rng.uniform(0, 2 * np.pi)))


def write_recordings(events: Sequence[Event], counts: Sequence[tuple[int, int]], folder: Path) -> list[Recording]:
    """Recordings of events, (training, held-out) of each; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, (event, (trained, held_out)) in enumerate(zip(events, counts, strict=True)):
        for take in range(trained + held_out):
            path = folder / f"{event.name}-{take}.wav"
            if not path.is_file():
                soundfile.write(path, recorded(event, np.random.default_rng([number, take])), RATE_HZ, subtype="PCM_16")
            split = "train" if take < trained else "test"
            found.append(Recording(path=path, label=event.name, source=path.stem, split=split))
    return found
