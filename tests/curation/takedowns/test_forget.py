"""After a takedown nothing of the video is left, everything else is, and a kill on the way changes nothing of that."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.blobs import BlobReader, BlobRef, BlobWriter
from curation.dataset import Dataset
from curation.errors import ArgumentError, LockedError
from curation.keys import clip_id, video_key
from curation.lists.ingest import ingest
from curation.lock import writer_lock
from curation.schema import column, table
from curation.selections.selection import read_report, read_rows, select
from curation.shards.generation import GenerationIndex
from curation.shards.pack import pack
from curation.shards.reader import Shards
from curation.shards.verify import verify
from curation.stage import Stage
from curation.tables import write_parquet
from curation.takedowns.deny import denied, denied_ids
from curation.takedowns.forget import forget
from tests.curation.made import Made, MadeFetch, write_facts

CLIPS = 10
WIDTH = 5

FORGET = """if True:
    import os, signal, sys
    from curation.dataset import Dataset
    from curation.takedowns.forget import forget
    dataset, last, seen = Dataset(sys.argv[1]), int(sys.argv[2]), 0
    def count(event, arguments):
        global seen
        path = str(arguments[0]) if arguments else ""
        if event in ("open", "os.rename", "os.remove") and sys.argv[1] in path and "/locks/" not in path:
            seen += 1
            if seen == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    forget(dataset, ["v3", "UC-of-six"])
    print(seen)
"""
"""Forgets, and kills itself at the n-th file that it opens, renames or deletes inside the dataset."""

HOLD = """if True:
    import pathlib, sys
    from curation.lock import only_writer
    with only_writer(pathlib.Path(sys.argv[1]), "x"):
        print("held", flush=True)
        input()
"""


class Fetched(MadeFetch):
    VERSION = 2
    RESULTS: ClassVar[pa.Schema] = table(
        "",
        column("licence", pa.string(), ""),
        column("channel_id", pa.string(), ""),
        column("original_sha256", pa.string(), ""),
        column("original_suffix", pa.string(), ""),
    )


class Embedded(Stage):
    NAME, VERSION, GRAIN = "embed", 1, "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "",
        column("blob", pa.string(), ""),
        column("offset_bytes", pa.int64(), ""),
        column("windows", pa.int32(), ""),
        column("dimension", pa.int32(), ""),
    )

    def requests(self) -> str:
        return "SELECT key, audio_sha256 AS input FROM cut"


def vector(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(2, WIDTH)).astype(np.float16)


def key(n: int) -> str:
    return clip_id("youtube", f"v{n}", 0, 10_000)


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Dataset:
    """A copy of the whole dataset, to forget something of."""
    shutil.copytree(whole, tmp_path / "dataset")
    return Dataset(tmp_path / "dataset")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten videos with a clip each; v3 and v4 sound the same, v6 and v7 are of one channel; two generations."""
    made = Made(tmp_path_factory.mktemp("made"))
    for n in range(CLIPS):
        made.clip(f"v{n}", sound=3 if n == 4 else n, picture=n == 6, loudness_lufs=-20.0 - n)
    dataset = made.dataset()
    originals, fetched, embedded = dataset.folder("originals"), [], []
    for n in range(CLIPS):
        sha256 = hashlib.sha256(b"%d" % n).hexdigest()
        (originals / sha256[:2]).mkdir(parents=True, exist_ok=True)
        (originals / sha256[:2] / f"{sha256}.mkv").write_bytes(b"%d" % n)
        values = {"channel_id": "UC-of-six" if n in (6, 7) else f"UC{n}", "original_sha256": sha256}
        fetched.append((video_key("youtube", f"v{n}"), "done", {**values, "original_suffix": ".mkv"}, "x"))
    for blob in range(2):
        with BlobWriter(dataset.root("vectors")) as writer:
            for n in range(5 * blob, 5 * blob + 5):
                place = writer.append(vector(n))
                spot = {"blob": place.blob, "offset_bytes": place.offset_bytes, "windows": 2, "dimension": WIDTH}
                embedded.append((key(n), "done", spot, "x"))
            writer.append(np.ones(100, np.float16))  # of a batch that was never committed
    write_facts(dataset, Embedded(), embedded)
    select(dataset, name="few", where="loudness_lufs > -27.5")
    select(dataset, name="all")
    pack(dataset, "few", generation="first", clips_per_shard=3)
    pack(dataset, "all", generation="second", parent="first")
    write_facts(dataset, Fetched(), fetched)  # only now: selected are clips of the original that `fetch` has
    (dataset.folder("shards") / "unfinished").mkdir()
    (dataset.folder("shards") / "unfinished" / "000000.tar").write_bytes(b"x")
    (dataset.folder("indexes") / "all").mkdir(parents=True)
    write_parquet(dataset.folder("indexes") / "all" / "rows.parquet", pa.table({"clip_id": [key(3)]}))
    (dataset.folder("indexes") / "other").mkdir()
    write_parquet(dataset.folder("indexes") / "other" / "rows.parquet", pa.table({"clip_id": [key(1)]}))
    dataset.folder("reports").mkdir()
    (dataset.folder("reports") / "report.html").write_text("sounds")
    (dataset.folder("runs") / "clap").mkdir(parents=True)
    return dataset.path


