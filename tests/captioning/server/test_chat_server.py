"""The captioner that asks a server, against a loopback server that speaks the protocol, with its faults."""

import dataclasses
import pickle
import socket
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise

import numpy as np
import pytest

from captioning.captioner import Question, Sound
from captioning.decoding import Decoding, Drawing
from captioning.prompt import Prompt, load_prompt
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


@pytest.mark.parametrize("status", [400, 401, 404, 429])
def test_no_message_repeats_the_key_that_a_server_sent_back(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a-secret")
    with chat_server(lambda question, before: Reply(status, b"wrong: Bearer a-secret")) as server:
        try:
            said = str(only(captioner(server, patience_s=0.1).caption(sounds(1), PROMPT)))
        except (ArgumentError, StoppedError) as error:
            said = str(error)
    assert "wrong: Bearer ***" in said


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    def busy(question: Asked, before: int) -> Reply:
        return Reply(status, b"busy") if before < 2 else echo(question, before)

    with chat_server(busy) as server:
        assert captioner(server).caption(sounds(1), PROMPT) == ["level 1"]
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "fault",
    [
        Reply(fault="reset"),
        Reply.saying("a tone", fault="truncated"),
        Reply(200, b"<html>"),
        Reply(200, b'{"choices": []}'),
        Reply(200, b"[]"),
    ],
)
def test_an_answer_that_is_broken_on_the_way_is_asked_for_again(fault: Reply) -> None:
    with chat_server(lambda question, before: fault if before < 2 else echo(question, before)) as server:
        assert captioner(server).caption(sounds(1), PROMPT) == ["level 1"]
    assert len(server.asked) == 3


def test_a_server_that_hangs_is_asked_again() -> None:
    over = threading.Event()

    def hangs_once(question: Asked, before: int) -> Reply:
        if before == 0:
            over.wait(10)
        return echo(question, before)

    with chat_server(hangs_once) as server:
        answers = captioner(server, timeout_s=0.3).caption(sounds(2), PROMPT)
        over.set()
    assert answers == ["level 1", "level 2"]


def test_what_is_no_chat_server_stops_the_work_and_sets_nothing_aside() -> None:
    page = chat_server(lambda question, before: Reply(200, b"<html>"))
    with page as server, pytest.raises(StoppedError, match="no chat completion: <html>"):
        captioner(server, patience_s=0.2).caption(sounds(2), PROMPT)


def test_the_pause_that_the_server_names_is_kept() -> None:
    came = []

    def later(question: Asked, before: int) -> Reply:
        came.append(time.monotonic())
        return Reply(429, b"", {"Retry-After": "1"}) if before == 0 else echo(question, before)

    with chat_server(later) as server:
        answers = captioner(server, concurrency=1).caption(sounds(3), PROMPT)
    assert answers == ["level 1", "level 2", "level 3"]
    assert len(came) == 4 and came[1] - came[0] >= 1.0


def test_nobody_asks_while_the_server_wants_quiet() -> None:
    came = []

    def quiet(question: Asked, before: int) -> Reply:
        came.append(time.monotonic())
        if before == 0:
            return Reply(503, b"", {"Retry-After": "1"})
        time.sleep(0.05)
        return echo(question, before)

    with chat_server(quiet) as server:
        captioner(server, concurrency=2).caption(sounds(8), PROMPT)
    gaps = sorted(late - early for early, late in pairwise(came))
    assert gaps[-1] >= 0.8, "the clips that were under way with the first may be answered, then all wait"


def test_a_server_that_refuses_every_clip_is_asked_wrongly() -> None:
    refused = chat_server(lambda question, before: Reply(400, b"at most 0 audio(s)"))
    with refused as server, pytest.raises(ArgumentError, match=r"refuses every clip \(400 at most 0 audio"):
        captioner(server, concurrency=2).caption(sounds(20), PROMPT)
    assert len(server.asked) < 20


def test_a_server_that_dies_in_the_middle_and_comes_back_is_waited_for() -> None:
    answers: list = []
    with chat_server(lambda question, before: Reply(fault="reset") if before >= 5 else echo(question, before)) as dying:
        asking = captioner(dying, concurrency=2, patience_s=20)
        thread = threading.Thread(target=lambda: answers.extend(asking.caption(sounds(12), PROMPT)))
        thread.start()
        while len(dying.asked) < 7:
            time.sleep(0.01)
    time.sleep(0.2)
    with chat_server(echo, dying.port) as reborn:
        thread.join(timeout=20)
    assert answers == [f"level {n + 1}" for n in range(12)]
    assert len(reborn.asked) == 7, "what was answered before is not asked again"


def test_clips_are_read_shortly_before_they_are_asked_about_and_told_at_once() -> None:
    loaded: list[int] = []
    told: list[tuple[int, int, object]] = []
    most_waiting = 0

    def question(n: int, sound: Sound) -> Question:
        def load() -> Sound | ClipError:
            nonlocal most_waiting
            loaded.append(n)
            most_waiting = max(most_waiting, len(loaded) - len({place for place, _, _ in told}))
            return ClipError(Code.EMPTY, "made") if n == 3 else sound

        def tell(draw: int, answer: str | ClipError, heard: Sound | None) -> None:
            told.append((n, draw, answer if isinstance(answer, str) else answer.code))
            assert (heard is None) == (n == 3)

        return Question(load=load, draws=(0, 2), tell=tell)

    with chat_server(lambda question, before: Reply.saying(f"{question.level} {question.body['seed']}")) as server:
        asking = captioner(server, concurrency=2, decoding=Decoding(drawing=Drawing(draws=2)))
        asking.ask([question(n, sound) for n, sound in enumerate(sounds(40))], PROMPT)
    assert sorted(loaded) == list(range(40))
    assert most_waiting <= 2 + chat.READ_AHEAD
    assert {answer for n, _, answer in told if n == 3} == {Code.EMPTY}
    assert {(n, draw): answer for n, draw, answer in told if n != 3} == {
        (n, draw): f"{n + 1} {draw}" for n in range(40) for draw in (0, 2) if n != 3
    }
    assert len(server.asked) == 78


