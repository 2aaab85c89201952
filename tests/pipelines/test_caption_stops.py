"""`caption` that is killed, interrupted or left by its server, and then run again: every clip once, no answer twice."""

import base64
import dataclasses
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from captioning.cache import CAPTION_CACHE, HOLD_S
from captioning.server import chat_server as chat
from captioning.server.chat_server import KEY_VARIABLE, ChatServer
from curation.dataset import Dataset
from curation.errors import StoppedError
from curation.status import status
from pipelines.verbs.caption import caption
from pipelines.wiring.captioners import ModelOptions
from tests.captioning.chat_stand_in import Asked, Reply, StandIn, chat_server
from tests.captioning.tiny_models import qwen2_audio
from tests.curation.made import Made

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CLIPS = 24
AT_ONCE = 2
ANSWER_S = 0.1
SECRET = "sk-made-4711-secret"
LIMIT_S = 60.0


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Clips of 0.1 s, each with a sound of its own."""
    made = Made(tmp_path)
    for number in range(CLIPS):
        made.clip(f"video-{number:02d}")
    return made.dataset()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOUNDSOUND_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / CAPTION_CACHE


def sound_of(question: Asked) -> str:
    """Which clip a question is about."""
    (part,) = [part for part in question.body["messages"][0]["content"] if part["type"] == "input_audio"]
    return hashlib.sha256(base64.b64decode(part["input_audio"]["data"])).hexdigest()[:8]


def says(question: Asked) -> str:
    return f"a sound called {sound_of(question)}"


@pytest.fixture
def server() -> Iterator[StandIn]:
    """Answers in 0.1 s, and repeats the key to the first clip, which it refuses."""
    refused: list[str] = []

    def answer(question: Asked, before: int) -> Reply:
        if before == 0:
            refused.append(sound_of(question))
        time.sleep(ANSWER_S)
        if sound_of(question) in refused:
            return Reply(400, f"bad: {question.headers.get('Authorization')}".encode())
        return Reply.saying(says(question))

    with chat_server(answer) as server:
        yield server


def start(dataset: Dataset, captioner: str, *options: str) -> subprocess.Popen:
    words = ["caption", str(dataset.path), "--captioner", captioner, "--batch", str(AT_ONCE), "--workers", "0"]
    program = [sys.executable, "-m", "pipelines.main", *words, *options]
    return subprocess.Popen(
        program,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, KEY_VARIABLE: SECRET},
    )


def wait_until(is_true: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not is_true():
        assert time.monotonic() < until, "it does not come to that"
        time.sleep(0.005)


def kept(cache: Path) -> int:
    """Answers in the cache."""
    if not cache.is_file():
        return 0
    with sqlite3.connect(cache, timeout=10.0) as database:
        try:
            return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])
        except sqlite3.OperationalError:  # the table is not there yet
            return 0


def rows(dataset: Dataset) -> list[dict]:
    return dataset.sql("SELECT key, state, code, text FROM caption").to_pylist()


def all_of(row: dict) -> list[str]:
    """The chosen answer and those drawn beside it."""
    return [row["text"], *(further["text"] for further in row["further"])]


def asked_about(server: StandIn) -> Counter[str]:
    return Counter(sound_of(question) for question in server.asked)


def test_a_kill_repeats_no_answer_and_the_key_is_written_nowhere(
    dataset: Dataset, server: StandIn, cache: Path, tmp_path: Path
) -> None:
    process = start(dataset, server.url)
    wait_until(lambda: kept(cache) >= 6)
    process.send_signal(signal.SIGKILL)
    said = process.communicate()[0]
    paid, asked = kept(cache), len(server.asked)
    assert 6 <= paid < CLIPS - 1
    again = start(dataset, server.url)
    said += again.communicate(timeout=LIMIT_S)[0]
    assert again.returncode == 0, said
    found = rows(dataset)
    assert len({row["key"] for row in found}) == len(found) == CLIPS
    parts = (dataset.path / "facts" / "caption").rglob("part-*.parquet")
    assert sum(pq.read_metadata(part).num_rows for part in parts) == CLIPS, "each clip has one row, not a latest one"
    assert Counter(row["code"] for row in found) == {None: CLIPS - 1, "BAD_CAPTION": 1}
    texts = {row["text"] for row in found if row["state"] == "done"}
    assert texts == {says(question) for question in server.asked} - {says(server.asked[0])}
    assert len(server.asked) - asked == CLIPS - paid, "nothing that was kept is asked again"
    assert asked - paid <= AT_ONCE + round(AT_ONCE * HOLD_S / ANSWER_S) + 1, (
        "only what was under way at the kill or waited to be kept, and what was refused"
    )
    assert kept(cache) == CLIPS - 1
    assert all(question.headers["Authorization"] == f"Bearer {SECRET}" for question in server.asked)
    assert SECRET not in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert cache in files and not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert "***" in str(dataset.sql("SELECT detail FROM caption WHERE state <> 'done'").to_pylist())


def test_a_kill_of_a_model_at_work_repeats_no_answer(dataset: Dataset, cache: Path, tmp_path: Path) -> None:
    model = str(qwen2_audio(tmp_path / "Tiny Audio"))
    process = start(dataset, model, "--candidates", "3")
    wait_until(lambda: kept(cache) >= 6)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    committed = dataset.sql("SELECT audio_sha256 FROM caption WHERE state = 'done'")["audio_sha256"].to_pylist()
    with sqlite3.connect(cache) as database:
        database.execute("UPDATE answers SET answer = 'paid before ' || question")
        sounds = [row[0] for row in database.execute("SELECT sound FROM answers")]
    paid = sum(sound not in committed for sound in sounds)  # on a slow machine some have their rows by now
    again = start(dataset, model, "--candidates", "3")
    said = again.communicate(timeout=LIMIT_S)[0]
    assert again.returncode == 0, said
    found = dataset.sql("SELECT key, state, text, further FROM caption").to_pylist()
    assert len({row["key"] for row in found}) == len(found) == CLIPS
    texts = [text for row in found if row["state"] == "done" for text in all_of(row)]
    assert sum(text.startswith("paid before") for text in texts) == paid


def test_ctrl_c_stops_at_once_and_the_next_run_goes_on(dataset: Dataset, server: StandIn, cache: Path) -> None:
    process = start(dataset, server.url)
    wait_until(lambda: kept(cache) >= 4)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=LIMIT_S)[0]
    assert process.returncode == 130, said
    assert "Traceback" not in said
    again = start(dataset, server.url)
    assert again.communicate(timeout=LIMIT_S) and again.returncode == 0
    assert len(rows(dataset)) == CLIPS
    assert sum(asked_about(server).values()) <= CLIPS + AT_ONCE + 1


def test_a_server_that_is_gone_stops_the_work_and_the_next_run_finishes_it(
    dataset: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ChatServer.at
    impatient = lambda *given, **named: dataclasses.replace(at(*given, **named), patience_s=0.5)  # noqa: E731
    monkeypatch.setattr(ChatServer, "at", impatient)
    monkeypatch.setattr(chat, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(chat, "LONGEST_PAUSE_S", 0.1)

    def dies(question: Asked, before: int) -> Reply:
        return Reply.saying(says(question)) if before < 9 else Reply(fault="reset")

    options = ModelOptions(batch=AT_ONCE)
    with (
        chat_server(dies) as server,
        pytest.raises(StoppedError, match=r"answered nothing for .* run the same command"),
    ):
        caption(dataset.path, captioner=server.url, model=options, workers=0)
    assert kept(cache) == 9
    assert status(dataset)["caption"].set_aside == {}
    with chat_server(lambda question, before: Reply.saying(says(question)), server.port) as reborn:
        caption(dataset.path, captioner=reborn.url, model=options, workers=0)
    assert status(dataset)["caption"].done == CLIPS
    assert len(reborn.asked) == CLIPS - 9 and not asked_about(reborn).keys() & {
        sound_of(question) for question in server.asked[:9]
    }


def test_a_server_that_comes_back_in_the_middle_is_waited_for(
    dataset: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "FIRST_PAUSE_S", 0.05)

    def dies(question: Asked, before: int) -> Reply:
        return Reply.saying(says(question)) if before < 9 else Reply(fault="reset")

    with chat_server(dies) as server:
        run = {"captioner": server.url, "model": ModelOptions(batch=AT_ONCE), "workers": 0}
        worker = threading.Thread(target=lambda: caption(dataset.path, **run))
        worker.start()
        wait_until(lambda: len(server.asked) > 10)
    time.sleep(0.5)
    with chat_server(lambda question, before: Reply.saying(says(question)), server.port) as reborn:
        worker.join(LIMIT_S)
    assert status(dataset)["caption"].done == CLIPS
    assert len(reborn.asked) == CLIPS - 9
