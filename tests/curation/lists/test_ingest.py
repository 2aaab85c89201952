import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import keys
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.lists import ingest as module
from curation.lists.ingest import ingest, list_name
from curation.schema import TABLES
from curation.status import status
from curation.tables import part_files
from curation.takedowns.deny import deny

Write = Callable[[str, str | bytes], Path]
VGGSOUND = "aaaaaaaaaaa,1,dog,train\naaaaaaaaaaa,20,cat,train\nbad row\nbbbbbbbbbbb,0,dog,test\n"
AUDIOCAPS = (
    "audiocap_id,youtube_id,start_time,caption\n1,aaaaaaaaaaa,1,A dog\n2,aaaaaaaaaaa,1,Barking\n3,ccccccccccc,5,Rain\n"
)


def content_of(dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    return {name: dataset.sql(f"SELECT * FROM {name} ORDER BY ALL").to_pylist() for name in TABLES}


def test_the_same_clip_in_two_lists_is_one_clip_with_two_annotations(dataset: Dataset, write: Write) -> None:
    first = ingest(dataset, "vggsound", write("vggsound.csv", VGGSOUND))
    second = ingest(dataset, "audiocaps", write("test.csv", AUDIOCAPS), split="test")
    assert (first.list, first.rows, first.accepted, first.rejected, first.new_videos, first.new_clips) == (
        "vggsound", 4, 3, 1, 2, 3
    )  # fmt: skip
    assert (second.list, second.accepted, second.new_videos, second.new_clips) == ("audiocaps-test", 3, 1, 1)
    clip = keys.clip_id("youtube", "aaaaaaaaaaa", 1_000, 10_000)
    found = dataset.sql(
        "SELECT list, line, split, labels, captions FROM annotations WHERE key = ? ORDER BY ALL", [clip]
    )
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("audiocaps-test", 2, "test", [], ["A dog"]),
        ("audiocaps-test", 3, "test", [], ["Barking"]),
        ("vggsound", 1, "train", ["dog"], []),
    ]
    content = content_of(dataset)
    assert len(content["clips"]) == 4
    assert {row["origin"] for row in content["clips"]} == {"list"}
    assert [row["video_id"] for row in content["videos"]] != []
    assert [(row["list"], row["line"], row["text"]) for row in content["rejects"]] == [("vggsound", 3, "bad row")]


def test_the_source_records_what_was_read(dataset: Dataset, write: Write) -> None:
    file = write("vggsound.csv", VGGSOUND)
    ingest(dataset, "vggsound", file)
    (source,) = Dataset(dataset.path).config["sources"]
    assert source["sha256"] == keys.file_sha256(file)
    assert (source["list"], source["kind"], source["file"]) == ("vggsound", "vggsound", "vggsound.csv")
    assert (source["rows"], source["accepted"], source["rejected"]) == (4, 3, 1)
    assert "CC BY 4.0" in source["licence"]


def test_the_order_of_lists_changes_no_table(tmp_path: Path, write: Write) -> None:
    lists = [
        ("vggsound", write("vggsound.csv", VGGSOUND), {}),
        ("audiocaps", write("test.csv", AUDIOCAPS), {"split": "test"}),
        ("v2m", write("V2M.txt", "aaaaaaaaaaa\nddddddddddd\n"), {}),
        ("table", write("own.csv", "video_id\naaaaaaaaaaa\nccccccccccc\n"), {}),
    ]
    contents = []
    for number, order in enumerate([lists, lists[::-1]]):
        dataset = Dataset.create(tmp_path / f"dataset{number}")
        for kind, file, options in order:
            ingest(dataset, kind, file, **options)
        contents.append(content_of(dataset))
    assert contents[0] == contents[1]
    assert {row["video_id"]: row["segment_ms"] for row in contents[0]["videos"]} == {
        "aaaaaaaaaaa": 10_000,
        "bbbbbbbbbbb": None,
        "ccccccccccc": 0,
        "ddddddddddd": 10_000,
    }


