"""A query's rows become one file with the same bytes however they come, or none."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import streaming
from curation.streaming import write_query

SCHEMA = pa.schema([pa.field("n", pa.int64(), metadata={"meaning": "a number"}), pa.field("kind", pa.string())])
QUERY = "SELECT i AS n, CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' END AS kind FROM range({count}) AS t(i) ORDER BY i"


def write(path: Path, count: int, threads: int = 2) -> dict[str | None, int]:
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = {threads}")
        return write_query(connection, QUERY.format(count=count), path, SCHEMA, count_by="kind")


def test_rows_are_written_in_groups_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "ROW_GROUP_ROWS", 1000)
    assert write(tmp_path / "a.parquet", 7500) == {"a": 2500, "b": 2500, None: 2500}
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [1000] * 7 + [500]
    assert file.schema_arrow.field("n").metadata == {b"meaning": b"a number"}
    assert pq.read_table(tmp_path / "a.parquet")["n"].to_pylist() == list(range(7500))


def test_threads_and_batches_change_no_byte(tmp_path: Path) -> None:
    for threads in (1, 4):
        write(tmp_path / f"{threads}.parquet", 300_000, threads)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "4.parquet").read_bytes()


def test_no_rows_are_a_file_without_rows(tmp_path: Path) -> None:
    assert write(tmp_path / "a.parquet", 0) == {}
    assert pq.read_table(tmp_path / "a.parquet").schema.names == SCHEMA.names


def test_a_query_that_fails_on_the_way_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write(path, 3)
    before = path.read_bytes()
    query = "SELECT i AS n, CASE WHEN i < 400000 THEN 'a' ELSE error('made') END AS kind FROM range(500000) AS t(i)"
    with duckdb.connect() as connection, pytest.raises((duckdb.Error, pa.ArrowException, OSError)):
        write_query(connection, query, path, SCHEMA, count_by="kind")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]