def files(dataset: Dataset) -> dict[str, str]:
    """Content of every file but locks, and the deny list, which has the time in it."""
    return {
        str(path.relative_to(dataset.path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(dataset.path.rglob("*"))
        if path.is_file() and path.relative_to(dataset.path).parts[0] not in ("locks", "deny")
    }


def everything(dataset: Dataset) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(dataset.path.rglob("*")) if path.is_file())


def sound(dataset: Dataset, n: int) -> Path:
    (row,) = dataset.sql("SELECT audio_sha256 FROM cut WHERE key = ?", [key(n)]).to_pylist()
    return dataset.media.path(row["audio_sha256"], ".flac")


def test_nothing_of_a_forgotten_video_is_left_and_the_rest_is_as_it_was(dataset: Dataset) -> None:
    media = {n: sound(dataset, n) for n in range(CLIPS)}
    lost = media[6].read_bytes()
    shards = dataset.root("shards")
    before = {name: Shards.open(shards / name).keys for name in ("first", "second")}
    contents = {k: Shards.open(shards / "second").read(n, ("flac", "mp4")) for n, k in enumerate(before["second"])}
    gone = {key(n) for n in (3, 6, 7)}
    done = forget(dataset, ["v3", "UC-of-six"], reason="asked by the owner")

    assert done.videos == (("youtube", "v3"), ("youtube", "v6"), ("youtube", "v7")) and done.channels == ("UC-of-six",)
    assert not media[6].exists() and not media[7].exists() and media[3].exists()  # v4 has the same sound as v3
    left = everything(dataset)
    assert lost not in left and vector(6).tobytes() not in left and vector(3).tobytes() not in left
    for name in ("videos", "clips", "annotations", "fetch", "cut", "measure", "embed"):
        column = {"videos": "video_key", "clips": "clip_id"}.get(name, "key")
        found = set(dataset.sql(f'SELECT {column} AS key FROM "{name}"')["key"].to_pylist())
        assert len(found) == CLIPS - 3 and not found & (gone | {video_key("youtube", f"v{n}") for n in (3, 6, 7)})
    assert len(list(dataset.folder("originals").rglob("*.mkv"))) == CLIPS - 3
    assert not (dataset.folder("indexes") / "all").exists() and (dataset.folder("indexes") / "other").exists()
    assert not list(dataset.folder("reports").iterdir()) and any("index" in line for line in done.again)
    assert any("clap" in note for note in done.notes)

    for name in ("first", "second"):
        opened = Shards.open(shards / name)
        assert (
            set(opened.keys) == set(before[name]) - gone
            and not verify(shards / name, denied=denied_ids(dataset.path)).problems
        )
        assert opened.index.forgotten_clips == len(set(before[name]) & gone)
    opened = Shards.open(shards / "second")
    assert {opened.key(n): opened.read(n, ("flac", "mp4")) for n in range(len(opened))} == {
        k: content for k, content in contents.items() if k not in gone
    }
    for name in ("few", "all"):
        report = read_report(dataset, name)
        rows = read_rows(dataset, name)
        assert report.clips == rows.num_rows == CLIPS - 3 and report.kept_clips == sum(rows["kept"].to_pylist())
        assert report.kept_clips + sum(report.refused.values()) == report.clips
    assert pack(dataset, "few", generation="first", clips_per_shard=3).existed
    assert pack(dataset, "all", generation="second", parent="first").existed
    assert pack(dataset, "all", generation="third", parent="second").taken_over == len(opened.index.shards)


def test_vectors_of_others_are_untouched_and_what_no_row_names_is_zero(dataset: Dataset) -> None:
    forget(dataset, ["v3", "UC-of-six"])
    reader = BlobReader(dataset.root("vectors"))
    rows = {row["key"]: row for row in dataset.sql("SELECT * FROM embed").to_pylist()}
    for n in set(range(CLIPS)) - {3, 6, 7}:
        row = rows[key(n)]
        ref = BlobRef(blob=row["blob"], offset_bytes=row["offset_bytes"], shape=(2, WIDTH), dtype="<f2")
        np.testing.assert_array_equal(reader.read(ref), vector(n))
    kept = sum(np.count_nonzero(vector(n).view(np.uint8)) for n in set(range(CLIPS)) - {3, 6, 7})
    found = b"".join(path.read_bytes() for path in dataset.folder("vectors").glob("*.bin"))
    assert np.count_nonzero(np.frombuffer(found, np.uint8)) == kept


def test_the_deny_list_is_obeyed_by_views_and_kept_for_channels(dataset: Dataset) -> None:
    row = pq.read_table(sorted((dataset.path / "videos").glob("part-*"))[-1]).filter(
        pa.compute.field("video_id") == "v3"
    )
    forget(dataset, ["v3", "UC-of-six", "never_seen1", "UC" + 22 * "x"])
    dataset.append("videos", row.to_pylist())  # as a list does that was read by an older version
    assert "v3" not in dataset.sql("SELECT video_id FROM videos")["video_id"].to_pylist()
    found = denied(dataset.path)
    assert found.channel_ids == {"UC-of-six", "UC" + 22 * "x"}
    assert found.video_keys == {video_key("youtube", name) for name in ("v3", "v6", "v7", "never_seen1")}
    assert found.refuses(video_key("youtube", "v3")) and found.refuses("other", "UC-of-six")
    assert not found.refuses(video_key("youtube", "v1"), "UC1") and not found.refuses("other", None)


def test_what_came_of_a_denied_channel_since_goes_with_the_next_call(dataset: Dataset) -> None:
    forget(dataset, ["UC-of-six"])
    values = {"channel_id": "UC-of-six", "original_sha256": "x", "original_suffix": ".mkv"}
    write_facts(dataset, Fetched(), [(video_key("youtube", "v8"), "done", values, "y")])
    done = forget(dataset, [])
    assert done.videos == (("youtube", "v8"),) and not done.channels and done.touched
    assert "v8" not in dataset.sql("SELECT video_id FROM videos")["video_id"].to_pylist()
    assert not forget(dataset, []).touched


def test_a_dry_run_changes_nothing_and_names_what_a_run_touches(dataset: Dataset) -> None:
    before = files(dataset)
    said = forget(dataset, ["v3", "UC-of-six"], dry_run=True)
    assert files(dataset) == before and not denied(dataset.path).video_keys
    assert not (dataset.path / "deny").exists()
    done = forget(dataset, ["v3", "UC-of-six"])
    named = {one.place for one in done.touched}
    assert {one.place for one in said.touched} <= named
    changed = {name for name, content in before.items() if files(dataset).get(name) != content}
    unnamed = {name for name in changed if not any(str(dataset.path / name).startswith(place) for place in named)}
    assert {Path(name).suffix for name in unnamed} <= {".json"}  # the descriptions beside selections
    kinds = {one.kind for one in said.touched}
    assert kinds == {"media", "arrays", "selection", "shard", "generation", "index", "rows", "report"}


def test_forgetting_twice_is_forgetting_once(dataset: Dataset) -> None:
    forget(dataset, ["v3"])
    before = files(dataset)
    again = forget(dataset, ["v3"])
    assert files(dataset) == before and not again.touched
    forget(dataset, ["v3"])
    assert len(pa.concat_tables([pq.read_table(part) for part in (dataset.path / "deny").glob("*")])) == 1
    assert not forget(dataset, []).touched


def test_a_whole_generation_may_be_forgotten(dataset: Dataset) -> None:
    forget(dataset, [f"v{n}" for n in range(CLIPS)])
    for name in ("first", "second"):
        assert len(Shards.open(dataset.root("shards") / name)) == 0
        assert not verify(dataset.root("shards") / name).problems
    assert not list(dataset.folder("media").rglob("*.flac")) and not list(dataset.folder("vectors").rglob("*.bin"))


@pytest.mark.slow
def test_a_kill_anywhere_and_the_same_command_give_the_same_dataset(dataset: Dataset, tmp_path: Path) -> None:
    def run(name: str, last: int) -> subprocess.CompletedProcess[str]:
        shutil.copytree(dataset.path, tmp_path / name)
        command = [sys.executable, "-c", FORGET, str(tmp_path / name), str(last)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole = run("whole", -1)
    steps = int(whole.stdout)
    expected = files(Dataset(tmp_path / "whole"))
    assert steps > 60
    for last in range(3, steps, max(1, steps // 12)):
        name = f"killed-{last}"
        assert run(name, last).returncode == -signal.SIGKILL, last
        killed = Dataset(tmp_path / name)
        for generation in ("first", "second"):
            index = GenerationIndex.read(killed.root("shards") / generation)
            assert len(Shards.open(killed.root("shards") / generation).keys) == index.clips
        forget(killed, ["v3", "UC-of-six"])
        assert files(killed) == expected, last
        shutil.rmtree(killed.path)


def test_running_writers_and_empty_names_are_refused(dataset: Dataset) -> None:
    before = files(dataset)
    (facts,) = (dataset.path / "facts" / "embed").glob("*/")
    with (
        writer_lock(dataset.folder("locks") / f"embed-{facts.name}.lock", "embed"),
        pytest.raises(LockedError, match="embed"),
    ):
        forget(dataset, ["v3"])
    for begun in ("pack-new", "index-new", "duplicates-new", "select-few"):  # of things that are not there yet, too
        with writer_lock(dataset.folder("locks") / f"{begun}.lock", begun), pytest.raises(LockedError, match=begun):
            forget(dataset, ["v3"])
    with pytest.raises(ArgumentError, match="empty name"):
        forget(dataset, [" "])
    assert files(dataset) == before and not list(dataset.folder("locks").glob("[!r]*.lock"))


def test_nothing_begins_to_write_while_something_is_taken_down(dataset: Dataset) -> None:
    """Another process holds what `forget` holds; this one would select, pack, read a list, or forget."""
    program = [sys.executable, "-c", HOLD, str(dataset.folder("locks"))]
    table = dataset.path.parent / "more.csv"
    table.write_text("video_id\naaaaaaaaaaa\n")
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        for begin in (
            lambda: select(dataset, name="all"),
            lambda: pack(dataset, "all", generation="third"),
            lambda: ingest(dataset, "table", table),
            lambda: forget(dataset, ["v3"]),
        ):
            with pytest.raises(LockedError):
                begin()
        holder.communicate("\n")
    assert ingest(dataset, "table", table).accepted == 1


def test_a_selection_that_was_being_written_stays_unreadable(dataset: Dataset) -> None:
    described = dataset.folder("selections") / "few.json"
    fields: dict[str, Any] = json.loads(described.read_text())
    described.write_text(json.dumps({**fields, "sha256": "of other rows"}))
    forget(dataset, ["v3"])
    assert json.loads(described.read_text())["sha256"] == "of other rows"
    assert read_report(dataset, "all").clips == CLIPS - 1
