"""eSpeak NG is asked by file, contained, and its answers are taken as they are; where it is missing, that is said."""

from pathlib import Path

import numpy as np
import pytest

from curation.errors import ArgumentError, StoppedError
from curation.programs import espeak
from curation.programs.espeak import MOST_CHARACTERS, Manner, espeak_program, espeak_version, phonemes_of, spoken

needs_espeak = pytest.mark.skipif(espeak_program() is None, reason=f"needs espeak-ng: {espeak.INSTALL}")

_STAND_IN = """#!/bin/sh
for word in "$@"; do last=$word; done
{body}
"""


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> Path:
    """A program in the place of espeak-ng; `$last` is the file that it is to read."""
    program = folder / "espeak-ng"
    program.write_text(_STAND_IN.format(body=body))
    program.chmod(0o755)
    monkeypatch.setattr(espeak, "espeak_program", lambda: str(program))
    return program


def test_a_text_reaches_it_as_a_file_without_signs_that_mean_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "seen.txt"
    stand_in(monkeypatch, tmp_path, f'echo "$@" >"{seen}"; /bin/cat "$last" >>"{seen}"')
    phonemes_of("-v de\n$(touch x) [[w3:ld]]\x07 ok\ud800", voice="fr")
    words, text = seen.read_text().split("\n", 1)
    assert words == "-q --ipa -v fr -b 1 -f text.txt"
    assert text == "-v de $(touch x) w3:ld ok"
    assert not list(tmp_path.glob("x"))


def test_clauses_and_other_languages_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, tmp_path, "printf ' a  b\\n\\n(en)c(fr) d\\n'")
    assert phonemes_of("words") == "a b | c d"


def test_nothing_is_asked_of_a_text_that_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, tmp_path, "exit 3")
    assert phonemes_of(" [\n]\t") == ""
    with pytest.raises(ArgumentError, match="says nothing"):
        spoken(" ", Manner())


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        ("echo 'Error: The specified espeak-ng voice does not exist.' >&2; exit 1", ArgumentError, "no such voice"),
        ("echo broken >&2; exit 4", StoppedError, "ended with 4: broken"),
        ("sleep 30", StoppedError, "did not end within"),
        ("head -c 70000 /dev/zero | tr '\\0' a", ArgumentError, "more sounds than"),
    ],
)
def test_what_goes_wrong_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, error: type[Exception], says: str
) -> None:
    stand_in(monkeypatch, tmp_path, f"PATH=/usr/bin:/bin; {body}")
    monkeypatch.setattr(espeak, "LIMITS", espeak.Limits(wall_s=0.5 if "sleep" in body else 20.0))
    with pytest.raises(error, match=says):
        phonemes_of("word")


def test_a_missing_program_names_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak.shutil, "which", lambda name: None)
    with pytest.raises(StoppedError, match="apt-get install espeak-ng"):
        phonemes_of("word")


def test_bounds() -> None:
    with pytest.raises(ArgumentError, match="1001 characters"):
        phonemes_of("a" * (MOST_CHARACTERS + 1))
    for bad in ("-h", "", "en us", "../x", "a" * 65):
        with pytest.raises(ArgumentError, match="voice"):
            phonemes_of("a", voice=bad)
        with pytest.raises(ArgumentError, match="voice"):
            Manner(voice=bad)
    for minute in (79, 451):
        with pytest.raises(ArgumentError, match="words_per_minute"):
            Manner(words_per_minute=minute)
    for pitch in (-1, 100):
        with pytest.raises(ArgumentError, match="pitch"):
            Manner(pitch=pitch)
    Manner(words_per_minute=80, pitch=0), Manner(words_per_minute=450, pitch=99)


@needs_espeak
def test_the_program_pronounces_and_speaks() -> None:
    assert espeak_version()[0].isdigit()
    assert phonemes_of("seven; two") == "sˈɛvən | tˈuː"
    assert phonemes_of("-v de") == phonemes_of("- v de") != ""
    slow, rate_hz = spoken("seven", Manner(words_per_minute=100))
    fast, _ = spoken("seven", Manner(words_per_minute=300))
    again, _ = spoken("seven", Manner(words_per_minute=300))
    assert rate_hz >= 16_000 and len(slow) > 1.3 * len(fast) and np.abs(slow).max() > 0.05
    assert np.array_equal(fast, again)
    with pytest.raises(ArgumentError, match="no such voice"):
        phonemes_of("a", voice="xx-nowhere")
