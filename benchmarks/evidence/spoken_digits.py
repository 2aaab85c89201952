"""Spoken digits, made with eSpeak NG when they are needed and never kept with the code: recordings, and a dataset.

Three groups of voices share no variant of a voice: one is trained on, a judge (`digit_judge.py`) is fitted on another,
and the third is held out from both.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import soxr

from benchmarks.evidence.codec_ceiling import write_wav
from curation.dataset import Dataset
from curation.programs.espeak import Manner, spoken
from pipelines.verbs.fetch import fetch
from pipelines.verbs.manifest import manifest
from pipelines.verbs.measure import measure
from pipelines.verbs.pack import pack
from pipelines.verbs.select import select

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

Group = Literal["train", "judge", "held"]
VARIANTS: dict[Group, tuple[str, ...]] = {
    "train": ("m1", "m3", "m7", "f1", "f3"),
    "judge": ("m2", "m4", "m6", "f2", "f4"),
    "held": ("m5", "m8", "f5"),
}
"""Variants of eSpeak NG's voices; others than these change what is said less than the accents below."""

ACCENTS = ("en-us", "en-gb")
WORDS_PER_MINUTE = (160, 190)
PITCH = (30, 70)
"""Bounds of what is drawn. Source: ours; about the program's own 175 and 50."""

RATE_HZ = 16_000
CLIP_S = 1.28
"""Length of a recording: 8 patches of a listener. The slowest digit of the bounds has 0.9 s with its pause."""
LEAD_S = 0.08
PEAK = 0.7


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """A digit, and how it is spoken.

    Args:
        digit: A word of `DIGITS`.
        manner: How.
    """

    digit: str
    manner: Manner

    @property
    def caption(self) -> str:
        """Who speaks; what is said is the transcript's."""
        return f"a {'woman' if '+f' in self.manner.voice else 'man'} speaks"

    @property
    def name(self) -> str:
        """A name that no other utterance has."""
        manner = self.manner
        return f"{self.digit}-{manner.voice.replace('+', '-')}-{manner.words_per_minute}-{manner.pitch}"


def utterances(group: Group, takes: int, seed: int = 0) -> list[Utterance]:
    """Every digit by every voice of a group, so many times at other speeds and pitches.

    Args:
        group: Of voices.
        takes: Of each digit by each voice; of two that are drawn equal there is one.
        seed: Of the speeds and pitches.
    """
    rng = np.random.default_rng([seed, sorted(VARIANTS).index(group)])
    found: dict[str, Utterance] = {}
    for accent in ACCENTS:
        for variant in VARIANTS[group]:
            for digit in DIGITS:
                for _ in range(takes):
                    speed, pitch = int(rng.integers(*WORDS_PER_MINUTE)), int(rng.integers(*PITCH))
                    manner = Manner(voice=f"{accent}+{variant}", words_per_minute=speed, pitch=pitch)
                    one = Utterance(digit=digit, manner=manner)
                    found[one.name] = one
    return list(found.values())


def wave_of(one: Utterance) -> npt.NDArray[np.float32]:
    """An utterance (T,) at `RATE_HZ`, of `CLIP_S`, led by `LEAD_S` of silence, with the peak at `PEAK`.

    Raises:
        ValueError: It is longer than a recording.
    """
    wave_T, rate_hz = spoken(one.digit, one.manner)
    wave_T = soxr.resample(wave_T, rate_hz, RATE_HZ, quality="HQ")
    lead, length = round(LEAD_S * RATE_HZ), round(CLIP_S * RATE_HZ)
    sounding = np.flatnonzero(np.abs(wave_T) > 1e-3)
    if not len(sounding) or sounding[-1] - sounding[0] >= length - lead:
        raise ValueError(f"{one.name} does not sound, or longer than {CLIP_S - LEAD_S:.2f} s")
    said = wave_T[sounding[0] : sounding[-1] + 1]
    placed = np.zeros(length, np.float32)
    placed[lead : lead + len(said)] = said * (PEAK / np.abs(said).max())
    return placed


def write_recordings(folder: Path, said: Sequence[Utterance]) -> list[Path]:
    """Utterances as wav files; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{one.name}.wav" for one in said]
    for file, one in zip(files, said, strict=True):
        if not file.is_file():
            write_wav(file, wave_of(one)[None], RATE_HZ)
    return files


def make_dataset(folder: Path, *, takes: int, seed: int = 0) -> Dataset:
    """A dataset of the voices that are trained on, packed as `train`; run again, it goes on where it stopped.

    Args:
        folder: For recordings, their list, and the folder `dataset`.
        takes: Of each digit by each voice.
        seed: Of speeds and pitches.
    """
    said = utterances("train", takes, seed)
    files = write_recordings(folder / "recordings", said)
    listed = folder / "list.csv"
    with listed.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "captions", "transcript"])
        for path, one in zip(files, said, strict=True):
            writer.writerow([str(path.relative_to(folder)), one.caption, one.digit])
    dataset = folder / "dataset"
    manifest("table", listed, out=dataset)
    fetch(dataset, workers=0)
    measure(dataset, workers=0)
    select(dataset)
    pack(dataset, selection="train")
    return Dataset(dataset)
