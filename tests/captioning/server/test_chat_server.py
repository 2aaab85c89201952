"""The captioner that asks a server, against a loopback server that speaks the protocol, with its faults."""

import pickle
import socket
import threading
import time
from functools import partial

import numpy as np
import pytest

from captioning.captioner import Sound
from captioning.decoding import Decoding, Drawing
from captioning.prompt import Prompt
from captioning.server import chat_server as chat
from captioning.server.chat_server import KEY_VARIABLE, ChatCaptioner, ChatServer
from curation.errors import ArgumentError, ClipError, Code, StoppedError
from tests.captioning.chat_stand_in import Asked, Reply, StandIn, chat_server

PROMPT = Prompt(name="made-v1", text="What is heard of {labels}?")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(chat, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def sounds(count: int) -> list[Sound]:
    """Clips whose level in percent is their number plus one."""
    return [
        Sound(
            key=f"clip-{n}",
            wave_T=np.full(1600, (n + 1) / 100, np.float32),
            sample_rate_hz=16_000,
            labels=(f"thing {n}",),
        )
        for n in range(count)
    ]


def captioner(server: StandIn, **settings: object) -> ChatCaptioner:
    return ChatCaptioner(ChatServer(url=server.url, model="made/Model", **settings))


def echo(question: Asked, before: int) -> Reply:
    return Reply.saying(f"level {question.level}")


def only(answers: list) -> ClipError:
    (answer,) = answers
    assert isinstance(answer, ClipError)
    return answer


def test_each_clip_gets_the_answer_about_itself() -> None:
    with chat_server(echo) as server:
        answers = captioner(server).caption(sounds(20), PROMPT)
    assert answers == [f"level {n + 1}" for n in range(20)]


def test_the_question_is_the_protocols() -> None:
    with chat_server(echo) as server:
        captioner(server, decoding=Decoding(max_new_tokens=77)).caption(sounds(1), PROMPT)
    (asked,) = server.asked
    assert (asked.samples, asked.rate_hz, asked.text) == (1600, 16_000, "What is heard of thing 0?")
    assert asked.body["model"] == "made/Model"
    assert (asked.body["max_tokens"], asked.body["temperature"], asked.body["seed"]) == (77, 0, 0)


def test_a_draw_is_asked_for_by_seed() -> None:
    with chat_server(echo) as server:
        asking = captioner(server, decoding=Decoding(drawing=Drawing(draws=2, temperature=0.9, top_p=0.8, seed=3)))
        asking.caption(sounds(1), PROMPT)
        asking.caption(sounds(1), PROMPT, 2)
    plain, drawn = (asked.body for asked in server.asked)
    assert (plain["temperature"], plain["seed"]) == (0, 0)
    assert (drawn["temperature"], drawn["top_p"], drawn["seed"]) == (0.9, 0.8, 3 * 64 + 2)


def test_questions_run_side_by_side_within_the_bound() -> None:
    def slow(question: Asked, before: int) -> Reply:
        time.sleep(0.05)
        return echo(question, before)

    with chat_server(slow) as server:
        captioner(server, concurrency=4).caption(sounds(12), PROMPT)
    assert server.most_under_way == 4


def test_the_key_comes_from_the_environment_and_is_kept_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a-secret")
    with chat_server(echo) as server:
        asking = captioner(server)
        asking.caption(sounds(1), PROMPT)
    assert server.asked[0].headers["Authorization"] == "Bearer a-secret"
    assert "a-secret" not in repr(asking.identity()) + repr(pickle.dumps(asking))


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    def busy(question: Asked, before: int) -> Reply:
        return Reply(status, b"busy") if before < 2 else echo(question, before)

    with chat_server(busy) as server:
        assert captioner(server).caption(sounds(1), PROMPT) == ["level 1"]
    assert len(server.asked) == 3


def test_the_pause_that_the_server_names_is_kept() -> None:
    came = []

    def later(question: Asked, before: int) -> Reply:
        came.append(time.monotonic())
        return Reply(429, b"", {"Retry-After": "1"}) if before == 0 else echo(question, before)

    with chat_server(later) as server:
        captioner(server).caption(sounds(1), PROMPT)
    assert came[1] - came[0] >= 1.0


def test_a_server_that_starts_late_is_waited_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asking = ChatCaptioner(ChatServer(url=f"http://127.0.0.1:{port}/v1", model="made/Model", patience_s=20))
    answers: list = []
    thread = threading.Thread(target=lambda: answers.extend(asking.caption(sounds(3), PROMPT)))
    thread.start()
    time.sleep(0.3)
    with chat_server(echo, port):
        thread.join(timeout=20)
    assert answers == ["level 1", "level 2", "level 3"]


def test_a_server_that_stays_away_stops_the_work() -> None:
    asking = ChatCaptioner(ChatServer(url="http://127.0.0.1:1/v1", model="made/Model", patience_s=0.2))
    with pytest.raises(StoppedError, match="run the same command again"):
        asking.caption(sounds(3), PROMPT)


def test_one_clip_on_which_the_server_fails_is_set_aside_alone() -> None:
    def fails_on_two(question: Asked, before: int) -> Reply:
        time.sleep(0.01)
        return Reply(500, b"out of memory") if question.level == 2 else echo(question, before)

    with chat_server(fails_on_two) as server:
        answers = captioner(server, concurrency=2).caption(sounds(40), PROMPT)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, ClipError)] == [1]
    assert answers[1].code is Code.NETWORK
    assert "out of memory" in answers[1].detail


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(400, b"no such audio"), "no such audio"),
        (Reply(200, b"<html>"), "no chat completion"),
        (Reply(200, b'{"choices": []}'), "no chat completion"),
        (Reply.saying(None), "no text"),
        (Reply.saying(""), "no word"),
        (Reply.saying("a dog and a dog and a", "length"), "did not end"),
        (Reply.saying("dog " * 300_000), "longer than"),
    ],
)
def test_a_bad_answer_sets_the_clip_aside(reply: Reply, said: str) -> None:
    with chat_server(lambda question, before: reply) as server:
        error = only(captioner(server).caption(sounds(1), PROMPT))
    assert error.code is Code.BAD_CAPTION
    assert said in error.detail


