"""Scores of sentences, counted by hand, and on captions by people."""

import csv
from pathlib import Path

import pytest

from captioning.prompt import load_prompt, prompt_names
from captioning.text_scores import is_echo, other_language, text_scores


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


@pytest.mark.parametrize(
    ("sentence", "refusals"),
    [
        ("I cannot hear any sound.", 1),
        ("I\u2019m sorry, but no audio was provided.", 2),
        ("It seems to be raining, possibly on a roof.", 0),
        ("A man apologises.", 0),
    ],
)
def test_refusals_are_counted_apart_from_guesses(sentence: str, refusals: int) -> None:
    assert text_scores(sentence).refusals == refusals


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("A man says hello my friend and walks away.", 3),
        ("A woman announces that dinner is ready, then a door shuts.", 3),
        ("A man says something while a dog barks.", 0),
        ("A man speaks, saying a few words.", 0),
        ("Someone asks a question in a hall.", 0),
        ("A man is talking and birds sing.", 0),
        ('A man says "hello my friend" loudly.', 0),
    ],
)
def test_words_that_tell_what_is_said_are_counted(sentence: str, told: int) -> None:
    assert text_scores(sentence).told_words == told


def test_languages_are_told_apart() -> None:
    english, german = text_scores("Rain falls on a tin roof."), text_scores("Regen prasselt auf ein Blechdach.")
    assert (english.language, german.language) == ("en", "de")
    assert english.english_margin > 0.3
    assert german.english_margin < -1.5


@pytest.mark.parametrize(
    ("answer", "language"),
    [
        ("A dog barks twice.", None),
        ("Scraping and banging", None),
        ("Ein Hund bellt zweimal im Hof.", "de"),
        ("Flamenco guitar", None),
        ("Mbira music and djembe", None),
        ("Un chien aboie deux fois pendant que la pluie tombe.", "fr"),
        ("\u4e00\u53ea\u72d7\u5728\u96e8\u4e2d\u5420\u53eb\u4e24\u6b21\u3002", "zh"),
    ],
)
def test_an_answer_in_another_language_is_known(answer: str, language: str | None) -> None:
    assert other_language(answer, "Describe what can be heard.") == language
    assert other_language(answer, "") == language
    assert other_language(answer, "Beschreibe in einem Satz, was man h\u00f6rt.") is None


ASKED = "Listen to it and say in one or two short sentences what can be heard."


@pytest.mark.parametrize(
    ("answer", "echo"),
    [
        (ASKED, True),
        (f"{ASKED} A dog barks in a yard while many people talk and a train passes far away from all of them.", True),
        (
            "In one or two short sentences what can: rain falls on a tin roof, then thunder rolls over a valley.",
            True,
        ),
        ("In one or two short sentences what: rain falls on a tin roof, then thunder rolls over a valley.", False),
        ("One or two short sentences what: wind blows", False),
        ("One or two short sentences what can: wind", True),
        ("Say in one", True),
        ("One say in", False),
        ("Or two", False),
        ("", False),
    ],
    ids=[
        "whole",
        "and a caption",
        "8 in a row",
        "7 in a row",
        "2 of 4 runs",
        "3 of 4 runs",
        "3 words",
        "3 words in another order",
        "2 words",
        "nothing",
    ],
)
def test_an_answer_that_repeats_the_prompt_is_an_echo(answer: str, echo: bool) -> None:
    assert is_echo(answer, ASKED) == echo
    assert not is_echo(answer, "")


@pytest.mark.slow
def test_nothing_that_people_say_is_an_echo_of_a_prompt(real_data: Path) -> None:
    with (real_data / "annotations" / "clotho" / "test.csv").open(encoding="utf-8") as file:
        captions = [row[f"caption_{n}"] for row in csv.DictReader(file) for n in range(1, 6)]
    asked = [load_prompt(name).text for name in prompt_names()]
    assert not [said for said in captions for prompt in asked if is_echo(said, prompt)]


@pytest.mark.slow
def test_captions_by_people_are_english_and_say_what_they_hear(real_data: Path) -> None:
    with (real_data / "annotations" / "clotho" / "test.csv").open(encoding="utf-8") as file:
        scores = [text_scores(row["caption_1"]) for row in csv.DictReader(file)]
    assert min(one.english_margin for one in scores) > 0.3
    assert sum(one.hedges > 0 for one in scores) < 0.01 * len(scores)
    assert sum(one.told_words > 0 for one in scores) < 0.002 * len(scores)
    assert all(8 <= one.words <= 21 for one in scores)