def test_ingesting_again_changes_nothing(dataset: Dataset, write: Write) -> None:
    file = write("vggsound.csv", VGGSOUND)
    ingest(dataset, "vggsound", file)
    before, config = content_of(dataset), dataset.config
    again = ingest(dataset, "vggsound", file)
    assert again.already
    assert (again.rows, again.accepted, again.rejected, again.new_clips) == (4, 3, 1, 0)
    assert "nothing to do" in str(again)
    assert content_of(dataset) == before
    assert dataset.config == config


def test_another_list_needs_another_name(dataset: Dataset, write: Write) -> None:
    ingest(dataset, "vggsound", write("vggsound.csv", VGGSOUND))
    other = write("vggsound.csv", VGGSOUND + "ccccccccccc,3,dog,test\n")
    with pytest.raises(ArgumentError, match="--name"):
        ingest(dataset, "vggsound", other)
    assert ingest(dataset, "vggsound", other, name="vggsound-2").new_clips == 1


def test_another_split_of_the_same_file_is_another_list(dataset: Dataset, write: Write) -> None:
    file = write("test.csv", AUDIOCAPS)
    ingest(dataset, "audiocaps", file, split="test")
    with pytest.raises(ArgumentError, match="split test, now train"):
        ingest(dataset, "audiocaps", file, split="train")


def test_paths_below_two_roots_are_not_mixed_up(dataset: Dataset, tmp_path: Path, write: Write) -> None:
    ingest(dataset, "table", write("one.csv", "path\na.wav\n"))
    (tmp_path / "other").mkdir()
    before = content_of(dataset)
    with pytest.raises(ArgumentError, match=r"'a\.wav' below .*other"):
        ingest(dataset, "table", write("two.csv", "path\na.wav\n"), media_root=tmp_path / "other")
    assert content_of(dataset) == before
    assert before["videos"][0]["root"] == str(tmp_path / "lists")
    assert ingest(dataset, "table", write("two.csv", "path\na.wav\nb.wav\n")).new_videos == 1


