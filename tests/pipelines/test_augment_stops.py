"""`augment` with Ray actors, and killed in the middle: every clip is written about once, and no text paid for twice."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from captioning.cache import CAPTION_CACHE
from curation.dataset import Dataset
from pipelines.verbs.augment import augment
from pipelines.wiring.writers import WriterOptions
from tests.captioning.augment.text_server import TextServer, text_server
from tests.captioning.augment.tiny_writer import qwen3
from tests.captioning.made_facts import cut_and_tagged, dataset_of, said

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CLIPS = 48
AT_ONCE = 2
ANSWER_S = 0.1
LIMIT_S = 60.0


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Clips that a model has spoken of, each in words of its own."""
    monkeypatch.setenv("FOUNDSOUND_CACHE", str(tmp_path / "cache"))
    clips = [f"clip-{number:02d}" for number in range(CLIPS)]
    made = dataset_of(tmp_path / "dataset", {clip: [] for clip in clips}, {})
    cut_and_tagged(made, {clip: {} for clip in clips})
    said(made, "listener", {clip: f"A dog called {clip} barks." for clip in clips})
    return made


def of_clip(question: str, before: int = 0) -> str:
    return f"In a yard {question.splitlines()[-1].partition('called ')[2]}"


def slowly(question: str, before: int) -> str:
    time.sleep(ANSWER_S)
    return of_clip(question)


def asked_about(server: TextServer) -> Counter[str]:
    return Counter(of_clip(body["messages"][0]["content"]) for body in server.asked)


def texts(dataset: Dataset) -> list[str]:
    return dataset.sql("SELECT text FROM caption WHERE made_from = 'facts' ORDER BY key")["text"].to_pylist()


ALL = [f"In a yard clip-{number:02d} barks." for number in range(CLIPS)]


def start(dataset: Dataset, server: TextServer) -> subprocess.Popen[str]:
    words = ["augment", str(dataset.path), "--writer", server.url, "--batch", str(AT_ONCE), "--workers", "0"]
    program = [sys.executable, "-m", "pipelines.main", *words]
    return subprocess.Popen(
        program, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ)
    )


def kept(tmp_path: Path) -> int:
    """Texts in the cache."""
    cache = tmp_path / "cache" / CAPTION_CACHE
    if not cache.is_file():
        return 0
    with sqlite3.connect(cache, timeout=10.0) as database:
        try:
            return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])
        except sqlite3.OperationalError:  # the table is not there yet
            return 0


@pytest.mark.parametrize(
    ("way", "lost"),
    [(signal.SIGKILL, AT_ONCE + round(AT_ONCE * 0.5 / ANSWER_S)), (signal.SIGINT, AT_ONCE)],
    ids=["killed", "interrupted"],
)
def test_what_was_paid_for_before_it_stopped_is_not_asked_again(
    dataset: Dataset, tmp_path: Path, way: signal.Signals, lost: int
) -> None:
    with text_server(slowly) as server:
        process = start(dataset, server)
        until = time.monotonic() + LIMIT_S
        while kept(tmp_path) < 6:
            assert time.monotonic() < until and process.poll() is None, "nothing is kept"
            time.sleep(0.01)
        process.send_signal(way)
        process.communicate(timeout=LIMIT_S)
        assert kept(tmp_path) < CLIPS
        again = start(dataset, server)
        printed = again.communicate(timeout=LIMIT_S)[0]
        assert again.returncode == 0, printed
        assert sum(asked_about(server).values()) <= CLIPS + lost, "what was under way, and of a kill half a second"
    assert texts(dataset) == ALL


@pytest.mark.parametrize("kind", ["server", "model"])
def test_actors_of_ray_write_as_one_process_does(dataset: Dataset, tmp_path: Path, kind: str) -> None:
    options = WriterOptions(batch=1)
    if kind == "server":
        with text_server(of_clip) as server:
            result = augment(dataset.path, writer=server.url, model=options, workers=2)
            assert result.tally.done == len(server.asked) == CLIPS
            assert augment(dataset.path, writer=server.url, model=options, workers=2).tally.done == 0
        assert texts(dataset) == ALL
        return
    writer = str(qwen3(tmp_path / "Tiny Writer"))
    actors = augment(dataset.path, writer=writer, name="actors", model=options, workers=2).tally
    alone = augment(dataset.path, writer=writer, name="alone", model=options, workers=0).tally
    assert (actors.done, actors.set_aside) == (alone.done, alone.set_aside)
    assert actors.done + sum(actors.set_aside.values()) == CLIPS
    spoken = "SELECT key, coalesce(text, code) AS said FROM caption WHERE label = ? ORDER BY key"
    assert dataset.sql(spoken, ["actors"]).to_pylist() == dataset.sql(spoken, ["alone"]).to_pylist()
