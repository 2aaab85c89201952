"""Compaction changes no answer: whatever lies in which parts, whatever it was killed at, whoever reads meanwhile."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import compact as module
from curation import tables
from curation.compact import compact, compact_if_many, compaction_lock
from curation.dataset import Dataset
from curation.errors import LockedError
from curation.status import status
from curation.tables import REPLACES, SETTLED, SEVERAL, part_files, table_parts
from curation.takedowns.deny import deny
from tests.curation.made import MadeCut, MadeFetch

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FETCH, CUT = MadeFetch(), MadeCut()


def answers(dataset: Dataset) -> dict[str, Any]:
    """All that readers see of a dataset."""
    dataset = Dataset(dataset.path)
    seen: dict[str, Any] = {
        name: dataset.sql(f'SELECT * FROM "{name}" ORDER BY ALL').to_pylist()
        for name in ("annotations", "rejects", "clips", "videos", "fetch", "cut")
    }
    seen["pending"] = [dataset.pending(stage).to_pylist() for stage in (FETCH, CUT)]
    seen["status"] = {name: counts.as_dict() for name, counts in status(dataset).items()}
    return seen


def add_random_part(dataset: Dataset, draw: np.random.Generator) -> None:
    """A part of a random table: keys meet others, rows lie twice, lists may not be committed, attempts repeat."""
    table = draw.choice(["annotations", "rejects", "clips", "videos", "fetch", "cut"])
    keys = [f"k{n}" for n in draw.integers(0, 12, size=draw.integers(1, 6))]
    listed = str(draw.choice(["one", "two", "half"]))
    lines = draw.integers(1, 4, size=len(keys)).tolist()
    if table == "annotations":
        rows = [
            {"key": key, "grain": "clip", "list": listed, "line": line, "labels": [f"{key} {listed} {line}"]}
            for key, line in zip(keys, lines, strict=True)
        ]
        dataset.append("annotations", rows)
    elif table == "rejects":
        dataset.append("rejects", [{"list": listed, "line": line, "reason": f"{listed} {line}"} for line in lines])
    elif table == "clips":
        origin = str(draw.choice(["list", "segment"]))
        span = {"start_ms": 0, "duration_ms": 10, "origin": origin}
        before = "k" if origin == "segment" else None
        dataset.append(
            "clips", [{"clip_id": k, "video_key": f"v{k[1:]}", **span, "prev_clip_id": before} for k in keys]
        )
    elif table == "videos":
        asked = draw.choice([None, 0, 10_000])
        rows = [{"video_key": f"v{k[1:]}", "platform": "youtube", "video_id": k, "segment_ms": asked} for k in keys]
        dataset.append("videos", rows)
    else:
        add_fact(dataset, str(table), keys, draw)


def add_fact(dataset: Dataset, stage: str, keys: list[str], draw: np.random.Generator) -> None:
    codes = [None, "REMOVED", "NETWORK"]
    facts = dataset.facts(FETCH if stage == "fetch" else CUT)
    rows = [
        {
            "key": f"v{key[1:]}" if stage == "fetch" else key,
            "input": f"v{key[1:]}" if draw.random() < 0.7 else "other",
            "code": codes[draw.integers(3)],
            "attempt": int(draw.integers(0, 4)),
            "finished_at": NOW
            + timedelta(seconds=int(draw.integers(1000)), microseconds=int(draw.integers(1_000_000))),
        }
        for key in keys
    ]
    facts.append(rows)
    if draw.random() < 0.3:  # a kill between two commits leaves rows twice
        facts.append(rows)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = Dataset.create(tmp_path / "dataset")
    for stage in (FETCH, CUT):
        made.facts(stage).make_current(stage)
    for name in ("one", "two"):
        made.add_source({"list": name, "rows": 3, "rejected": 0})
    return made


def fill(dataset: Dataset, seed: int, parts: int = 40) -> np.random.Generator:
    draw = np.random.default_rng(seed)
    for _ in range(parts):
        add_random_part(dataset, draw)
    return draw


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_no_answer_changes_however_often_and_between_which_parts(dataset: Dataset, seed: int) -> None:
    draw = fill(dataset, seed)
    for _ in range(2):
        before = answers(dataset)
        assert list(compact(dataset))
        assert answers(dataset) == before
        for _ in range(8):
            add_random_part(dataset, draw)
    before = answers(dataset)
    dataset.add_source({"list": "half", "rows": 3, "rejected": 0})
    deny(dataset.path, [{"platform": "youtube", "video_id": "k1", "video_key": "v1", "denied_at": NOW}])
    seen = answers(dataset)
    assert seen != before
    list(compact(dataset))
    assert answers(dataset) == seen


class Killed(BaseException):
    """Stands for `kill -9` in a process that goes on."""


@pytest.mark.parametrize(
    ("step", "every"),
    [
        ("publish", 5),
        ("delete", 13),
        *(pytest.param(*given, marks=pytest.mark.slow) for given in (("publish", 1), ("delete", 3))),
    ],
)
def test_a_kill_at_any_write_or_deletion_changes_no_answer(
    dataset: Dataset, step: str, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(dataset, seed=9)
    before = answers(dataset)
    real: dict[str, Callable[..., Any]] = {"publish": module.publish, "delete": Path.unlink}
    for after in count(1, every):
        calls = count()

        def die(*given: Any, limit: int = after, calls: Any = calls, **options: Any) -> Any:
            is_part = step == "publish" or given[0].name.startswith("part-")
            if is_part and next(calls) >= limit:
                raise Killed
            return real[step](*given, **options)

        with monkeypatch.context() as patched:
            place, name = (module, "publish") if step == "publish" else (Path, "unlink")
            patched.setattr(place, name, die)
            try:
                list(compact(dataset))
            except Killed:
                assert answers(dataset) == before
                continue
        break
    assert after > 1
    assert answers(dataset) == before
    assert len(table_parts(dataset.path / "clips").loose) <= 2


def test_of_a_compacted_table_one_part_is_read_and_no_row_is_lost(dataset: Dataset) -> None:
    for n in range(60):
        dataset.append("clips", [{"clip_id": f"c{n % 20:02}", "video_key": "v", "start_ms": 0, "origin": "segment"}])
    (done,) = compact(dataset)
    assert (done.table, done.parts_before, done.parts_after, done.rows, done.deleted) == ("clips", 60, 1, 20, 60)
    (settled, schema) = part_files(dataset.path / "clips")
    assert SETTLED in settled.name
    assert pq.read_table(settled)["clip_id"].to_pylist() == [f"c{n:02}" for n in range(20)]
    assert len(list((dataset.path / "clips").iterdir())) == 2
    assert schema.name == "part-0-schema.parquet"
    assert list(compact(dataset)) == []


def test_every_attempt_is_kept(dataset: Dataset) -> None:
    facts = dataset.facts(FETCH)
    for attempt in (1, 2, 3):
        facts.append([{"key": "v", "input": "v", "code": "NETWORK", "attempt": attempt, "finished_at": NOW}])
    list(compact(dataset))
    rows = pa.concat_tables(pq.read_table(part) for part in part_files(facts.folder) if pq.read_metadata(part).num_rows)
    assert sorted(rows["attempt"].to_pylist()) == [1, 2, 3]
    assert rows.schema.equals(facts.schema)


def test_the_meanings_and_types_of_columns_stay(dataset: Dataset) -> None:
    for n in range(2):
        dataset.append("annotations", [{"key": f"k{n}", "grain": "clip", "list": "one", "line": n, "labels": ["a"]}])
    list(compact(dataset))
    settled = pq.read_schema(part_files(dataset.path / "annotations")[0])
    assert settled.equals(pq.read_schema(dataset.path / "annotations" / "part-0-schema.parquet"))
    assert settled.field("labels").metadata[b"meaning"] == b"class names"
    assert REPLACES in settled.metadata


def test_parts_of_a_list_that_is_not_committed_are_left_to_its_ingest(dataset: Dataset) -> None:
    for n in range(3):
        dataset.append("annotations", [{"key": f"k{n}", "grain": "clip", "list": "half", "line": n}])
        dataset.append("annotations", [{"key": f"k{n}", "grain": "clip", "list": "one", "line": n}])
    (done,) = compact(dataset)
    assert (done.parts_before, done.rows) == (3, 3)
    lists = [pq.read_table(part)["list"].unique().to_pylist() for part in part_files(dataset.path / "annotations")]
    assert sorted(lists) == [[], ["half"], ["half"], ["half"], ["one"]]


def test_while_a_reader_holds_the_dataset_nothing_is_deleted(dataset: Dataset) -> None:
    for n in range(5):
        dataset.append("clips", [{"clip_id": f"c{n}", "video_key": "v", "origin": "segment"}])
    with dataset.connect() as connection:
        (done,) = compact(dataset)
        assert (done.parts_after, done.deleted) == (1, 0)
        assert connection.sql("SELECT count(*) FROM clips").fetchall() == [(5,)]
        del connection
    assert len(table_parts(dataset.path / "clips").replaced) == 5
    (done,) = compact(dataset)
    assert (done.rows, done.deleted) == (0, 5)
    with dataset.reading():
        assert list(compact(dataset)) == []


def test_without_locks_a_query_whose_parts_vanish_is_begun_anew(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curation.dataset.shared_lock", lambda file: None)
    for n in range(5):
        dataset.append("clips", [{"clip_id": f"c{n}", "video_key": "v", "origin": "segment"}])
    connect, calls = Dataset.connect, count()

    def connect_and_compact(self: Dataset, query: str | None = None) -> Any:
        connection = connect(self, query)
        if query is not None and "count(*)" in query and next(calls) == 0:
            list(compact(Dataset(self.path)))
        return connection

    monkeypatch.setattr(Dataset, "connect", connect_and_compact)
    assert dataset.sql("SELECT count(*) AS n FROM clips")["n"].to_pylist() == [5]
    assert next(calls) == 2


def test_readers_and_writers_go_on_while_tables_are_compacted(dataset: Dataset) -> None:
    def append(worker: int) -> None:
        for n in range(60):
            Dataset(dataset.path).append("clips", [{"clip_id": f"{worker}-{n}", "video_key": "v", "origin": "segment"}])

    def read() -> list[int]:
        query = "SELECT count(*) AS n FROM clips"
        return [Dataset(dataset.path).sql(query)["n"][0].as_py() for _ in range(15)]

    with ThreadPoolExecutor() as threads:
        writers = [threads.submit(append, worker) for worker in range(2)]
        reader = threads.submit(read)
        while not all(writer.done() for writer in writers):
            list(compact(dataset))
        counts = reader.result()
        assert [writer.result() for writer in writers] == [None, None]
    assert counts == sorted(counts)
    assert dataset.sql("SELECT count(*) AS n FROM clips")["n"].to_pylist() == [120]


def test_only_many_parts_are_compacted_by_themselves(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LOOSE_PARTS", 4)
    for n in range(4):  # beside the part that holds the schema
        dataset.append("clips", [{"clip_id": f"c{n}", "video_key": "v", "origin": "segment"}])
    compact_if_many(dataset)
    assert len(part_files(dataset.path / "clips")) == 5
    dataset.append("clips", [{"clip_id": "c", "video_key": "v", "origin": "segment"}])
    with compaction_lock(dataset):
        compact_if_many(dataset)  # another process is at it
    assert len(part_files(dataset.path / "clips")) == 6
    compact_if_many(dataset)
    assert len(part_files(dataset.path / "clips")) == 2


def test_a_second_compaction_is_refused(dataset: Dataset) -> None:
    with compaction_lock(dataset), pytest.raises(LockedError, match="being written"):
        list(compact(dataset))


def test_leftovers_of_a_killed_compaction_are_no_parts(dataset: Dataset) -> None:
    (dataset.path / "clips" / f"{tables.TEMPORARY}0-part-1.parquet").write_bytes(b"PAR1")
    assert list(compact(dataset)) == []


def test_rows_of_keys_with_several_are_not_written_again_and_again(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOOSE_PARTS", 1)
    facts = dataset.facts(FETCH)
    rows = [{"key": f"v{n}", "input": "v", "code": "NETWORK", "attempt": 1, "finished_at": NOW} for n in range(50)]
    facts.append(rows)
    compact_if_many(dataset)  # a single part is left as it is
    assert len(table_parts(facts.folder).loose) == 2
    facts.append([{**row, "attempt": 2} for row in rows])
    compact_if_many(dataset)
    names = [part.name for part in part_files(facts.folder)]
    assert [SETTLED in name for name in names] == [True, False, False]
    assert sum(SEVERAL in name for name in names) == 1
    compact_if_many(dataset)  # all rows are of keys with several, and that is no reason to write them again
    assert [part.name for part in part_files(facts.folder)] == names
