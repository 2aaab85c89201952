"""The cache of answers: what is the same question, what is kept, and what a takedown deletes."""

import dataclasses
import threading
from pathlib import Path

import pytest

from captioning.cache import AnswerCache, question_sha256
from captioning.captioner import CaptionerIdentity
from captioning.decoding import Drawing
from captioning.prompt import Prompt

WHO = CaptionerIdentity(name="made", version=1, model="made/Model", decoding={"strategy": "greedy"})
PROMPT = Prompt(name="made-v1", text="What is heard?")
HINTED = Prompt(name="made-v2", text="Is it {labels}?")


@pytest.fixture
def cache(tmp_path: Path) -> AnswerCache:
    return AnswerCache(tmp_path / "deep" / "answers.sqlite")


def test_what_was_kept_is_found_and_nothing_else(cache: AnswerCache, tmp_path: Path) -> None:
    cache.keep({("s1", "q1"): "A dog barks.", ("s2", "q1"): "Rain \u2014 falls."})
    again = AnswerCache(tmp_path / "deep" / "answers.sqlite")
    assert again.find([("s1", "q1"), ("s2", "q1"), ("s1", "q2"), ("s3", "q1")]) == {
        ("s1", "q1"): "A dog barks.",
        ("s2", "q1"): "Rain \u2014 falls.",
    }


def test_an_answer_that_is_there_stays(cache: AnswerCache) -> None:
    cache.keep({("s", "q"): "first"})
    cache.keep({("s", "q"): "second"})
    assert cache.find([("s", "q")]) == {("s", "q"): "first"}


def test_a_takedown_deletes_every_answer_about_a_sound_from_the_disk(cache: AnswerCache, tmp_path: Path) -> None:
    cache.keep({("s1", "q1"): "secret words", ("s1", "q2"): "secret again", ("s2", "q1"): "others stay"})
    assert cache.count(["s1", "s3"]) == 2
    assert cache.forget(["s1", "s3"]) == 2
    assert cache.find([("s1", "q1"), ("s2", "q1")]) == {("s2", "q1"): "others stay"}
    assert b"secret" not in (tmp_path / "deep" / "answers.sqlite").read_bytes()


def test_several_writers_lose_nothing(cache: AnswerCache) -> None:
    def write(start: int) -> None:
        for n in range(start, start + 20):
            cache.keep({(f"s{n}", "q"): str(n)})

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 20, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.count(f"s{n}" for n in range(60)) == 60


def test_everything_that_decides_an_answer_makes_another_question() -> None:
    drawn = dataclasses.replace(WHO, decoding={"strategy": "greedy", "drawing": Drawing(draws=3).as_dict()})
    hotter = dataclasses.replace(WHO, decoding={"strategy": "greedy", "drawing": Drawing(draws=3, seed=1).as_dict()})
    questions = [
        question_sha256(WHO, PROMPT, (), 0),
        question_sha256(dataclasses.replace(WHO, model="made/Other"), PROMPT, (), 0),
        question_sha256(dataclasses.replace(WHO, dtype="bfloat16"), PROMPT, (), 0),
        question_sha256(WHO, HINTED, ("rain",), 0),
        question_sha256(WHO, HINTED, ("dog",), 0),
        question_sha256(drawn, PROMPT, (), 1),
        question_sha256(drawn, PROMPT, (), 2),
        question_sha256(hotter, PROMPT, (), 1),
    ]
    assert len(set(questions)) == len(questions)


def test_what_decides_nothing_makes_no_other_question() -> None:
    three, nine = (
        dataclasses.replace(WHO, decoding={"strategy": "greedy", "drawing": Drawing(draws=n).as_dict()}) for n in (3, 9)
    )
    assert question_sha256(WHO, PROMPT, ("rain",), 0) == question_sha256(WHO, PROMPT, (), 0)
    assert question_sha256(three, PROMPT, (), 0) == question_sha256(WHO, PROMPT, (), 0)
    assert question_sha256(three, PROMPT, (), 2) == question_sha256(nine, PROMPT, (), 2)
