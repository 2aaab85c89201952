"""Compaction: many small parts of a table become one settled part, and at most one more with what is not settled.

A run commits every few seconds, so a table of weeks has tens of thousands of parts, and each costs every query its
opening. The merged parts are written first, then the settled one, which names all parts that it replaces; from then on
nobody reads those. They are deleted when no reader holds the dataset, now or at the next compaction. A kill at any
moment leaves rows that lie twice at most, and every reader takes each once.

Appending goes on meanwhile: what comes after the listing stays a loose part. Parts of a list whose ingest is not
committed stay as they are, since an ingest that is begun anew deletes them.
"""

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curation.dataset import Dataset
from curation.errors import LockedError
from curation.lock import alone, readers_lock, writer_lock
from curation.schema import TABLES
from curation.tables import (
    REPLACES,
    SCHEMA_PART,
    SETTLED,
    SEVERAL,
    Parts,
    new_part,
    publish,
    remove_leftovers,
    sync_path,
    table_parts,
    temporary_beside,
)
from curation.views import FACT_RULE, TABLE_RULES, TableRule, parts_sql, quoted

MAX_LOOSE_PARTS = 256
"""A table with more loose parts is compacted by itself. Source: ours; a part every 5 s makes so many in 21 minutes,
they cost a query 30 ms (measured), and merging them into 6,000,000 rows takes some 10 s (measured)."""

