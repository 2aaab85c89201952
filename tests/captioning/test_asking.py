"""How a captioner is kept busy: what is read ahead, in which batches it is asked, what a kill leaves in the cache."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from captioning.asking import Asked, Asking
from captioning.cache import AnswerCache
from captioning.captioner import CaptionerIdentity, Question, Sound
from captioning.prompt import Prompt
from curation.errors import ClipError, Code
from curation.tables import Row

PROMPT = Prompt(name="made-v1", text="What?")
LENGTHS_S = {"a": 3.0, "b": 1.0, "c": 9.0, "d": 2.0, "e": 4.0}


class Listener:
    """Says each clip's name and draw; notes its batches, and does `meanwhile` before it answers one."""

    def __init__(self, meanwhile: Callable[[int], None] = lambda batch: None) -> None:
        self.batches: list[tuple[str, int]] = []
        self._meanwhile = meanwhile

    def identity(self) -> CaptionerIdentity:
        return CaptionerIdentity(name="listener", version=1, sample_rate_hz=16_000, window_s=30.0)

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        self._meanwhile(len(self.batches))
        self.batches.append(("".join(sound.key for sound in sounds), draw))
        return [f"{sound.key} {draw}" for sound in sounds]


class Server(Listener):
    """Asks side by side, in the order that it likes."""

    def ask(self, questions: Sequence[Question], prompt: Prompt) -> None:
        for question in reversed(questions):
            sound = question.load()
            for draw in question.draws:
                answer = sound if isinstance(sound, ClipError) else f"{sound.key} {draw}"
                question.tell(draw, answer, sound if isinstance(sound, Sound) else None)


def sound_of(row: Row) -> Sound | ClipError:
    if row["key"] == "d":
        return ClipError(Code.EMPTY, "made")
    return Sound(key=row["key"], wave_T=np.zeros(1600, np.float32), sample_rate_hz=16_000)


def asking(
    captioner: Listener, cache: Path | None = None, load: Callable[[Row], Sound | ClipError] = sound_of
) -> Asking:
    return Asking(
        captioner=captioner,
        prompt=PROMPT,
        cache=AnswerCache(cache) if cache else None,
        batch=2,
        load=load,
        length_s=lambda row: LENGTHS_S[row["key"]],
        check=lambda answer, sound: answer,
    )


def requests(draws: int = 1, keys: str = "abcde") -> list[Asked]:
    return [Asked({"key": key}, [(f"sound {key}", f"question {draw}") for draw in range(draws)]) for key in keys]


def answers(asked: Sequence[Asked]) -> dict[str, list[str]]:
    said = {one.row["key"]: [answer for _, answer in sorted(one.answers.items())] for one in asked}
    return {key: [str(answer) for answer in one] for key, one in said.items()}


@pytest.mark.parametrize("kind", [Listener, Server])
def test_every_draw_of_every_clip_is_answered(kind: type[Listener]) -> None:
    asked = requests(draws=2)
    asking(kind()).answer(asked)
    assert answers(asked) == {key: [f"{key} 0", f"{key} 1"] for key in "abce"} | {"d": ["EMPTY: made"] * 2}
    assert not any(one.missing() for one in asked)


def test_a_model_hears_clips_of_about_one_length_together() -> None:
    listener = Listener()
    asking(listener).answer(requests())
    assert listener.batches == [("b", 0), ("ae", 0), ("c", 0)], "d has the second shortest sound, and holds none"


def test_the_next_batch_is_read_while_the_model_works_on_one_and_no_further_one() -> None:
    read: list[str] = []
    changed = threading.Condition()

    def load(row: Row) -> Sound | ClipError:
        with changed:
            read.append(row["key"])
            changed.notify_all()
        return sound_of(row)

    def meanwhile(batch: int) -> None:
        wanted = min(2 * (batch + 2), 5)
        with changed:
            assert changed.wait_for(lambda: len(read) >= wanted, timeout=20), "nothing is read while the model works"
            assert len(read) == wanted

    asking(Listener(meanwhile), load=load).answer(requests())


def test_what_was_answered_before_a_failure_is_not_asked_again(tmp_path: Path) -> None:
    def fails_at_the_second(batch: int) -> None:
        if batch == 1:
            raise RuntimeError("made")

    cache = tmp_path / "answers.sqlite"
    with pytest.raises(RuntimeError, match="made"):
        asking(Listener(fails_at_the_second), cache).answer(requests())
    listener = Listener()
    asked = requests()
    asking(listener, cache).answer(asked)
    assert listener.batches == [("a", 0), ("ec", 0)]
    assert answers(asked)["b"] == ["b 0"]


def test_what_a_server_answered_before_a_failure_is_kept(tmp_path: Path) -> None:
    class Dying(Server):
        def ask(self, questions: Sequence[Question], prompt: Prompt) -> None:
            super().ask(questions[:2], prompt)
            raise RuntimeError("made")

    cache = tmp_path / "answers.sqlite"
    with pytest.raises(RuntimeError, match="made"):
        asking(Dying(), cache).answer(requests())
    assert AnswerCache(cache).find((f"sound {key}", "question 0") for key in "abcde").keys() == {
        (f"sound {key}", "question 0") for key in "ab"
    }


def test_a_sound_that_cannot_be_read_for_another_reason_stops_the_work() -> None:
    def load(row: Row) -> Sound | ClipError:
        raise OSError("made")

    with pytest.raises(OSError, match="made"):
        asking(Listener(), load=load).answer(requests())
