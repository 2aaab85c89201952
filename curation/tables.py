"""Part files: how rows reach the disk and never half of them.

A table is a folder of `part-*.parquet`. A part is written under a temporary name, synced, and renamed; a kill leaves
either the whole part or a temporary file that no reader looks at. `curation/compact.py` writes many small parts again
as one *settled* part, which names the parts that it replaces; what it holds, they need not be read for.
"""

import json
import os
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]

TEMPORARY = ".writing-"
"""Prefix of files that are not whole yet; readers skip it and `remove_leftovers` deletes it."""

SETTLED = "-settled-"
"""In the name of a part in which each key has all the rows that it had anywhere, and no row lies twice."""

SEVERAL = "-several-"
"""In the name of a part that compaction wrote of keys that have several rows, or rows that are not to be seen yet."""

REPLACES = b"foundsound.replaces"
"""Parquet metadata of a settled part: names of the parts whose rows are in it, or in the part written beside it."""

SCHEMA_PART = "part-0-schema.parquet"
"""A part without rows, which tells readers the columns of a table that has none yet."""

_LISTINGS = 5


def sync_path(path: Path) -> None:
    """Make a file's content, or the renames inside a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_beside(path: Path) -> Path:
    """A fresh temporary name in the folder of `path`, which is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:12]}-{path.name}")


def publish(temporary: Path, path: Path) -> None:
    """Sync a finished temporary file and rename it to `path`: the moment at which it begins to exist."""
    sync_path(temporary)
    temporary.replace(path)
    sync_path(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of `path` in one step."""
    temporary = temporary_beside(path)
    try:
        temporary.write_bytes(content)
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_parquet(path: Path, rows: pa.Table) -> None:
    """Write one Parquet file in one step."""
    temporary = temporary_beside(path)
    try:
        pq.write_table(rows, temporary, compression="zstd")
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def rows_to_table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of exactly this schema; a column that a row lacks is null, one that the schema lacks an error."""
    listed = list(rows)
    unknown = {name for row in listed for name in row} - set(schema.names)
    if unknown:
        raise ValueError(f"columns {sorted(unknown)} are not in the schema, which has {schema.names}")
    return pa.Table.from_pylist([dict(row) for row in listed], schema=schema)


def append_part(folder: Path, rows: pa.Table) -> Path | None:
    """Commit rows as one new part of the table in `folder`; nothing is written for no rows."""
    if rows.num_rows == 0:
        return None
    path = new_part(folder)
    write_parquet(path, rows)
    return path


def new_part(folder: Path, kind: str = "-") -> Path:
    """A name for a new part of a table; names sort by the time at which they were given."""
    return folder / f"part-{time.time_ns():020d}{kind}{uuid.uuid4().hex[:8]}.parquet"


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a table, as they lie there now.

    Args:
        settled: The part that holds most of it, each key once or in all its rows; None before the first compaction.
        loose: The others that are to be read, oldest first; their rows may say more about a settled key.
        replaced: Those that need not be read any more, and are deleted when no reader holds them.
    """

    settled: Path | None
    loose: tuple[Path, ...]
    replaced: tuple[Path, ...] = ()


def table_parts(folder: Path) -> Parts:
    """The parts of the table in a folder.

    A folder is not listed in one step. While a reader holds `Dataset.reading()` nothing is deleted, so that a listing
    misses at most what came after it began.
    """
    for _ in range(_LISTINGS):
        paths = sorted(folder.glob("part-*.parquet"))
        settled = next((path for path in reversed(paths) if SETTLED in path.name), None)
        if settled is None:
            return Parts(None, tuple(paths))
        try:
            gone = _replaced_by(settled)
        except FileNotFoundError:  # replaced itself since the listing
            continue
        again = sorted(folder.glob("part-*.parquet"))  # begun after `settled` was there, so its companion is in it
        if next((path for path in reversed(again) if SETTLED in path.name), None) != settled:
            continue
        others = [path for path in again if path != settled]
        return Parts(
            settled,
            tuple(path for path in others if path.name not in gone),
            tuple(path for path in others if path.name in gone),
        )
    raise FileNotFoundError(f"{folder} is rewritten faster than it can be listed; run the command again")


@lru_cache(maxsize=64)
def _replaced_by(settled: Path) -> frozenset[str]:
    return frozenset(json.loads((pq.read_schema(settled).metadata or {}).get(REPLACES, b"[]")))


def part_files(folder: Path) -> list[Path]:
    """The committed parts of a table that are to be read, the settled one first, then oldest first."""
    parts = table_parts(folder)
    return [*([parts.settled] if parts.settled else []), *parts.loose]


def remove_leftovers(folder: Path, older_than_s: float = 86_400.0) -> int:
    """Delete temporary files that a killed process left below `folder`; returns how many.

    Args:
        folder: Where to look, with everything below it.
        older_than_s: Younger files are kept, since another process may be writing them.
    """
    limit = time.time() - older_than_s
    removed = 0
    for path in folder.rglob(f"{TEMPORARY}*"):
        if path.is_file() and path.stat().st_mtime < limit:
            path.unlink(missing_ok=True)
            removed += 1
    return removed
