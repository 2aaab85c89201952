"""Tables of evidence as they are printed and kept: rows of named values, with what they were taken on."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from curation.tables import write_bytes

Row = Mapping[str, Any]

LIBRARIES = ("torch", "numpy", "transformers")


def lines_of(rows: Sequence[Row]) -> list[str]:
    """Rows as a table in Markdown; a column for every name, in the order in which names first come."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, ["---"] * len(names), *([_cell(row.get(name)) for name in names] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def right_of(right: int, asked: int) -> str:
    """A count as it is read: `28 of 32`.

    Raises:
        ValueError: More are right than were asked.
    """
    if not 0 <= right <= asked:
        raise ValueError(f"{right} of {asked} cannot be right")
    return f"{right} of {asked}"


def machine() -> dict[str, Any]:
    """What numbers depend on, without naming the machine."""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "threads": os.environ.get("OMP_NUM_THREADS", "as many as processors"),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def keep(file: Path, tables: Mapping[str, Sequence[Row]], **about: Any) -> None:
    """Write tables as JSON, with the machine and what else is said about them."""
    told = {**about, "tables": {name: list(rows) for name, rows in tables.items()}, "machine": machine()}
    write_bytes(file, (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode())