@pytest.mark.parametrize(("status", "said"), [(401, "key"), (403, "key"), (404, "no model"), (302, "no model")])
def test_a_wrong_setting_stops_the_work(status: int, said: str) -> None:
    reply = Reply(status, b"", {"Location": "http://elsewhere.example/"})
    with chat_server(lambda question, before: reply) as server, pytest.raises(ArgumentError, match=said):
        captioner(server).caption(sounds(5), PROMPT)


def test_a_clip_without_the_label_that_is_asked_for_is_set_aside() -> None:
    wave = np.zeros(160, np.float32)
    with chat_server(echo) as server:
        error = only(captioner(server).caption([Sound(key="a", wave_T=wave, sample_rate_hz=16_000)], PROMPT))
    assert error.code is Code.NO_LABEL
    assert not server.asked


@pytest.mark.parametrize("url", ["ftp://a/v1", "http://user:word@a/v1", "a/v1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ArgumentError, match="address"):
        ChatServer(url=url, model="m")


def test_the_only_model_is_found() -> None:
    with chat_server(echo, models=("made/Model",)) as server:
        assert ChatServer.at(server.url, concurrency=2).model == "made/Model"
        assert ChatServer.at(f"{server.url}#other/Model", concurrency=2).model == "other/Model"


@pytest.mark.parametrize("models", [(), ("a", "b")])
def test_a_server_of_other_than_one_model_wants_a_name(models: tuple[str, ...]) -> None:
    with chat_server(echo, models=models) as server, pytest.raises(ArgumentError, match=r"serves (no model|a, b)"):
        ChatServer.at(server.url, concurrency=2)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(ArgumentError, match="is the server up"):
        ChatServer.at("http://127.0.0.1:1/v1", concurrency=2)


def test_it_is_made_in_a_worker() -> None:
    build = pickle.loads(pickle.dumps(partial(ChatCaptioner, ChatServer(url="http://127.0.0.1:1/v1", model="m"))))
    assert build().identity().model == "m"