def test_a_list_that_breaks_off_leaves_nothing(dataset: Dataset, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    before = content_of(dataset)
    file = write("vggsound.csv", VGGSOUND.encode() + b"ccccccccccc,3,caf\xe9,test\n")
    with pytest.raises(ArgumentError, match=f"byte 0xE9 at offset {len(VGGSOUND) + 17}"):
        ingest(dataset, "vggsound", file)
    assert content_of(dataset) == before
    assert dataset.config["sources"] == []
    assert sorted(path.name for path in dataset.path.rglob("*.parquet")) == ["part-0-schema.parquet"] * len(TABLES)


KILLED = """
import os, sys
from curation.dataset import Dataset
from curation.lists import ingest as module
folder, file, table, part = sys.argv[1:]
module.BATCH_ROWS, append, parts = 2, Dataset.append, []

def append_and_die(self, name, rows):
    append(self, name, rows)
    parts.append(name)
    if parts.count(table) == int(part):
        os._exit(9)

Dataset.append = append_and_die
module.ingest(Dataset(folder), "vggsound", file)
"""
"""An ingest that dies right after it committed the given part of a table."""


@pytest.mark.parametrize(("table", "part"), [("annotations", "1"), ("rejects", "1"), ("videos", "1"), ("clips", "1")])
def test_a_killed_ingest_can_be_run_again(tmp_path: Path, write: Write, table: str, part: str) -> None:
    whole = Dataset.create(tmp_path / "whole")
    killed = Dataset.create(tmp_path / "killed")
    file = write("vggsound.csv", VGGSOUND)
    ingest(whole, "vggsound", file)
    checkout = Path(module.__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", KILLED, killed.path, file, table, part], cwd=checkout, check=False)
    assert ended.returncode == 9
    assert content_of(killed)["annotations"] == content_of(killed)["rejects"] == []
    report = ingest(killed, "vggsound", file)
    assert (report.accepted, report.rejected) == (3, 1)
    assert content_of(killed) == content_of(whole)


def test_what_was_left_of_another_file_of_that_name_is_gone(dataset: Dataset, write: Write) -> None:
    dataset.append("annotations", [{"key": "x", "grain": "clip", "list": "vggsound", "line": 99}])
    dataset.append("annotations", [{"key": "y", "grain": "clip", "list": "another", "line": 1}])
    ingest(dataset, "vggsound", write("vggsound.csv", VGGSOUND))
    dataset.add_source({"list": "another"})
    found = dataset.sql("SELECT list, line FROM annotations ORDER BY ALL").to_pylist()
    assert [tuple(row.values()) for row in found] == [("another", 1), ("vggsound", 1), ("vggsound", 2), ("vggsound", 4)]


def test_a_list_added_by_another_process_is_kept(dataset: Dataset, write: Write) -> None:
    other = Dataset(dataset.path)
    ingest(dataset, "vggsound", write("vggsound.csv", VGGSOUND))
    ingest(other, "v2m", write("v2m.txt", "aaaaaaaaaaa\n"))
    assert [source["list"] for source in Dataset(dataset.path).config["sources"]] == ["vggsound", "v2m"]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("vgg", {}, "kind 'vgg'"),
        ("vggsound", {"split": "test"}, "takes no split"),
        ("v2m", {"labels_file": "x"}, "takes no labels_file"),
        ("audiocaps", {"split": "dev"}, "split 'dev'"),
        ("table", {"media_root": "/nowhere/at/all"}, "not a folder"),
        ("vggsound", {"name": "../x"}, "list's name"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    dataset: Dataset, write: Write, kind: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        ingest(dataset, kind, write("list.csv", ""), **options)  # type: ignore[arg-type]


def test_a_file_that_is_not_there_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="not a file"):
        ingest(dataset, "vggsound", tmp_path / "missing.csv")


@pytest.mark.parametrize(("kind", "content"), [("vggsound", ""), ("v2m", "\n\n"), ("table", "video_id\n")])
def test_a_list_without_rows_is_refused(dataset: Dataset, write: Write, kind: str, content: str) -> None:
    with pytest.raises(ArgumentError, match="no rows"):
        ingest(dataset, kind, write("list.csv", content))
    assert dataset.config["sources"] == []


def test_names_of_lists() -> None:
    names = [("audiocaps", "test"), ("vggsound", "vggsound"), ("v2m", "V2M-bench"), ("table", "My_sounds")]
    assert [list_name(kind, Path(f"{stem}.csv")) for kind, stem in names] == [
        "audiocaps-test",
        "vggsound",
        "v2m-bench",
        "My_sounds",
    ]
    with pytest.raises(ArgumentError, match="'my list'"):
        list_name("table", Path("my list.csv"))


def test_rows_of_denied_videos_are_left_out_and_counted(dataset: Dataset, write: Write) -> None:
    key = keys.video_key("youtube", "aaaaaaaaaaa")
    deny(dataset.path, [{"platform": "youtube", "video_id": "aaaaaaaaaaa", "video_key": key}])
    report = ingest(dataset, "vggsound", write("vggsound.csv", VGGSOUND))
    assert (report.rows, report.accepted, report.rejected, report.denied, report.new_clips) == (4, 1, 1, 2, 1)
    assert "2 of denied videos left out" in str(report)
    other = ingest(dataset, "table", write("own.csv", "video_id\naaaaaaaaaaa\nccccccccccc\n"))
    assert (other.accepted, other.denied) == (1, 1)
    parts = [pq.read_table(part) for part in (dataset.path / "videos").glob("part-*.parquet")]
    assert "aaaaaaaaaaa" not in pa.concat_tables(parts)["video_id"].to_pylist()
    counted = status(dataset)["manifest"]
    assert counted.as_dict() == {
        "requested": 6, "done": 2, "set_aside": {"DENIED": 3, "MALFORMED": 1}, "pending": 0
    }  # fmt: skip
    assert ingest(dataset, "vggsound", write("vggsound.csv", VGGSOUND)).denied == 2


def test_many_parts_are_compacted_after_an_ingest(
    dataset: Dataset, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curation.compact.MAX_LOOSE_PARTS", 2)
    for number, letter in enumerate("abc"):
        ingest(dataset, "vggsound", write(f"vggsound{number}.csv", f"{letter * 11},1,dog,train\n"))
    assert [len(part_files(dataset.path / name)) for name in ("annotations", "clips", "videos")] == [2, 2, 2]
    assert dataset.sql("SELECT count(*) AS n FROM clips")["n"].to_pylist() == [3]
