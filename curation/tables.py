"""Part files: how rows reach the disk and never half of them.

A table is a folder of `part-*.parquet`. A part is written under a temporary name, synced, and renamed; a kill leaves
either the whole part or a temporary file that no reader looks at.
"""

import os
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]

TEMPORARY = ".writing-"
"""Prefix of files that are not whole yet; readers skip it and `remove_leftovers` deletes it."""


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
    path = folder / f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
    write_parquet(path, rows)
    return path


def part_files(folder: Path) -> list[Path]:
    """The committed parts of a table, oldest first."""
    return sorted(folder.glob("part-*.parquet"))


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
