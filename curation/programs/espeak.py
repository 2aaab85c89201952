"""eSpeak NG, which says how words are pronounced and can speak them; a program of its own that has to be there.

It is under the GPL, version 3 or later, so it is called and nothing of it is shipped. What it reads nobody has vouched
for: a text reaches it as a file, never as an argument, and it runs contained (`curation/programs/contained.py`).
"""

import re
import shutil
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from curation.errors import ArgumentError, StoppedError
from curation.programs.contained import TAIL_BYTES, Finished, Limits, run_contained

PROGRAM = "espeak-ng"
INSTALL = "apt-get install espeak-ng (Debian), dnf install espeak-ng (Fedora) or brew install espeak-ng (macOS)"

MOST_CHARACTERS = 1_000
"""Longest text at once. Source: ours; a minute of speech, and more sounds than the language model has places for."""

LIMITS = Limits(wall_s=20.0, memory_bytes=1 << 30, file_bytes=64 << 20)
"""Source: ours; a text of `MOST_CHARACTERS` takes 0.1 s and 10 MB, and some minutes of sound 64 MiB."""

PAUSE = "|"
"""Between clauses. Source: the sign of a minor group in the International Phonetic Alphabet."""

_VOICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,63}")
_OTHER_LANGUAGE = re.compile(r"\([a-z][a-z0-9-]*\)")
"""How it marks that a word is read as one of another language."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How something is spoken. The defaults are the program's.

    Args:
        voice: Language, and after a plus a variant, as `en-us+f3`; `espeak-ng --voices` lists them.
        words_per_minute: Speed.
        pitch: 0 to 99.
    """

    voice: str = "en-us"
    words_per_minute: int = 175
    pitch: int = 50

    def __post_init__(self) -> None:
        _checked_voice(self.voice)
        if not 80 <= self.words_per_minute <= 450:
            raise ArgumentError(f"words_per_minute goes from 80 to 450 and is {self.words_per_minute}")
        if not 0 <= self.pitch <= 99:
            raise ArgumentError(f"pitch goes from 0 to 99 and is {self.pitch}")


def espeak_program() -> str | None:
    """Path of the program; None where it is not installed."""
    return shutil.which(PROGRAM)


def espeak_version() -> str:
    """What the program says it is, as `1.51`: pronunciations differ from version to version.

    Raises:
        StoppedError: It is not installed, or does not say.
    """
    with tempfile.TemporaryDirectory() as scratch:
        told = _run(["--version"], Path(scratch)).stdout
    found = re.search(r"text-to-speech:\s*(\S+)", told)
    if found is None:
        raise StoppedError(f"{PROGRAM} --version says {told[:200]!r}, which names no version; install it again")
    return found[1]


def phonemes_of(text: str, *, voice: str = "en-us") -> str:
    """How a text is pronounced.

    Args:
        text: Words.
        voice: Language, as `en-us`.

    Returns:
        Signs of the International Phonetic Alphabet: a space between words, `PAUSE` between clauses; empty for a text
        in which nothing is said.

    Raises:
        ArgumentError: The text is too long, or there is no such voice.
        StoppedError: The program is not installed, or does not end.
    """
    plain = _plain(text)
    if not plain:
        return ""
    with tempfile.TemporaryDirectory() as scratch:
        told = _read(plain, ["-q", "--ipa", "-v", _checked_voice(voice)], Path(scratch))
    if len(told.stdout.encode()) >= TAIL_BYTES:
        raise ArgumentError(f"the text {text[:40]!r}... has more sounds than {TAIL_BYTES} bytes hold; shorten it")
    clauses = (" ".join(_OTHER_LANGUAGE.sub("", line).split()) for line in told.stdout.splitlines())
    return f" {PAUSE} ".join(clause for clause in clauses if clause)


def spoken(text: str, manner: Manner) -> tuple[npt.NDArray[np.float32], int]:
    """A text spoken.

    Args:
        text: Words.
        manner: How.

    Returns:
        The sound (T,) float32, full scale 1, and its rate, Hz.

    Raises:
        ArgumentError: The text is too long or says nothing, or there is no such voice.
        StoppedError: The program is not installed, or does not end.
    """
    plain = _plain(text)
    if not plain:
        raise ArgumentError(f"the text {text!r} says nothing")
    options = ["-v", manner.voice, "-s", str(manner.words_per_minute), "-p", str(manner.pitch), "-w", "spoken.wav"]
    with tempfile.TemporaryDirectory() as scratch:
        _read(plain, options, Path(scratch))
        wave_T, rate_hz = soundfile.read(Path(scratch) / "spoken.wav", dtype="float32")
    return np.asarray(wave_T, np.float32), int(rate_hz)


def _plain(text: str) -> str:
    """A text without what the program would take for more than words: control signs, and brackets around phonemes."""
    if len(text) > MOST_CHARACTERS:
        raise ArgumentError(
            f"the text {text[:40]!r}... has {len(text)} characters, more than the {MOST_CHARACTERS} that are spoken at "
            "once; shorten it"
        )
    kept = (" " if sign in "[]" or unicodedata.category(sign) in ("Cc", "Cs") else sign for sign in text)
    return " ".join("".join(kept).split())


def _read(plain: str, options: list[str], scratch: Path) -> Finished:
    """Let the program read a text."""
    file = scratch / "text.txt"
    file.write_text(plain, encoding="utf-8")
    return _run([*options, "-b", "1", "-f", file.name], scratch)


def _run(arguments: list[str], scratch: Path) -> Finished:
    program = espeak_program()
    if program is None:
        raise StoppedError(f"{PROGRAM} is not installed, which says how words are pronounced: {INSTALL}")
    finished = run_contained([program, *arguments], scratch=scratch, limits=LIMITS)
    if finished.timed_out:
        raise StoppedError(f"{PROGRAM} did not end within {LIMITS.wall_s:g} s and was stopped")
    if "voice does not exist" in finished.stderr:
        raise ArgumentError(f"{PROGRAM} has no such voice ({' '.join(arguments)}); `{PROGRAM} --voices` lists them")
    if finished.returncode != 0:
        raise StoppedError(f"{PROGRAM} ended with {finished.returncode}: {finished.stderr.strip()[-500:]}")
    return finished


def _checked_voice(voice: str) -> str:
    if not _VOICE.fullmatch(voice):
        raise ArgumentError(f"voice {voice!r} is not of the form en-us or en-us+f3")
    return voice
