"""`kill -9` in the middle of fetch and of pack, then the same command again: the same bytes, and nothing done twice."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from curation.dataset import Dataset
from curation.keys import file_sha256
from pipelines.quickstart.corpus import HEADER, write_corpus
from pipelines.quickstart.mirror import Fault, Mirror
from pipelines.quickstart.world import CLIP_S, World, make_world

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DYING = Path(__file__).with_name("dying.py")

SEED = 9
VIDEOS = 10
CLIPS_PER_SHARD = 3
ANSWER_AFTER_S = 0.4
"""A slow mirror: `fetch` then takes longer than the 5 s between two commits, on any machine."""

LIMIT_S = 240.0
"""A command that takes longer hangs."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The mirror, its list, and the commands that work on them, each in a process of its own."""

    mirror: Mirror
    list_file: Path

    def fetch(self, dataset: Path) -> list[str]:
        return ["fetch", str(dataset), "--from", f"{self.mirror.url}/{{video_id}}.mp4"]

    def listed(self, dataset: Path) -> Path:
        run("manifest", "table", str(self.list_file), "--out", str(dataset))
        return dataset

    def select(self, dataset: Path) -> Path:
        run("measure", str(dataset), "--workers", "0")
        run("select", str(dataset))
        return dataset

    def asked_since(self, count: int) -> set[str]:
        return {request.path.strip("/").removesuffix(".mp4") for request in self.mirror.requests[count:]}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def start(*words: str, moment: tuple[Path, str, int, Path] | None = None) -> subprocess.Popen[str]:
    """Begin a verb in a process group of its own; with a moment it dies by itself."""
    program = [str(DYING), *map(str, moment)] if moment else ["-m", "pipelines.main"]
    command = [sys.executable, *program, *words]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment(), start_new_session=True, **quiet)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code of a process and what it said."""
    try:
        _, said = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, said


def run(*words: str) -> None:
    code, said = end(start(*words))
    assert code == 0, f"foundsound {' '.join(words)} ended with {code}: {said}"


def pack(dataset: Path) -> list[str]:
    return ["pack", str(dataset), "--clips-per-shard", str(CLIPS_PER_SHARD)]


def shards(dataset: Path) -> dict[str, str]:
    """Name and sum of every file of the generation."""
    return {path.name: file_sha256(path) for path in sorted((dataset / "shards" / "train").iterdir())}


def fetched(dataset: Path) -> Counter[str]:
    """Video ids of all committed rows of `fetch`, as they lie on the disk."""
    opened = Dataset(dataset)
    if not opened.has_stage("fetch"):
        return Counter()
    parts = [str(file) for folder in opened.current_facts("fetch").values() for file in folder.glob("part-*.parquet")]
    rows = opened.sql(f"SELECT video_id FROM read_parquet({parts!r}) AS had JOIN videos ON videos.video_key = had.key")
    return Counter(rows["video_id"].to_pylist())


def counts(dataset: Path, stage: str) -> dict[str, object]:
    command = [sys.executable, "-m", "pipelines.main", "status", str(dataset), "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)[stage]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("mirror")
    good = tuple(clip for clip in make_world(SEED).good if clip.split == "train")[:VIDEOS]
    write_corpus(World(seed=SEED, clips=good), folder)
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for clip in good:
            labels, captions = json.dumps([clip.label]), json.dumps(list(clip.captions))
            writer.writerow([clip.video_id, clip.start_s, CLIP_S, labels, captions, clip.split])
    slow = {f"/{clip.video_id}.mp4": Fault(delay_s=ANSWER_AFTER_S) for clip in good}
    with Mirror(folder, faults=slow) as mirror:
        yield Bench(mirror, folder / "list.csv")


@dataclass(frozen=True, slots=True)
class Reference:
    """The dataset of a run without a kill, and how many changes its fetch and pack made below each of its folders."""

    dataset: Path
    changes: dict[str, int]


@pytest.fixture(scope="module")
def reference(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    dataset = bench.listed(folder / "dataset")

    def changes(words: list[str]) -> dict[str, int]:
        code, said = end(start(*words, moment=(dataset, "", 0, folder / "counts")))
        assert code == 0, said
        return json.loads((folder / "counts").read_text())

    fetching = changes([*bench.fetch(dataset), "--workers", "0"])
    bench.select(dataset)
    return Reference(dataset, fetching | {"shards": changes(pack(dataset))["shards"]})


def test_the_reference_is_whole(reference: Reference) -> None:
    assert counts(reference.dataset, "cut") == {"requested": VIDEOS, "done": VIDEOS, "set_aside": {}, "pending": 0}
    names = [f"{number:06d}" for number in range(-(-VIDEOS // CLIPS_PER_SHARD))]
    assert list(shards(reference.dataset)) == [
        *(f"{n}{kind}" for n in names for kind in (".arrow", ".tar")),
        "index.json",
    ]


def near(share: float, changes: int) -> int:
    """A drawn moment within two changes of a share of all."""
    return max(1, round(share * changes) + int(np.random.default_rng([SEED, changes]).integers(-2, 3)))


def go_on(bench: Bench, reference: Reference, dataset: Path, *how: str) -> None:
    """The same command again after a kill, and the rest of the path."""
    before, asked = fetched(dataset), len(bench.mirror.requests)
    run(*bench.fetch(dataset), *how)
    again = bench.asked_since(asked)
    assert again.isdisjoint(before), "what was committed was fetched again"
    assert again | set(before) == set(fetched(reference.dataset))
    assert set(fetched(dataset).values()) == {1}
    assert counts(dataset, "cut") == counts(reference.dataset, "cut")
    run(*pack(bench.select(dataset)))
    assert shards(dataset) == shards(reference.dataset)


@pytest.mark.parametrize(("folder", "share", "committed"), [("media", 0.2, 0), ("media", 0.9, 1), ("facts", 0.9, 0)])
def test_fetch_dies_before_a_write(
    folder: str, share: float, committed: int, bench: Bench, reference: Reference, tmp_path: Path
) -> None:
    """In one process, at a drawn moment near a share of the changes: among the media, early and after the first commit,
    which comes after 5 s, or within a commit.
    """
    moment = near(share, reference.changes[folder])
    dataset = bench.listed(tmp_path / "dataset")
    died = start(*bench.fetch(dataset), "--workers", "0", moment=(dataset, folder, moment, tmp_path / "counts"))
    assert end(died)[0] == -signal.SIGKILL
    assert committed <= len(fetched(dataset)) < VIDEOS
    go_on(bench, reference, dataset, "--workers", "0")


@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["driver", "group"])
def test_fetch_is_killed_from_outside(
    kill: Callable[[int, int], None], bench: Bench, reference: Reference, tmp_path: Path
) -> None:
    """With Ray's workers under way, after a drawn number of requests: the driver alone, or everything."""
    dataset = bench.listed(tmp_path / "dataset")
    asked = len(bench.mirror.requests)
    wanted = int(np.random.default_rng([SEED, kill is os.kill]).integers(3, VIDEOS))
    process = start(*bench.fetch(dataset))
    until = time.monotonic() + LIMIT_S
    while len(bench.mirror.requests) < asked + wanted and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert process.poll() is None, f"fetch ended before the kill: {process.communicate()[1]}"
    kill(process.pid, signal.SIGKILL)
    process.wait(timeout=LIMIT_S)
    assert len(fetched(dataset)) < VIDEOS
    go_on(bench, reference, dataset)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_pack_dies_before_a_write(share: float, reference: Reference, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(reference.dataset, dataset, ignore=shutil.ignore_patterns("shards", "locks"))
    moment = near(share, reference.changes["shards"])
    died = start(*pack(dataset), moment=(dataset, "shards", moment, tmp_path / "counts"))
    assert end(died)[0] == -signal.SIGKILL
    left = {path.name: path.stat().st_mtime_ns for path in (dataset / "shards" / "train").glob("0*.tar")}
    assert not (dataset / "shards" / "train" / "index.json").exists()
    run(*pack(dataset))
    assert shards(dataset) == shards(reference.dataset)
    kept = {name for name, at_ns in left.items() if (dataset / "shards" / "train" / name).stat().st_mtime_ns == at_ns}
    assert len(left) - len(kept) <= 1, "a shard that was finished was packed again"
