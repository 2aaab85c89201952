"""The three file formats of a general table, as records of column name -> value: CSV, JSONL and Parquet.

What the columns mean is said in `table.py`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import ArgumentError, ClipError
from curation.lists.listfile import Sifting
from curation.lists.row import Record, Reject, clean, malformed
from curation.lists.text import BLOCK_BYTES, Line, csv_records, lines, take_header

Values = Mapping[str, Any]
Records = Iterator[Record[Values] | Reject]

BATCH_ROWS = 10_000
"""Rows of a Parquet file that are in memory at a time."""


def read_records(file: Path, columns: Sequence[str], sieve: Sifting | None = None) -> Records:
    """The records of a table; its suffix says the format.

    Args:
        file: `.csv`, `.jsonl` (or `.ndjson`) or `.parquet`.
        columns: The columns that it may have.
        sieve: Takes lines of a CSV file in which no cell goes over several of them.

    Raises:
        ArgumentError: The suffix or a column is unknown, or the file is damaged.
    """
    formats: dict[str, Callable[[Path, Sequence[str]], Records]] = {
        ".csv": partial(_csv, sieve=sieve),
        ".jsonl": _jsonl,
        ".ndjson": _jsonl,
        ".parquet": _parquet,
    }
    reader = formats.get(file.suffix.lower())
    if reader is None:
        raise ArgumentError(f"{file}: a table is one of {', '.join(formats)}, not {file.suffix!r}")
    return reader(file, columns)


def text_of(values: Values, name: str) -> str | None:
    """A cell without surrounding blanks; None where it is empty or not there.

    Raises:
        ClipError: MALFORMED: it holds no text.
    """
    value = values.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise malformed(f"{name} {str(value)[:40]!r} is not a text")
    return clean(value, name)


def row_count(file: Path) -> int:
    """About how many rows a list has, for progress: rows of a Parquet file, otherwise lines."""
    if file.suffix.lower() == ".parquet":
        try:
            return int(pq.read_metadata(file).num_rows)
        except (pa.ArrowInvalid, OSError):
            return 0  # its reader says what is wrong
    with file.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(BLOCK_BYTES), b""))


def _refuse_unknown(file: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    unknown = [name for name in found if name not in columns]
    if unknown:
        raise ArgumentError(f"{file}: unknown columns {', '.join(map(repr, unknown))}; known are {', '.join(columns)}")


def _csv(file: Path, columns: Sequence[str], sieve: Sifting | None) -> Records:
    records = csv_records(file, multiline=sieve is None, sieve=sieve)
    header = take_header(file, records, columns, whole=False)
    for record in records:
        if isinstance(record, Reject):
            yield record
        elif len(record.content) != len(header):
            yield Reject(record.line, f"{len(record.content)} cells instead of {len(header)}", record.text)
        else:
            yield Record(record.line, record.text, dict(zip(header, record.content, strict=True)))


def _jsonl(file: Path, columns: Sequence[str]) -> Records:
    """An unknown key in the first object is taken for a wrong file; in a later one for a wrong row."""
    is_first = True
    for line in lines(file):
        if line.fault is not None:
            yield line.reject(line.fault)
            continue
        if not line.text.strip():
            continue
        try:
            values = _object(line)
        except ClipError as error:
            yield line.reject(error.detail)
            continue
        unknown = sorted(set(values) - set(columns))
        if is_first:
            _refuse_unknown(file, list(values), columns)
            is_first = False
        if unknown:
            yield line.reject(f"unknown keys {', '.join(map(repr, unknown))}; known are {', '.join(columns)}")
        else:
            yield Record(line.number, line.text, values)


def _object(line: Line) -> dict[str, Any]:
    try:
        value = json.loads(line.text, object_pairs_hook=_once, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise malformed(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise malformed("the line is not a JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise malformed("a key stands twice in the object")
    return dict(pairs)


def _no_number(text: str) -> Any:
    raise malformed(f"{text} is not a number")


def _parquet(file: Path, columns: Sequence[str]) -> Records:
    number = 0
    try:
        with pq.ParquetFile(file) as parquet:
            _refuse_unknown(file, parquet.schema_arrow.names, columns)
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
                batch.validate(full=True)
                for values in batch.to_pylist():
                    number += 1
                    yield Record(number, str(values), values)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise ArgumentError(f"{file} is not a whole Parquet file (row {number + 1}): {error}") from error
