"""`kill -9` at any moment of fetch, measure and pack, then the same command again: nothing lost, nothing done twice."""

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
from dying import LIMIT_S, live

from curation.dataset import Dataset
from curation.keys import file_sha256
from curation.status import status
from curation.tables import TEMPORARY
from pipelines.quickstart.corpus import HEADER, write_corpus
from pipelines.quickstart.mirror import Fault, Mirror
from pipelines.quickstart.world import CLIP_S, World, make_world

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

SEED = 9
VIDEOS = 4
DEAD = "dead-video1"
CLIPS_PER_SHARD = 2
MOMENTS = {"fetch": 8, "measure": 6, "pack": 6}
"""Verb -> how many times it is killed: 20 in all."""

ANSWER_AFTER_S = 0.05
"""A mirror slow enough that a kill from outside meets `fetch` at work."""

TIMES = {"seconds", "finished_at"}
"""Columns in which a run differs from its repetition."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The mirror, its list, and the commands that work on them."""

    mirror: Mirror
    list_file: Path

    def words(self, verb: str, dataset: Path) -> list[str]:
        if verb == "fetch":
            return ["fetch", str(dataset), "--from", f"{self.mirror.url}/{{video_id}}.mp4", "--workers", "0"]
        if verb == "measure":
            return ["measure", str(dataset), "--workers", "0"]
        return ["pack", str(dataset), "--clips-per-shard", str(CLIPS_PER_SHARD)]

    def asked_since(self, count: int) -> set[str]:
        return {request.path.strip("/").removesuffix(".mp4") for request in self.mirror.requests[count:]}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Four good videos, and one that is not there."""
    folder = tmp_path_factory.mktemp("mirror")
    good = tuple(clip for clip in make_world(SEED).good if clip.split == "train")[:VIDEOS]
    write_corpus(World(seed=SEED, clips=good), folder)
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for clip in good:
            labels, captions = json.dumps([clip.label]), json.dumps(list(clip.captions))
            writer.writerow([clip.video_id, clip.start_s, CLIP_S, labels, captions, clip.split])
        writer.writerow([DEAD, 0, CLIP_S, "[]", "[]", "train"])
    slow = {f"/{clip.video_id}.mp4": Fault(delay_s=ANSWER_AFTER_S) for clip in good}
    with Mirror(folder, faults=slow) as mirror:
        yield Bench(mirror, folder / "list.csv")


@dataclass(frozen=True, slots=True)
class Reference:
    """A dataset that was never killed: as it was before each verb, and how many changes of files each verb made."""

    before: dict[str, Path]
    changes: dict[str, int]
    done: Path


@pytest.fixture(scope="module")
def reference(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    dataset, said = folder / "dataset", folder / "said"
    live(["manifest", "table", str(bench.list_file), "--out", str(dataset)], dataset, said)
    before, changes = {}, {}
    for verb in MOMENTS:
        if verb == "pack":
            live(["select", str(dataset)], dataset, said)
        before[verb] = Path(shutil.copytree(dataset, folder / verb))
        made = live(bench.words(verb, dataset), dataset, said)
        assert made is not None
        changes[verb] = sum(made.values())
    return Reference(before, changes, dataset)


def facts(dataset: Path) -> dict[str, list[dict[str, object]]]:
    """Latest facts of every stage, without the times."""
    opened = Dataset(dataset)
    rows = {stage: opened.sql(f'SELECT * FROM "{stage}" ORDER BY key, input').to_pylist() for stage in opened.stages()}
    return {
        stage: [{name: value for name, value in row.items() if name not in TIMES} for row in of]
        for stage, of in rows.items()
    }


def committed(dataset: Path, stage: str) -> Counter[str]:
    """Keys of all rows of a stage, as they lie on the disk."""
    opened = Dataset(dataset)
    parts = [str(file) for folder in opened.current_facts(stage).values() for file in folder.glob("part-*.parquet")]
    return Counter(opened.sql(f"SELECT key FROM read_parquet({parts!r})")["key"].to_pylist()) if parts else Counter()


def shards(dataset: Path) -> dict[str, str]:
    """Name and sum of every file of the generation."""
    folder = dataset / "shards" / "train"
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def check_sums(dataset: Path) -> None:
    """`done + set aside + pending == requested`, and nothing beside; whatever is named by its content has it."""
    for stage, counts in status(Dataset(dataset)).items():
        assert counts.done + sum(counts.set_aside.values()) + counts.pending == counts.requested, stage
        assert stage == "segment" or counts.requested == (VIDEOS if stage in ("measure",) else VIDEOS + 1), stage
    for file in (dataset / "media").rglob("*.*"):
        assert file.name.startswith(TEMPORARY) or file_sha256(file) == file.stem


def media(dataset: Path) -> set[str]:
    return {file.name for file in (dataset / "media").rglob("*.*") if not file.name.startswith(TEMPORARY)}


def test_the_reference_is_whole(reference: Reference) -> None:
    counts = status(Dataset(reference.done))
    assert counts["cut"].as_dict() == {
        "requested": VIDEOS + 1,
        "done": VIDEOS,
        "set_aside": {"NOT_FOUND": 1},
        "pending": 0,
    }
    check_sums(reference.done)
    names = [f"{number:06d}" for number in range(VIDEOS // CLIPS_PER_SHARD)]
    assert {f"{name}.tar" for name in names} <= set(shards(reference.done))
    assert min(reference.changes.values()) > max(MOMENTS.values())


def moments() -> list[tuple[str, float]]:
    """20 drawn moments, as shares of all the changes that a verb makes."""
    rng = np.random.default_rng(SEED)
    return [(verb, float(share)) for verb, times in MOMENTS.items() for share in sorted(rng.random(times))]


@pytest.mark.parametrize(("verb", "share"), moments(), ids=[f"{verb}-{share:.3f}" for verb, share in moments()])
def test_a_kill_loses_nothing_and_nothing_is_repeated(
    verb: str, share: float, bench: Bench, reference: Reference, tmp_path: Path
) -> None:
    dataset = Path(shutil.copytree(reference.before[verb], tmp_path / "dataset"))
    last = 1 + int(share * reference.changes[verb])
    assert live(bench.words(verb, dataset), dataset, tmp_path / "said", last=last) is None
    check_sums(dataset)
    before = {stage: committed(dataset, stage) for stage in ("fetch", "measure")}
    left = {path.name: path.stat().st_mtime_ns for path in (dataset / "shards").glob("train/0*.tar")}
    asked = len(bench.mirror.requests)

    live(bench.words(verb, dataset), dataset, tmp_path / "said")
    check_sums(dataset)
    ids = Dataset(dataset).sql("SELECT video_key, video_id FROM videos").to_pylist()
    had = {row["video_id"] for row in ids if row["video_key"] in before["fetch"]}
    assert bench.asked_since(asked).isdisjoint(had), "what was committed was fetched again"
    for stage, keys in before.items():
        now = committed(dataset, stage)
        assert {key: now[key] for key in keys} == keys, f"{stage} repeated what was committed"
    kept = {name for name, at_ns in left.items() if (dataset / f"shards/train/{name}").stat().st_mtime_ns == at_ns}
    assert len(left) - len(kept) <= 1, "a shard that was finished was packed again"

    if verb == "pack":
        assert shards(dataset) == shards(reference.done)
    else:
        after = reference.before["measure" if verb == "fetch" else "pack"]
        assert facts(dataset) == facts(after)
        assert media(dataset) == media(after)


def start(*words: str) -> subprocess.Popen[str]:
    """Begin a verb in a process group of its own."""
    command = [sys.executable, "-m", "pipelines.main", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **quiet)


@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["driver", "group"])
def test_fetch_is_killed_from_outside(
    kill: Callable[[int, int], None], bench: Bench, reference: Reference, tmp_path: Path
) -> None:
    """With Ray's workers under way, after a drawn number of requests: the driver alone, or everything."""
    dataset = Path(shutil.copytree(reference.before["fetch"], tmp_path / "dataset"))
    asked = len(bench.mirror.requests)
    wanted = int(np.random.default_rng([SEED, kill is os.kill]).integers(3, VIDEOS))
    process = start(*bench.words("fetch", dataset)[:-2])
    until = time.monotonic() + LIMIT_S
    while len(bench.mirror.requests) < asked + wanted and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert process.poll() is None, f"fetch ended before the kill: {process.communicate()[1]}"
    kill(process.pid, signal.SIGKILL)
    process.wait(timeout=LIMIT_S)
    check_sums(dataset)
    assert committed(dataset, "fetch").total() < VIDEOS + 1
    live(bench.words("fetch", dataset), dataset, tmp_path / "said")
    check_sums(dataset)
    assert facts(dataset) == facts(reference.before["measure"])
