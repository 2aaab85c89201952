"""A disk that fills up stops every verb with a clear message; nothing is half-written, and with room it goes on."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from small_disk import NO_NAMESPACE

from curation.keys import file_sha256
from curation.tables import TEMPORARY
from pipelines.quickstart.corpus import HEADER, write_corpus
from pipelines.quickstart.mirror import Mirror
from pipelines.quickstart.world import CLIP_S, World, make_world

pytestmark = pytest.mark.slow

SMALL_DISK = Path(__file__).with_name("small_disk.py")
SEED, VIDEOS = 9, 5
PLENTY = 1 << 30


class Disk:
    """A small disk at a folder, and a command line that runs where it is mounted."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder, self._scratch = folder, scratch
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([sys.executable, str(SMALL_DISK), str(folder)], **pipes)
        if self._process.poll() == NO_NAMESPACE or not self._ask(room=PLENTY).get("done"):
            pytest.skip("this system allows no mount namespace")

    def _ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return {}
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        return answer

    def room(self, free_bytes: int) -> None:
        assert self._ask(room=free_bytes)["done"]

    def run(self, *words: str) -> dict[str, Any]:
        return self._ask(words=list(words), scratch=str(self._scratch))

    def works(self, *words: str) -> str:
        answer = self.run(*words)
        assert answer["code"] == 0, answer
        return str(answer["printed"])

    def is_full(self, *words: str) -> None:
        """The command stops with a sentence."""
        answer = self.run(*words)
        assert answer["code"] == 1 and "Traceback" not in answer["said"], answer
        said = answer["said"].lower()
        assert "is full" in said or "no space left" in said, answer

    def counts(self, dataset: Path) -> dict[str, dict[str, Any]]:
        """What `status` says, and that its sums hold."""
        printed: dict[str, dict[str, Any]] = json.loads(self.works("status", str(dataset), "--json"))
        stages = {name: of for name, of in printed.items() if "requested" in of}
        for stage, of in stages.items():
            assert of["done"] + sum(of["set_aside"].values()) + of["pending"] == of["requested"], (stage, of)
        return stages

    def files(self, folder: Path) -> list[Path]:
        """What lies on the disk, as seen from here."""
        return [path for path in Path(f"/proc/{self._process.pid}/root{folder}").rglob("*") if path.is_file()]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=30)


@dataclass(frozen=True, slots=True)
class Served:
    """A mirror that is up, and the list of its videos."""

    url: str
    list_file: Path


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("mirror")
    good = tuple(clip for clip in make_world(SEED).good if clip.split == "train")[:VIDEOS]
    write_corpus(World(seed=SEED, clips=good), folder)
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows([clip.video_id, clip.start_s, CLIP_S, '["x"]', "[]", "train"] for clip in good)
    with Mirror(folder) as serving:
        yield Served(serving.url, folder / "list.csv")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk below `tmp_path`, the temporary files elsewhere."""
    for name in ("disk", "scratch"):
        (tmp_path / name).mkdir()
    made = Disk(tmp_path / "disk", tmp_path / "scratch")
    yield made
    made.close()


def listed(disk: Disk, mirror: Served, dataset: Path) -> list[str]:
    """Make a dataset of the mirror's list, and give the command that fetches it."""
    disk.works("manifest", "table", str(mirror.list_file), "--out", str(dataset))
    return ["fetch", str(dataset), "--from", f"{mirror.url}/{{video_id}}.mp4", "--workers", "0"]


def whole_media(disk: Disk, dataset: Path) -> int:
    """How many media there are; each is what its name says."""
    found = [file for file in disk.files(dataset / "media") if not file.name.startswith(TEMPORARY)]
    assert all(file_sha256(file) == file.stem for file in found)
    return len(found)


def test_every_verb_stops_and_goes_on(disk: Disk, mirror: Served) -> None:
    dataset = disk.folder / "dataset"
    fetch = listed(disk, mirror, dataset)
    for room in (0, 100_000, 300_000):
        disk.room(room)
        disk.is_full(*fetch)
        assert whole_media(disk, dataset) < 2 * VIDEOS
        if room:
            of = disk.counts(dataset)["fetch"]
            assert (of["requested"], of["set_aside"]) == (VIDEOS, {}) and of["pending"] > 0
    disk.room(PLENTY)
    disk.works(*fetch)
    assert disk.counts(dataset)["cut"] == {"requested": VIDEOS, "done": VIDEOS, "set_aside": {}, "pending": 0}
    assert whole_media(disk, dataset) == 2 * VIDEOS

    measure, pack = ["measure", str(dataset), "--workers", "0"], ["pack", str(dataset), "--clips-per-shard", "2"]
    disk.room(24_000)
    disk.is_full(*measure)
    disk.room(PLENTY)
    disk.works(*measure)
    assert disk.counts(dataset)["measure"]["done"] == VIDEOS

    disk.works("select", str(dataset))
    disk.room(400_000)
    disk.is_full(*pack)
    assert [file for file in disk.files(dataset / "shards") if file.name == "index.json"] == []
    disk.room(PLENTY)
    disk.works(*pack)
    disk.works("verify", str(dataset))


def test_a_full_disk_of_temporary_files_sets_nothing_aside(tmp_path: Path, mirror: Served) -> None:
    """The dataset's disk has room, the one that videos come to has not."""
    (tmp_path / "scratch").mkdir()
    disk = Disk(tmp_path / "scratch", tmp_path / "scratch")
    dataset = tmp_path / "dataset"
    fetch = listed(disk, mirror, dataset)
    for room in (20_000, 60_000):  # with nothing at all Python takes another folder for temporary files
        disk.room(room)
        disk.is_full(*fetch)
    assert disk.counts(dataset)["fetch"] == {"requested": VIDEOS, "done": 0, "set_aside": {}, "pending": VIDEOS}
    disk.room(PLENTY)
    disk.works(*fetch)
    assert disk.counts(dataset)["cut"]["done"] == VIDEOS
    disk.close()
