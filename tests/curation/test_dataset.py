"""Parts are whole or absent, views show the latest, and newer datasets are refused."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.dataset import Dataset
from curation.duplicates.chromaprint import Print
from curation.errors import DatasetError
from curation.schema import CLIPS
from curation.tables import TEMPORARY, part_files, remove_leftovers, rows_to_table, write_bytes


def clip(n: int) -> dict[str, object]:
    return {"clip_id": f"c{n}", "video_key": "v", "start_ms": n, "duration_ms": 1000, "origin": "segment"}


def test_the_same_row_in_two_parts_is_one_row(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "d")
    dataset.append("clips", [clip(1), clip(2)])
    dataset.append("clips", [clip(2), clip(3)])
    assert dataset.sql("SELECT clip_id FROM clips ORDER BY 1")["clip_id"].to_pylist() == ["c1", "c2", "c3"]


def test_a_file_that_is_still_being_written_is_not_read(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "d")
    (dataset.path / "clips" / f"{TEMPORARY}abc-part-1.parquet").write_bytes(b"PAR1 half")
    assert dataset.sql("SELECT * FROM clips").num_rows == 0
    assert remove_leftovers(dataset.path, older_than_s=-1) == 1
    assert len(part_files(dataset.path / "clips")) == 1


def test_an_older_part_without_a_newer_column_opens(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "d")
    old = rows_to_table([clip(1)], CLIPS).drop_columns(["prev_clip_id"])
    pq.write_table(old, dataset.path / "clips" / "part-00000000000000000001-old.parquet")
    dataset.append("clips", [clip(2)])
    rows = dataset.sql("SELECT clip_id, prev_clip_id FROM clips ORDER BY 1").to_pylist()
    assert rows == [{"clip_id": "c1", "prev_clip_id": None}, {"clip_id": "c2", "prev_clip_id": None}]


def test_a_newer_dataset_is_refused(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "d")
    config = json.loads((dataset.path / "dataset.json").read_text())
    write_bytes(dataset.path / "dataset.json", json.dumps({**config, "schema_version": 99}).encode())
    with pytest.raises(DatasetError, match="99"):
        Dataset(dataset.path)


def test_a_query_of_a_stage_that_has_not_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"measure.*stages that have run: none"):
        Dataset.create(tmp_path / "d").sql("SELECT * FROM measure")


def test_an_unknown_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="colour"):
        Dataset.create(tmp_path / "d").append("clips", [{"clip_id": "a", "colour": "red"}])


def test_a_clip_that_a_list_names_and_that_is_a_segment_too_is_one_clip_with_what_both_say(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "dataset")
    span = {"clip_id": "c", "video_key": "v", "start_ms": 10, "duration_ms": 10}
    for rows in ([{**span, "origin": "list"}], [{**span, "origin": "segment", "prev_clip_id": "b"}]):
        dataset.append("clips", rows)
    dataset.append("annotations", [{"key": "c", "grain": "clip", "list": "one", "line": 1}])
    dataset.add_source({"list": "one", "rows": 1, "rejected": 0})
    assert dataset.sql("SELECT * FROM clips").to_pylist() == [{**span, "prev_clip_id": "b", "origin": "list"}]


def test_what_only_an_uncommitted_list_names_is_not_seen(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "dataset")
    dataset.append("annotations", [{"key": "c1", "grain": "clip", "list": "half", "line": 1}])
    dataset.append("videos", [{"video_key": "v", "platform": "youtube", "video_id": "v"}])
    dataset.append("clips", [{**clip(1), "origin": "list"}])
    counts = "SELECT (SELECT count(*) FROM clips) AS clips, (SELECT count(*) FROM videos) AS videos"
    assert dataset.sql(counts).to_pylist() == [{"clips": 0, "videos": 0}]
    dataset.add_source({"list": "half", "rows": 1, "rejected": 0})
    assert dataset.sql(counts).to_pylist() == [{"clips": 1, "videos": 1}]


def test_a_column_that_a_later_version_added_is_there_once_the_stage_runs_again(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "d")
    stage = Print(media=dataset.media)
    facts = dataset.facts(stage)
    facts.make_current(stage)
    schema_part = facts.folder / "part-0-schema.parquet"
    older = pq.read_schema(schema_part).names
    pq.write_table(pq.read_table(schema_part, columns=older[:-1]), schema_part)
    dataset.facts(stage).make_current(stage)
    assert pq.read_schema(schema_part).names == older
