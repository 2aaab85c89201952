"""Guards: evaluation lists that training data must not touch.

    guards/<name>.parquet           the videos and spans of one evaluation list, and file names of such without videos
    guards/sounds/<name>.parquet    its sounds, where they are at hand (`curation/guards/guarded_sounds.py`)

Registering a list refuses nothing by itself; a selection of the train split that names the guard does
(`curation/selections/selection.py`). Every doubt falls on the side of refusing: an entry without times guards its whole
video, a YouTube video is known by its address and by a file named for its id too, a file by its name in any folder, and
a guard that is named but not registered is an error.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.aliases import known_as_sql, youtube_id
from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.guards.guarded_sounds import sounds_sha256
from curation.keys import file_sha256, video_key
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
    column("file_name", pa.string(), "for a file: its name in small letters, without folders and suffix"),
)

_ORDER = [(name, "ascending") for name in ("video_key", "file_name", "start_ms", "duration_ms")]

FILE_NAMES = r"""
SELECT video_key, lower(regexp_extract(
    CASE platform WHEN 'url' THEN url_decode(regexp_replace(url, '[?#].*$', '')) ELSE path END,
    '([^/]*?)(?:[.][^./]*)?$', 1)) AS file_name
FROM videos WHERE platform IN ('url', 'file')"""
"""The name of the file that a video is, as `file_name` gives it."""

_OVERLAPS = f"""
WITH guarded_videos AS (
    SELECT sources.video_key, sources.is_file, registered.guard, registered.start_ms, registered.duration_ms
    FROM ({known_as_sql()}) AS sources JOIN registered ON registered.video_key = sources.source_key
    UNION
    SELECT names.video_key, false, registered.guard, registered.start_ms, registered.duration_ms
    FROM ({FILE_NAMES}) AS names JOIN registered ON registered.file_name = names.file_name
)
SELECT DISTINCT clips.clip_id, guarded.guard, guarded.start_ms AS guard_start_ms,
    guarded.duration_ms AS guard_duration_ms
FROM clips JOIN guarded_videos AS guarded USING (video_key)
WHERE guarded.is_file OR guarded.start_ms IS NULL OR guarded.duration_ms IS NULL
    OR (clips.start_ms < guarded.start_ms + guarded.duration_ms
        AND guarded.start_ms < clips.start_ms + clips.duration_ms)"""


class Entry(Protocol):
    """A row of an evaluation list, as the readers of `curation/lists` give them."""

    @property
    def platform(self) -> str:
        """`youtube`, `url` or `file`."""

    @property
    def video_id(self) -> str:
        """The platform's id."""

    @property
    def url(self) -> str | None:
        """Address of the video, for platform `url`."""

    @property
    def path(self) -> str | None:
        """Relative path, for platform `file`."""

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


def guard_sha256(dataset: Dataset, name: str) -> str:
    """Hash of a guard's spans and sounds.

    Raises:
        ArgumentError: The guard is not registered; the text names it.
    """
    spans, sounds = file_sha256(_registered(dataset, name)), sounds_sha256(dataset, name)
    return spans if sounds is None else sha256(f"{spans} {sounds}".encode()).hexdigest()


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
    spans = {_span(entry) for entry in entries}
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


def file_name(path_or_url: str) -> str:
    """The name of a file as guards compare it: without folders and suffix, in small letters."""
    text = unquote(urlsplit(path_or_url).path) if "://" in path_or_url else path_or_url
    return PurePosixPath(text).stem.lower()


Span = tuple[str, str, str, int | None, int | None, str | None]


def _span(entry: Entry) -> Span:
    """What an entry guards, in the columns of `GUARD`. A file named for a video may be any part of it."""
    platform, video_id = entry.platform, entry.video_id
    start_ms, duration_ms = entry.start_ms, entry.duration_ms
    if (known := youtube_id(entry.url, entry.path)) is not None:
        platform, video_id = "youtube", known
        start_ms, duration_ms = (None, None) if entry.path else (start_ms, duration_ms)
    name = None if entry.path is None else file_name(entry.path)
    return video_key(platform, video_id), platform, video_id, start_ms, duration_ms, name


def _registered(dataset: Dataset, name: str) -> Path:
    path = guard_path(dataset, name)
    if not path.is_file():
        known = ", ".join(guard_names(dataset)) or "none"
        raise ArgumentError(
            f"guard {name!r} is not registered in {dataset.path} (registered: {known}); "
            f"add it with `foundsound guard {dataset.path} --add {name}=FILE`"
        )
    return path


def read(dataset: Dataset, names: Sequence[str]) -> pa.Table:
    """The spans of some guards: the columns of `GUARD`, and `guard` with the name.

    Raises:
        ArgumentError: A guard is not registered; the text names it.
    """
    tables = [GUARD.append(pa.field("guard", pa.string())).empty_table()]
    for name in sorted(set(names)):
        rows = _read(_registered(dataset, name))
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
    query = f"{_OVERLAPS} ORDER BY clips.clip_id, guarded.guard, guarded.start_ms, guarded.duration_ms"
    return dataset.sql(query, registered=read(dataset, names))


def create_guarded(connection: duckdb.DuckDBPyConnection, dataset: Dataset, names: Sequence[str]) -> None:
    """Make the temporary table `guarded`: `clip_id`, `guard` of every clip that shares time with one of the guards.

    Raises:
        ArgumentError: A guard is not registered; the text names it.
    """
    connection.register("registered", read(dataset, names))
    connection.execute(f"CREATE TEMP TABLE guarded AS SELECT DISTINCT clip_id, guard FROM ({_OVERLAPS})")


def _read(path: Path) -> pa.Table:
    try:
        rows = pq.read_table(path)
        if "file_name" not in rows.column_names:  # written before file names were guarded
            rows = rows.append_column("file_name", pa.nulls(rows.num_rows, pa.string()))
        if pc.any(pc.is_null(rows["video_key"])).as_py():
            raise DatasetError(f"guard {path} has a row without a video; delete it and register the list again")
        return rows.cast(GUARD)
    except (pa.ArrowInvalid, KeyError, ValueError, OSError) as error:
        raise DatasetError(f"guard {path} is damaged ({error}); delete it and register the list again") from error
