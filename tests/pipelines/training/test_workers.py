"""`train` as a user runs it: alone, by two Ray workers, and killed in the middle; the losses are the same."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError

from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from pipelines.training.board import board
from pipelines.training.workers import read_facts, write_facts
from pipelines.verbs.fetch import fetch
from pipelines.verbs.manifest import manifest
from pipelines.verbs.measure import measure
from pipelines.verbs.pack import pack
from pipelines.verbs.select import select
from pipelines.verbs.train import Machinery, train
from tests.test_readme import make_sounds

TOLERANCE = 1e-4
"""Relative; of the losses of one worker and of two."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen packed sounds, and a CLAP for their texts."""
    folder = tmp_path_factory.mktemp("training")
    make_sounds(folder / "sounds")
    path = folder / "dataset"
    manifest("table", folder / "sounds" / "list.csv", out=path)
    fetch(path, workers=0)
    measure(path, workers=0)
    select(path)
    pack(path)
    train("clap-tiny", data=[str(path)], clips=32)
    return path


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_workers_train_what_one_does(dataset: Path) -> None:
    alone, together = dataset / "runs" / "alone", dataset / "runs" / "together"
    train("audiox-tiny", data=[str(dataset)], seconds=1, clips=64, out=alone)
    result = train(
        "audiox-tiny", data=[str(dataset)], seconds=1, clips=64, out=together, machinery=Machinery(workers=2)
    )
    assert result is not None
    assert result.facts["loss"] == pytest.approx(log_of(alone)[-1]["loss"], rel=TOLERANCE)
    assert log_of(together)[-1]["clips_seen"] == 64
    assert (together / "model").is_dir() and list((together / "board").glob("events*"))


@pytest.mark.slow
def test_killed_and_run_again_has_the_losses_of_an_uninterrupted_run(dataset: Path) -> None:
    whole, parts = dataset / "runs" / "whole", dataset / "runs" / "parts"
    words = ["train", "audiox-tiny", "--data", str(dataset), "--seconds", "1", "--clips", "2800"]
    command = [sys.executable, "-m", "pipelines.main", *words]
    running = subprocess.Popen([*command, "--out", str(parts)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list((parts / "checkpoints").glob("step-*")) and time.monotonic() < until:
        time.sleep(0.05)
    assert list((parts / "checkpoints").glob("step-*")), "nothing was saved that a second start could go on with"
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert log_of(parts)[-1]["clips_seen"] < 2800
    train("audiox-tiny", data=[str(dataset)], seconds=1, clips=2800, out=parts)
    train("audiox-tiny", data=[str(dataset)], seconds=1, clips=2800, out=whole)
    names = ("step", "clips_seen", "loss", "gradient_norm")
    curves = [[[line[name] for name in names] for line in log_of(folder)] for folder in (parts, whole)]
    assert curves[0] == curves[1]


def test_a_run_that_did_not_end_has_nothing_to_say(tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="goes on from its last checkpoint"):
        read_facts(tmp_path)


def test_a_run_that_was_over_keeps_what_it_had_to_say(tmp_path: Path) -> None:
    assert write_facts(tmp_path, {"clips": 15, "loss": 0.5}) == {"clips": 15, "loss": 0.5}
    assert write_facts(tmp_path, {"clips": 15}) == {"clips": 15, "loss": 0.5} == read_facts(tmp_path)
    (tmp_path / "facts.json").write_text('{"clips"')
    assert write_facts(tmp_path, {"clips": 15}) == {"clips": 15} == read_facts(tmp_path)


def test_a_disk_that_is_full_is_told_and_other_damage_is_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(Dataset.create(tmp_path / "dataset").path)
    for said, kind in (("I/O error: No space left on device (os error 28)", StoppedError), ("cut", SafetensorError)):

        def saves(*_: object, said: str = said) -> None:
            raise SafetensorError(said)

        monkeypatch.setattr("pipelines.verbs.train.function_of", lambda recipe, saves=saves: saves)
        with pytest.raises(
            kind, match="the disk of .*codec-tiny is full; free some space" if kind is StoppedError else said
        ):
            train("codec-tiny", data=[path])


@pytest.mark.parametrize(
    "error", [MemoryError("58 TiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")]
)
def test_a_memory_that_is_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    path = str(Dataset.create(tmp_path / "dataset").path)

    def needs(*_: object) -> None:
        raise error

    monkeypatch.setattr("pipelines.verbs.train.function_of", lambda recipe: needs)
    with pytest.raises(StoppedError, match="out of memory; give a smaller --micro-clips, or shorter --seconds"):
        train("codec-tiny", data=[path])


def test_no_worker_at_all_is_refused() -> None:
    with pytest.raises(ArgumentError, match="--workers must be at least 1, not 0"):
        Machinery(workers=0)


def test_what_a_recipe_cannot_do_is_refused(tmp_path: Path) -> None:
    path = str(Dataset.create(tmp_path / "dataset").path)
    with pytest.raises(ArgumentError, match="clap-tiny is trained in one process; drop --workers"):
        train("clap-tiny", data=[path], machinery=Machinery(workers=2))
    with pytest.raises(ArgumentError, match=r"codec-tiny is a part .* makes nothing of prompts; drop --samples"):
        train("codec-tiny", data=[path], machinery=Machinery(samples=2))


def test_the_board_has_every_value_at_its_clips(tmp_path: Path) -> None:
    with board(tmp_path) as show:
        show({"step": 1, "clips_seen": 8, "seconds": 0.1, "loss": 2.0, "mfu": 0.5})
    (events,) = (tmp_path / "board").glob("events*")
    content = events.read_bytes()
    assert b"loss" in content and b"mfu" in content and b"clips_seen" not in content


def test_wandb_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ArgumentError, match="pip install wandb"), board(tmp_path, wandb="project"):
        pass