ROW_GROUP_ROWS = 122_880
"""Rows of a row group. Source: DuckDB's own default; two threads scan 6,000,000 rows evenly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compaction:
    """What became of one table.

    Args:
        table: Its folder, relative to the dataset's.
        parts_before: Parts that were read for it.
        parts_after: Parts that are read for it now.
        rows: Rows written.
        deleted: Part files deleted; the others are when no reader holds them.
        seconds: Time it took, s.
    """

    table: str
    parts_before: int
    parts_after: int
    rows: int
    deleted: int
    seconds: float


def table_folders(dataset: Dataset) -> list[Path]:
    """The folders of parts of a dataset, tables before those whose views read them."""
    facts = sorted(file.parent for file in dataset.path.glob("facts/*/*/identity.json"))
    return [*(dataset.path / name for name in ("rejects", "annotations", "clips", "videos")), *facts]


def compact(dataset: Dataset) -> Iterator[Compaction]:
    """Compact every table that has several parts; one at a time, as the results are asked for.

    Args:
        dataset: The dataset; it may be read and appended to meanwhile.

    Yields:
        What was done to each such table.

    Raises:
        LockedError: Another process compacts this dataset, or removes rows from it.
    """
    with compaction_lock(dataset):
        for folder in table_folders(dataset):
            remove_leftovers(folder)
            begun = time.perf_counter()
            dataset.config = Dataset(dataset.path).config  # a list may have been committed meanwhile
            deleted = _delete_replaced(dataset, folder)
            parts = table_parts(folder)
            inputs = _inputs(dataset, folder) if _fresh(parts) else []
            is_more = len(inputs) > 1 and any(part in inputs for part in _fresh(parts))
            rows = _merge(dataset, folder, inputs) if is_more else None
            if rows is None and not deleted:
                continue
            deleted += _delete_replaced(dataset, folder)
            yield Compaction(
                table=folder.relative_to(dataset.path).as_posix(),
                parts_before=len(inputs),
                parts_after=len(_inputs(dataset, folder)),
                rows=rows or 0,
                deleted=deleted,
                seconds=time.perf_counter() - begun,
            )


def compact_if_many(dataset: Dataset) -> None:
    """Compact all tables when one has more than `MAX_LOOSE_PARTS`, unless another process is at it.

    All, since merging clips and videos asks for annotations, and costs least when those are merged. To find that there
    is nothing to do costs a listing of the folders; a run may do so after each commit.
    """
    if any(len(_fresh(table_parts(folder))) > MAX_LOOSE_PARTS for folder in table_folders(dataset)):
        with suppress(LockedError):
            for _ in compact(dataset):
                pass


def compaction_lock(dataset: Dataset) -> AbstractContextManager[None]:
    """The lock to hold while parts are replaced: of compaction, and of whoever else rewrites parts.

    Raises:
        LockedError: On entering, when another process holds it.
    """
    return writer_lock(dataset.path / "locks" / "compact.lock", f"the parts of {dataset.path}")


def _fresh(parts: Parts) -> list[Path]:
    """The parts that no compaction has seen."""
    return [part for part in parts.loose if part.name != SCHEMA_PART and SEVERAL not in part.name]


def _inputs(dataset: Dataset, folder: Path) -> list[Path]:
    """The parts that are read for a table and may be merged, those of uncommitted lists left out."""
    parts = table_parts(folder)
    found = [*([parts.settled] if parts.settled else []), *(part for part in parts.loose if part.name != SCHEMA_PART)]
    if not found or "list" not in TABLES.get(folder.name, pa.schema([])).names:
        return found
    lists = ", ".join(quoted(source["list"]) for source in dataset.config["sources"]) or "''"
    with dataset.connect("") as connection:
        rows = connection.sql(
            f"SELECT DISTINCT filename FROM read_parquet([{', '.join(quoted(str(part)) for part in found)}], "
            f"filename = true, union_by_name = true) WHERE list NOT IN ({lists})"
        ).fetchall()
    uncommitted = {name for (name,) in rows}
    return [part for part in found if str(part) not in uncommitted]


def _rule(folder: Path, dataset: Dataset) -> TableRule:
    return TABLE_RULES[folder.name] if folder.parent == dataset.path else FACT_RULE


def _merge(dataset: Dataset, folder: Path, inputs: list[Path]) -> int:
    """Write the parts `inputs` anew; the number of rows written."""
    rule = _rule(folder, dataset)
    lists = ", ".join(quoted(source["list"]) for source in dataset.config["sources"]) or "''"
    schema_part = folder / SCHEMA_PART
    rows = parts_sql([*inputs, *([schema_part] if schema_part.is_file() else [])])
    with dataset.connect(" ".join(rule.needs)) as connection:
        connection.execute("SET preserve_insertion_order = false")
        loose_rows = parts_sql([part for part in inputs if SETTLED not in part.name] or inputs)  # the settled were seen
        unseen = f"SELECT {rule.key} FROM {loose_rows} WHERE NOT coalesce({rule.seen.format(lists=lists)}, false)"
        several = f"SELECT {rule.key} FROM {rows} GROUP BY {rule.same} HAVING count(*) > 1"
        by_key = f"USING ({rule.key})"
        connection.execute(f"CREATE TEMP TABLE unseen AS {unseen}; CREATE TEMP TABLE several AS {several}")
        once = f"SELECT * FROM {rows} ANTI JOIN (FROM several UNION ALL FROM unseen) {by_key}"
        if rule.merges:
            loose = f"SELECT DISTINCT * FROM {rows} SEMI JOIN unseen {by_key}"
            merged = f"(SELECT * FROM {rows} SEMI JOIN several {by_key} ANTI JOIN unseen {by_key})"
            settled = f"({once}) UNION ALL BY NAME ({rule.one.format(rows=merged)})"
        else:
            loose, settled = f"SELECT DISTINCT * FROM {rows} SEMI JOIN several {by_key}", once
        schema = _schema(connection.sql(once).limit(0).to_arrow_table().schema, inputs, schema_part)
        written = _write(
            connection, f"{loose} ORDER BY {rule.key}", new_part(folder, SEVERAL), schema, keep_empty=False
        )
        names = json.dumps([part.name for part in inputs]).encode()
        described = schema.with_metadata({**(schema.metadata or {}), REPLACES: names})
        settled = f"SELECT * FROM ({settled}) ORDER BY {rule.key}"
        return written + _write(connection, settled, new_part(folder, SETTLED), described, keep_empty=True)


def _schema(found: pa.Schema, inputs: list[Path], schema_part: Path) -> pa.Schema:
    """The columns of a query with the types and meanings that they have in the parts."""
    known = pa.schema([])
    for part in (inputs[0], inputs[-1], schema_part):
        if part.is_file():
            schema = pq.read_schema(part)
            added = [field for field in schema if field.name not in known.names]
            known = pa.schema([*known, *added], metadata={**(known.metadata or {}), **(schema.metadata or {})})
    fields = [known.field(field.name) if field.name in known.names else field for field in found]
    metadata = {key: value for key, value in (known.metadata or {}).items() if key != REPLACES}
    return pa.schema(fields, metadata=metadata)


def _write(
    connection: duckdb.DuckDBPyConnection, query: str, path: Path, schema: pa.Schema, *, keep_empty: bool
) -> int:
    """Write the result of a query as one part, batch by batch; the number of rows."""
    temporary = temporary_beside(path)
    written = 0
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for batch in connection.sql(query).to_arrow_reader(ROW_GROUP_ROWS):
                writer.write_table(
                    pa.Table.from_batches([batch]).select(schema.names).cast(schema), row_group_size=ROW_GROUP_ROWS
                )
                written += batch.num_rows
        if written or keep_empty:
            publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return written


def _delete_replaced(dataset: Dataset, folder: Path) -> int:
    """Delete the parts whose rows are in others, if nobody reads the dataset now; how many."""
    replaced = table_parts(folder).replaced
    if not replaced:
        return 0
    with alone(readers_lock(dataset.path)) as held:
        if not held:
            return 0
        for part in replaced:
            part.unlink(missing_ok=True)
    sync_path(folder)
    return len(replaced)
