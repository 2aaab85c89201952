"""Scores of sentences, counted by hand, and on captions by people."""

import csv
from pathlib import Path

import pytest

from captioning.text_scores import text_scores


def test_words_and_repetition_are_counted() -> None:
    scores = text_scores("The dog barks, the dog barks and the dog barks.")
    assert scores.words == 10
    assert scores.repetition == pytest.approx(1 - 6 / 8)
    assert text_scores("Rain falls.").repetition == 0.0


@pytest.mark.parametrize(
    ("sentence", "hedges"),
    [
        ("A dog barks twice.", 0),
        ("The siren can be heard over a crowd.", 0),
        ("I cannot hear any sound.", 1),
        ("I\u2019m sorry, but I can\u2019t listen to audio.", 2),
        ("It seems to be raining, possibly on a roof.", 2),
        ("As an AI language model I have no ears.", 1),
    ],
)
def test_guesses_and_talk_of_oneself_are_counted(sentence: str, hedges: int) -> None:
    assert text_scores(sentence).hedges == hedges


def test_quoted_speech_is_counted() -> None:
    assert text_scores('A man says "hello my friend" and \u201cgood bye\u201d.').quoted_words == 5


def test_languages_are_told_apart() -> None:
    english, german = text_scores("Rain falls on a tin roof."), text_scores("Regen prasselt auf ein Blechdach.")
    assert (english.language, german.language) == ("en", "de")
    assert english.english_margin > 0.3
    assert german.english_margin < -1.5


@pytest.mark.slow
def test_captions_by_people_are_english_and_say_what_they_hear(real_data: Path) -> None:
    with (real_data / "annotations" / "clotho" / "test.csv").open(encoding="utf-8") as file:
        scores = [text_scores(row["caption_1"]) for row in csv.DictReader(file)]
    assert min(one.english_margin for one in scores) > 0.3
    assert sum(one.hedges > 0 for one in scores) < 0.01 * len(scores)
    assert all(8 <= one.words <= 21 for one in scores)
