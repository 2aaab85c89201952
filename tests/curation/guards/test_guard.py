"""A guard finds every clip that shares time with it, and nothing weakens it unnoticed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.guards import guard
from curation.guards.evaluation_lists import named
from curation.guards.guarded_sounds import GUARD_SOUNDS, sounds_path
from curation.lists.ingest import ingest
from curation.selections.selection import select
from curation.tables import write_parquet
from tests.curation.made import Made


@dataclass(frozen=True)
class Entry:
    platform: str
    video_id: str
    start_ms: int | None = None
    duration_ms: int | None = None
    url: str | None = None
    path: str | None = None


def test_overlaps_are_those_that_comparing_everything_finds(tmp_path: Path) -> None:
    made = Made(tmp_path)
    random = np.random.default_rng(5)
    clips = {}
    for video, start_ms, duration_ms in random.integers([0, 0, 1], [4, 40, 12], size=(40, 3)).tolist():
        clips[made.clip(f"v{video}", start_ms, duration_ms=duration_ms)] = (f"v{video}", start_ms, duration_ms)
    spans = [(f"v{v}", start, length) for v, start, length in random.integers([0, 0, 1], [4, 40, 9], (9, 3)).tolist()]
    spans += [("v1", None, None), ("v2", 39, None)]
    dataset = made.dataset()
    guard.add(dataset, "eval", [Entry("youtube", *span) for span in spans])
    expected = {
        (clip_id, start)
        for clip_id, (video, begin_ms, clip_ms) in clips.items()
        for name, start, length in spans
        if name == video and (length is None or max(begin_ms, start) < min(begin_ms + clip_ms, start + length))
    }
    found = guard.overlaps(dataset, ["eval"]).to_pylist()
    assert {(row["clip_id"], row["guard_start_ms"]) for row in found} == expected
    assert len(expected) > 10 and {clip_id for clip_id, _ in expected} < set(clips)
    assert guard.overlaps(dataset, []).num_rows == 0


def test_guards_fail_closed(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("v")
    dataset = made.dataset()
    with pytest.raises(ArgumentError, match=r"'eval' is not registered.*registered: none"):
        select(dataset, name="s", guards=["eval"])
    with pytest.raises(ArgumentError, match="no rows"):
        guard.add(dataset, "eval", [])
    guard.add(dataset, "eval", [Entry("youtube", "a"), Entry("youtube", "b", 0, 5)])
    assert guard.add(dataset, "eval", [Entry("youtube", "b", 0, 5), Entry("youtube", "a"), Entry("youtube", "a")]) == 2
    with pytest.raises(ArgumentError, match="other rows"):
        guard.add(dataset, "eval", [Entry("youtube", "a")])
    with pytest.raises(ArgumentError, match="split 'test' takes none"):
        select(dataset, name="s", split="test", guards=["eval"])
    guard.guard_path(dataset, "eval").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(DatasetError, match="damaged"):
        select(dataset, name="s", guards=["eval"])


ID = "dQw4w9WgXcQ"


def dataset_of(folder: Path, lines: list[str]) -> Dataset:
    """A dataset of clips of 10 s, from a table of addresses and paths."""
    media = folder / "media"
    media.mkdir()
    table = folder / "own.csv"
    table.write_text("\n".join(["video_id,url,path,start_s,duration_s", *lines]) + "\n")
    dataset = Dataset.open_or_create(folder / "dataset")
    ingest(dataset, "table", table, media_root=media)
    return dataset


def overlapping(dataset: Dataset, name: str) -> set[str]:
    """The video_id, address or path of the clips that a guard overlaps."""
    rows = dataset.sql(
        """SELECT coalesce(videos.url, videos.path, videos.video_id) AS source
        FROM found JOIN clips USING (clip_id) JOIN videos USING (video_key)""",
        found=guard.overlaps(dataset, [name]),
    )
    return set(rows["source"].to_pylist())


def test_one_video_under_several_names_is_one_video(tmp_path: Path) -> None:
    lines = [
        f"{ID},,,30,10",
        f",https://youtu.be/{ID},,30,10",
        f",https://www.youtube.com/watch?v={ID}&t=1,,90,10",
        f",,clips/Y{ID}.wav,0,10",
        f",https://example.org/{ID}.wav,,30,10",
        "AAAAAAAAAAA,,,30,10",
    ]
    dataset = dataset_of(tmp_path, lines)
    guard.add(dataset, "eval", [Entry("youtube", ID, 35_000, 10_000)])
    same = {ID, f"https://youtu.be/{ID}", f"clips/Y{ID}.wav"}
    assert overlapping(dataset, "eval") == same
    guard.add(dataset, "whole", [Entry("url", "x", url=f"https://youtube.com/embed/{ID}")])
    assert overlapping(dataset, "whole") == {*same, f"https://www.youtube.com/watch?v={ID}&t=1"}


def test_a_list_of_file_names_guards_files_of_that_name(tmp_path: Path) -> None:
    lines = [
        ",,deep/SANTA motor.flac,0,10",
        ",https://example.org/a/Santa%20Motor.mp3?x=1.ogg,,0,10",
        ",,Santa Motor 2.wav,0,10",
    ]
    dataset = dataset_of(tmp_path, lines)
    rows = [named(1, "Santa Motor.wav"), named(2, f"Y{ID}.wav")]
    guard.add(dataset, "clotho", rows)
    assert overlapping(dataset, "clotho") == {
        "deep/SANTA motor.flac",
        "https://example.org/a/Santa%20Motor.mp3?x=1.ogg",
    }
    spans = guard.read(dataset, ["clotho"]).to_pylist()
    assert {row["file_name"] for row in spans} == {"santa motor", f"y{ID}".lower()}
    assert ("youtube", ID) in {(row["platform"], row["video_id"]) for row in spans}


def test_a_span_of_a_file_guards_that_span_of_a_file_of_that_name(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [",,a/long.wav,0,10", ",,b/long.wav,9.999,10", ",,long.wav,20,10"])
    guard.add(dataset, "eval", [Entry("file", "x", 0, 10_000, path="c/Long.flac")])
    assert overlapping(dataset, "eval") == {"a/long.wav", "b/long.wav"}


def test_a_guard_from_before_file_names_is_read(tmp_path: Path) -> None:
    made = Made(tmp_path)
    clip = made.clip("v")
    dataset = made.dataset()
    guard.add(dataset, "eval", [Entry("youtube", "v", 0, 5)])
    path = guard.guard_path(dataset, "eval")
    pq.write_table(pq.read_table(path).drop_columns(["file_name"]), path)
    assert guard.overlaps(dataset, ["eval"])["clip_id"].to_pylist() == [clip]


def test_the_hash_of_a_guard_is_of_its_spans_and_sounds(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("v")
    dataset = made.dataset()
    guard.add(dataset, "eval", [Entry("youtube", "v", 0, 5)])
    before = guard.guard_sha256(dataset, "eval")
    write_parquet(sounds_path(dataset, "eval"), GUARD_SOUNDS.empty_table())
    assert guard.guard_sha256(dataset, "eval") != before
    with pytest.raises(ArgumentError, match="'other' is not registered"):
        guard.guard_sha256(dataset, "other")
