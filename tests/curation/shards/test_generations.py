"""A later generation copies nothing that did not change, and is what its parent and its selection say."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.keys import video_key
from curation.selections.selection import SELECTION, read_rows, select
from curation.shards.generation import GenerationIndex, ShardInfo, generations
from curation.shards.pack import pack
from curation.shards.plan import cut_rows, plan_generation
from curation.shards.reader import Shards
from curation.shards.verify import verify
from curation.storage import Root
from curation.tables import rows_to_table, write_parquet
from curation.takedowns.deny import deny
from tests.curation.made import Made


def made_dataset(folder: Path, name: str = "dataset", *, said: str = "said") -> Dataset:
    made = Made(folder)
    for n in range(12):
        made.clip(f"v{n}", picture=n == 3, loudness_lufs=-20.0 - n, said=[{"captions": [f"{said} {n}"]}])
    return made.dataset(name)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def keys_of(dataset: Dataset, selection: str) -> list[str]:
    return sorted(read_rows(dataset, selection, kept_only=True)["clip_id"].to_pylist())


def test_any_number_of_workers_gives_the_same_bytes_and_the_parent_is_left_alone(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    select(dataset, name="few", where="loudness_lufs > -28.5")
    select(dataset, name="all")
    found = []
    for workers in (1, 2, 5):
        first = pack(dataset, "few", generation="first", clips_per_shard=2, workers=workers)
        before = contents(first.folder)
        child = pack(dataset, "all", generation="second", parent="first", workers=workers)
        assert contents(first.folder) == before and child.taken_over == 5
        assert sorted(Shards.open(child.folder).keys) == keys_of(dataset, "all")
        assert not verify(child.folder, workers=workers).problems
        found.append((before, contents(child.folder)))
        shutil.rmtree(dataset.path / "shards")
    assert found[0] == found[1] == found[2]


def test_of_nine_clips_in_fours_three_more_make_one_new_shard(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    select(dataset, name="few", where="loudness_lufs > -28.5")
    select(dataset, name="all")
    pack(dataset, "few", generation="first", clips_per_shard=4)
    child = pack(dataset, "all", generation="second", parent="first")
    assert [(s.name, s.clips) for s in child.index.shards] == [
        ("../first/000000", 4),
        ("../first/000001", 4),
        ("../first/000002", 1),
        ("000003", 3),
    ]
    assert sorted(contents(child.folder)) == ["000003.arrow", "000003.tar", "index.json"]
    grandchild = pack(dataset, "all", generation="third", parent="second")
    assert [s.name for s in grandchild.index.shards][2:] == ["../first/000002", "../second/000003"]
    assert list(contents(grandchild.folder)) == ["index.json"]
    everything = {Shards.open(grandchild.folder).key(n): Shards.open(grandchild.folder).read(n) for n in range(12)}
    flat = pack(dataset, "all", generation="flat", clips_per_shard=12)
    assert everything == {Shards.open(flat.folder).key(n): Shards.open(flat.folder).read(n) for n in range(12)}
    assert generations(dataset.root("shards")).keys() == {"first", "second", "third", "flat"}


def test_a_shard_that_lost_or_changed_a_clip_is_written_anew_and_an_empty_one_goes(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    select(dataset, name="all")
    pack(dataset, "all", generation="first", clips_per_shard=4)
    keys = keys_of(dataset, "all")
    lost = ", ".join(f"'{key}'" for key in [*keys[:4], keys[5]])
    select(dataset, name="less", where=f"clips.clip_id NOT IN ({lost})")
    child = pack(dataset, "less", generation="second", parent="first")
    assert [(s.name, s.clips) for s in child.index.shards] == [("000000", 3), ("../first/000002", 4)]
    assert sorted(Shards.open(child.folder).keys) == keys_of(dataset, "less")
    said = f"SELECT clip_id, 'other' AS text, 'x' AS source FROM clips WHERE clip_id = '{keys[9]}'"
    select(
        dataset, name="said", captions_sql=said + " UNION ALL SELECT key, captions[1], 'human:listed' FROM annotations"
    )
    told = pack(dataset, "said", generation="third", parent="first")
    assert [s.name for s in told.index.shards] == ["../first/000000", "../first/000001", "000002"]
    captions = {Shards.open(told.folder).key(n): Shards.open(told.folder).about(n)["captions"] for n in range(12)}
    assert "other" in captions[keys[9]]
    assert not verify(child.folder).problems and not verify(told.folder).problems


def test_every_column_of_the_json_changes_the_hash(tmp_path: Path) -> None:
    row = {
        "clip_id": "a", "kept": True, "platform": "youtube", "video_id": "v", "start_ms": 0, "duration_ms": 1,
        "prev_clip_id": None, "split": "train", "labels": ["l"], "captions": ["c"], "caption_sources": ["s"],
        "lists": ["x"], "url": None, "licence": None, "original_sha256": "o", "audio_sha256": "f",
        "video_sha256": None, "sample_rate_hz": 1,
    }  # fmt: skip
    changed = {
        "platform": "file", "video_id": "w", "start_ms": 1, "duration_ms": 2, "prev_clip_id": "p", "split": "val",
        "labels": ["l", ""], "captions": [], "caption_sources": None, "lists": ["y"], "url": "u", "licence": "",
        "original_sha256": None, "audio_sha256": "g", "video_sha256": "h", "sample_rate_hz": 2, "transcript": "t",
    }  # fmt: skip
    rows = [row, *({**row, "clip_id": f"b{n:02d}", name: value} for n, (name, value) in enumerate(changed.items()))]
    same = [{**row, "clip_id": "c", "reason": "WHERE", "refused_by": "x"}]
    assert hashes(tmp_path, [*rows, *same])["a"] == hashes(tmp_path, same)["c"]
    assert len(set(hashes(tmp_path, rows).values())) == len(rows) == 18


def hashes(folder: Path, rows: Sequence[dict[str, object]]) -> dict[str, int]:
    known = set(SELECTION.names)
    write_parquet(
        folder / "s.parquet", rows_to_table([{k: v for k, v in r.items() if k in known} for r in rows], SELECTION)
    )
    with plan_generation(folder / "s.parquet", clips_per_shard=100, shards=Root.of(folder / "shards")) as plan:
        ((_, table),) = plan.written()
    return dict(zip(table["clip_id"].to_pylist(), table["row_hash"].to_pylist(), strict=True))


def test_a_selection_that_is_not_sorted_is_refused(tmp_path: Path) -> None:
    for keys in (["b", "a", "c"], ["a", "b", "b"], ["c", "d", "a"]):
        rows = [{"clip_id": key, "kept": True} for key in keys]
        write_parquet(tmp_path / "s.parquet", rows_to_table(rows, SELECTION))
        with (
            plan_generation(tmp_path / "s.parquet", clips_per_shard=2, shards=Root.of(tmp_path / "shards")) as plan,
            pytest.raises(DatasetError, match="not sorted by clip_id"),
        ):
            list(plan.written())


def test_rows_are_cut_where_asked(tmp_path: Path) -> None:
    batches = [pa.record_batch({"n": list(range(begin, begin + 3))}) for begin in (0, 3, 6)]
    assert [table["n"].to_pylist() for table in cut_rows(batches, [2, 5, 2])] == [[0, 1], [2, 3, 4, 5, 6], [7, 8]]
    for counts in ([2, 5], [2, 5, 3]):
        with pytest.raises(DatasetError, match="rows than a moment ago"):
            list(cut_rows(batches, counts))


def test_what_cannot_be_extended_is_named(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    select(dataset, name="s")
    with pytest.raises(ArgumentError, match="no generation 'first'"):
        pack(dataset, "s", parent="first")
    with pytest.raises(ArgumentError, match="cannot extend itself"):
        pack(dataset, "s", parent="s")
    with pytest.raises(ArgumentError, match="not 0"):
        pack(dataset, "s", workers=0)
    for name in ("../../x/000000", "/000000", "x", "../a/b/000000", "000000/../x"):
        with pytest.raises(ValueError, match="no name of a shard"):
            ShardInfo(name=name, clips=1, tar_bytes=1, arrow_bytes=1, arrow_sha256="")


def test_a_flipped_bit_in_the_parent_is_found_from_the_child(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    select(dataset, name="s")
    pack(dataset, "s", generation="first", clips_per_shard=4)
    child = pack(dataset, "s", generation="second", parent="first")
    tar = dataset.path / "shards" / "first" / "000001.tar"
    content = bytearray(tar.read_bytes())
    content[700] ^= 4
    tar.write_bytes(content)
    assert {problem.file for problem in verify(child.folder, workers=2).problems} == {"../first/000001.tar"}


def test_a_denied_clip_is_a_problem_and_is_not_packed(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    select(dataset, name="s")
    folder = pack(dataset, "s").folder
    problems = verify(folder, denied={("youtube", "v3")}).problems
    assert [problem.what for problem in problems] == ["its video was taken down; run `foundsound forget` again"]
    shutil.rmtree(folder)
    deny(dataset.path, [{"platform": "youtube", "video_id": "v3", "video_key": video_key("youtube", "v3")}])
    with pytest.raises(DatasetError, match="1 clips of videos that were taken down"):
        pack(dataset, "s")


def test_an_index_of_the_first_version_is_still_read(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path)
    select(dataset, name="s")
    folder = pack(dataset, "s").folder
    index = GenerationIndex.read(folder)
    tar_sha256 = hashlib.sha256((folder / "000000.tar").read_bytes()).hexdigest()
    old = replace(index, shards=(replace(index.shards[0], members_sha256=None, tar_sha256=tar_sha256),))
    (folder / "index.json").write_bytes(old.to_bytes())
    assert b"members_sha256" not in old.to_bytes() and GenerationIndex.read(folder) == old
    assert not verify(folder).problems
