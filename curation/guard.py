"""Guards: evaluation lists that training data must not touch.

    guards/<name>.parquet       the videos and spans of one evaluation list

Registering a list refuses nothing by itself; a selection of the train split that names the guard does
(`curation/selection.py`). Every doubt falls on the side of refusing: an entry without times guards its whole video, and
a guard that is named but not registered is an error.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.keys import video_key
from curation.names import plain_name
from curation.schema import column, table
from curation.tables import write_parquet

GUARD = table(
    "One row a span of an evaluation list.",
    column("video_key", pa.string(), "hash of platform and video_id"),
    column("platform", pa.string(), "`youtube`, `url` or `file`"),
    column("video_id", pa.string(), "the platform's id"),
    column("start_ms", pa.int64(), "start in the video, ms; null: the whole video is guarded"),
    column("duration_ms", pa.int64(), "length, ms; null: the whole video is guarded"),
)

_ORDER = [("video_key", "ascending"), ("start_ms", "ascending"), ("duration_ms", "ascending")]

_OVERLAPS = """
SELECT clips.clip_id, guard.guard, guard.start_ms AS guard_start_ms, guard.duration_ms AS guard_duration_ms
FROM clips JOIN registered AS guard ON guard.video_key = clips.video_key
WHERE guard.start_ms IS NULL OR guard.duration_ms IS NULL
    OR (clips.start_ms < guard.start_ms + guard.duration_ms AND guard.start_ms < clips.start_ms + clips.duration_ms)
ORDER BY clips.clip_id, guard.guard, guard.start_ms, guard.duration_ms"""


class Entry(Protocol):
    """A row of an evaluation list, as the readers of `curation/lists` give them."""

    @property
    def platform(self) -> str:
        """`youtube`, `url` or `file`."""

    @property
    def video_id(self) -> str:
        """The platform's id."""

    @property
    def start_ms(self) -> int | None:
        """Start in the video, ms; None: not given."""

    @property
    def duration_ms(self) -> int | None:
        """Length, ms; None: not given."""


def guard_path(dataset: Dataset, name: str) -> Path:
    """Where the guard of this name is, or would be."""
    return dataset.folder("guards") / f"{plain_name(name, 'guard')}.parquet"


def guard_names(dataset: Dataset) -> list[str]:
    """Names of the registered guards."""
    return sorted(path.stem for path in dataset.folder("guards").glob("*.parquet"))


def add(dataset: Dataset, name: str, entries: Iterable[Entry]) -> int:
    """Register an evaluation list; the same list again changes nothing.

    Args:
        dataset: The dataset.
        name: Name by which selections ask for it.
        entries: Its rows, in any order; repeated ones count once.

    Returns:
        How many different spans it guards.

    Raises:
        ArgumentError: It has no rows, or the name stands for other spans already.
    """
    path = guard_path(dataset, name)
    spans = {(video_key(e.platform, e.video_id), e.platform, e.video_id, e.start_ms, e.duration_ms) for e in entries}
    if not spans:
        raise ArgumentError(f"guard {name!r} has no rows, so it would guard nothing; check the file and its format")
    columns = zip(*spans, strict=True)
    rows = pa.table([pa.array(values, field.type) for values, field in zip(columns, GUARD, strict=True)], schema=GUARD)
    rows = rows.sort_by(_ORDER)
    if not path.is_file():
        write_parquet(path, rows)
    elif not _read(path).equals(rows):
        raise ArgumentError(
            f"guard {name!r} is registered with other rows, and selections made with it rely on them; "
            f"give another name, or delete {path} first"
        )
    return len(spans)


def read(dataset: Dataset, names: Sequence[str]) -> pa.Table:
    """The spans of some guards: the columns of `GUARD`, and `guard` with the name.

    Raises:
        ArgumentError: A guard is not registered; the text names it.
    """
    tables = [GUARD.append(pa.field("guard", pa.string())).empty_table()]
    for name in sorted(set(names)):
        path = guard_path(dataset, name)
        if not path.is_file():
            known = ", ".join(guard_names(dataset)) or "none"
            raise ArgumentError(
                f"guard {name!r} is not registered in {dataset.path} (registered: {known}); "
                f"add it with `foundsound guard {dataset.path} --add {name}=FILE`"
            )
        rows = _read(path)
        tables.append(rows.append_column("guard", pa.array([name] * rows.num_rows, pa.string())))
    return pa.concat_tables(tables)


def overlaps(dataset: Dataset, names: Sequence[str]) -> pa.Table:
    """Which clips share time with which guards.

    Two spans that only touch (one ends where the other starts) do not overlap.

    Returns:
        `clip_id`, `guard`, `guard_start_ms`, `guard_duration_ms` (null: the whole video), sorted by the first three.

    Raises:
        ArgumentError: A guard is not registered; the text names it.
    """
    return dataset.sql(_OVERLAPS, registered=read(dataset, names))


def _read(path: Path) -> pa.Table:
    try:
        rows = pq.read_table(path)
        if pc.any(pc.is_null(rows["video_key"])).as_py():
            raise DatasetError(f"guard {path} has a row without a video; delete it and register the list again")
        return rows.cast(GUARD)
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise DatasetError(f"guard {path} is damaged ({error}); delete it and register the list again") from error
