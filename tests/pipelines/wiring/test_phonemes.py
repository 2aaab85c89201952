"""Each text is asked for once, and answers are those of eSpeak NG."""

import pytest

from curation.programs.espeak import INSTALL, espeak_program
from pipelines.wiring import phonemes
from pipelines.wiring.phonemes import Pronouncer


def test_a_text_is_asked_for_once_and_voices_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def answer(text: str, *, voice: str) -> str:
        asked.append((text, voice))
        return f"{voice}:{text}"

    monkeypatch.setattr(phonemes, "phonemes_of", answer)
    one, other = Pronouncer(), Pronouncer(voice="fr")
    assert one.of(["a", "b", "a"]) == ["en-us:a", "en-us:b", "en-us:a"]
    assert one.of(["a"]) == ["en-us:a"] and other.of(["a"]) == ["fr:a"]
    assert asked == [("a", "en-us"), ("b", "en-us"), ("a", "fr")]


def test_no_more_than_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(phonemes, "phonemes_of", lambda text, voice: asked.append(text) or text)
    monkeypatch.setattr(phonemes, "MOST_TEXTS", 1)
    one = Pronouncer()
    one.of(["a", "b", "a", "b"])
    assert asked == ["a", "b", "b"]


@pytest.mark.skipif(espeak_program() is None, reason=f"needs espeak-ng: {INSTALL}")
def test_it_says_which_program_answers() -> None:
    identity = Pronouncer().identity()
    assert identity["version"] and identity | {"version": ""} == {
        "program": "espeak-ng",
        "version": "",
        "voice": "en-us",
    }
    assert Pronouncer().of(["seven", ""]) == ["sˈɛvən", ""]
