"""Results of queries that may not fit into memory, written as Parquet batch by batch."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.tables import publish, temporary_beside

ROW_GROUP_ROWS = 131_072
"""Rows of a row group. Source: ours; fixed, so that the same rows give the same bytes."""


def write_query(
    connection: duckdb.DuckDBPyConnection, query: str, path: Path, schema: pa.Schema, *, count_by: str
) -> dict[str | None, int]:
    """Write the result of a query as one Parquet file, in one step and with bounded memory.

    Args:
        connection: Where the query is run.
        query: Its order decides the bytes, so it must leave no two rows equal.
        path: The file.
        schema: Its columns; the query's are cast to it.
        count_by: A column whose values are counted on the way.

    Returns:
        Value of that column -> number of rows.
    """
    counts: Counter[str | None] = Counter()
    temporary = temporary_beside(path)
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for rows in _groups(connection.sql(query).to_arrow_reader(ROW_GROUP_ROWS)):
                whole = rows.select(schema.names).cast(schema)
                for value in pc.value_counts(whole[count_by].combine_chunks()).to_pylist():
                    counts[value["values"]] += value["counts"]
                writer.write_table(whole, row_group_size=ROW_GROUP_ROWS)
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return dict(counts)


def _groups(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """The rows in tables of exactly `ROW_GROUP_ROWS`, the last one shorter, however they come."""
    waiting = batches.schema.empty_table()
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
        while waiting.num_rows >= ROW_GROUP_ROWS:
            yield waiting.slice(0, ROW_GROUP_ROWS).combine_chunks()
            waiting = waiting.slice(ROW_GROUP_ROWS)
    if waiting.num_rows:
        yield waiting.combine_chunks()