def test_the_picture_is_sent_before_the_sound() -> None:
    (sound,) = sounds(1)
    shown = dataclasses.replace(sound, mp4=b"made film")
    with chat_server(echo) as server:
        asking = captioner(server, sees=True)
        asking.caption([shown], PROMPT)
        with pytest.raises(ValueError, match="without what"):
            asking.caption([sound], PROMPT)
        with pytest.raises(ValueError, match="or with more"):
            captioner(server).caption([shown], PROMPT)
    (asked,) = server.asked
    assert asked.mp4 == b"made film" and asked.samples == 1600
    kinds = [part["type"] for part in asked.body["messages"][0]["content"]]
    assert kinds == ["video_url", "input_audio", "text"]
    assert asking.identity().as_dict()["sees"] == "file"
    assert "sees" not in captioner(server).identity().as_dict()


def test_nothing_is_asked_with_the_prompt_that_asks_nothing() -> None:
    with chat_server(echo) as server:
        captioner(server).caption(sounds(1), load_prompt("none"))
    assert [part["type"] for part in server.asked[0].body["messages"][0]["content"]] == ["input_audio"]


def test_whoever_waits_is_told_for_what_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chat, "SILENT_S", 0.0)
    busy = Reply(503, b"loading the model")
    with chat_server(lambda question, before: busy if before < 6 else echo(question, before)) as server:
        captioner(server).caption(sounds(2), PROMPT)
        assert capsys.readouterr().err.count(f"{server.url} is waited for: 503 loading the model") == 1
        captioner(server).caption(sounds(2), PROMPT)
        assert capsys.readouterr().err == ""


def test_a_server_that_refused_all_is_told_from_bad_clips(capsys: pytest.CaptureFixture[str]) -> None:
    with chat_server(lambda question, before: Reply(400, b"hears nothing")) as server:
        captioner(server).caption(sounds(3), PROMPT)
        assert "refused all 3 clips" in capsys.readouterr().err
    refuses_one = lambda question, before: Reply(400, b"odd") if question.level == 1 else echo(question, before)  # noqa: E731
    with chat_server(refuses_one) as server:
        captioner(server).caption(sounds(3), PROMPT)
        assert capsys.readouterr().err == ""


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


@pytest.mark.parametrize("clips", [2, 40])
def test_the_last_clip_that_is_left_is_told_from_a_bad_server(clips: int) -> None:
    def fails_on_the_last(question: Asked, before: int) -> Reply:
        return Reply(500, b"out of memory") if question.level == clips else echo(question, before)

    with chat_server(fails_on_the_last) as server:
        answers = captioner(server, concurrency=1, patience_s=20).caption(sounds(clips), PROMPT)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, ClipError)] == [clips - 1]
    assert len(server.asked) == clips - 1 + chat.TRIES + 1, "one question that was answered before is asked again"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(400, b"no such audio"), "no such audio"),
        (Reply.saying(None), "no text"),
        (Reply.saying(""), "no word"),
        (Reply.saying("a dog and a dog and a", "length"), "did not end"),
        (Reply.saying("dog " * 300_000), "longer than"),
        (Reply.saying("I cannot", "content_filter"), "filter cut"),
        (Reply(400, b"no \x1b[2J such"), "no [2J such"),
    ],
)
def test_a_bad_answer_sets_the_clip_aside(reply: Reply, said: str) -> None:
    with chat_server(lambda question, before: reply) as server:
        error = only(captioner(server).caption(sounds(1), PROMPT))
    assert error.code is Code.BAD_CAPTION
    assert said in error.detail


@pytest.mark.parametrize(
    ("status", "said"), [(401, "key"), (403, "key"), (404, "no model"), (302, "to http://elsewhere")]
)
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
    with pytest.raises(ArgumentError, match="address") as raised:
        ChatServer(url=url, model="m")
    assert "word" not in str(raised.value).replace("password", "")
    with pytest.raises(ArgumentError, match="address"):
        ChatServer.at(url, concurrency=1)


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


def test_the_key_is_not_sent_on_to_where_a_server_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a-secret")
    asked = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path == "/v1/models":
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{server.server_port}/other")
            else:
                self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        with pytest.raises(ArgumentError, match="does not say which models") as caught:
            ChatServer.at(f"http://127.0.0.1:{server.server_port}/v1", concurrency=1)
        server.shutdown()
    assert asked == ["/v1/models"] and "a-secret" not in str(caught.value)


def test_a_port_that_speaks_something_else_is_named() -> None:
    def greet() -> None:
        other, _ = listening.accept()
        with other:
            other.recv(4_096)
            other.sendall(b"220 mail.example ESMTP\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(ArgumentError, match="is the server up"):
            ChatServer.at(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", concurrency=1)


def test_it_is_made_in_a_worker() -> None:
    build = pickle.loads(pickle.dumps(partial(ChatCaptioner, ChatServer(url="http://127.0.0.1:1/v1", model="m"))))
    assert build().identity().model == "m"
