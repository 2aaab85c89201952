"""The cache of answers: what is the same question, what is kept, and what a takedown deletes."""

import dataclasses
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from captioning import cache as of_cache
from captioning.cache import AnswerCache, AnswersOnTheWay, question_sha256
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


class Counting(AnswerCache):
    """Notes how many answers each commit holds; the first `failing` of them fail."""

    def __init__(self, path: Path, failing: int = 0) -> None:
        super().__init__(path)
        self.commits: list[int] = []
        self._failing = failing

    def keep(self, answers: dict[tuple[str, str], str]) -> None:
        self.commits.append(len(answers))
        if len(self.commits) <= self._failing:
            raise sqlite3.OperationalError("made")
        super().keep(answers)


def pairs(count: int) -> list[tuple[str, str]]:
    return [(f"s{number}", "q") for number in range(count)]


def wait_for(cache: AnswerCache, count: int) -> None:
    until = time.monotonic() + 20.0
    while cache.count(f"s{n}" for n in range(count)) < count:
        assert time.monotonic() < until, "they are not kept"
        time.sleep(0.01)


def test_answers_are_kept_together_while_others_are_still_asked_for(tmp_path: Path) -> None:
    cache = Counting(tmp_path / "answers.sqlite")
    with AnswersOnTheWay(cache) as kept:
        for pair in pairs(50):
            kept.add(pair, "A dog.")
        wait_for(cache, 50)
        assert cache.commits[0] == 50, "one commit, after a quarter of a second"
        kept.add(("s50", "q"), "Rain.")
        wait_for(cache, 51)


def test_none_is_lost_that_comes_while_others_are_being_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_cache, "HOLD_S", 0.0)
    cache = Counting(tmp_path / "answers.sqlite")
    with AnswersOnTheWay(cache) as kept:
        adders = [
            threading.Thread(target=lambda part=part: [kept.add(pair, "A dog.") for pair in part])
            for part in (pairs(200)[:100], pairs(200)[100:])
        ]
        for adder in adders:
            adder.start()
        wait_for(cache, 200)
        for adder in adders:
            adder.join()
    assert len(cache.find(pairs(200))) == 200


def test_whatever_ends_the_work_keeps_what_was_paid_for(tmp_path: Path) -> None:
    cache = Counting(tmp_path / "answers.sqlite")
    with pytest.raises(KeyboardInterrupt), AnswersOnTheWay(cache) as kept:
        kept.add(("s", "q"), "A dog.")
        raise KeyboardInterrupt
    assert cache.find([("s", "q")])


def test_answers_that_cannot_be_kept_stop_the_work_and_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_cache, "HOLD_S", 0.0)
    cache = Counting(tmp_path / "answers.sqlite", failing=1)
    with pytest.raises(sqlite3.OperationalError, match="made"), AnswersOnTheWay(cache) as kept:
        for number in range(1000):
            kept.add((f"s{number}", "q"), "A dog.")
            time.sleep(0.01)
    assert cache.commits[-1] > 1 and cache.find([("s0", "q")])


def test_without_a_cache_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with AnswersOnTheWay(None) as kept:
        kept.add(("s", "q"), "A dog.")
    assert list(tmp_path.iterdir()) == []


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
