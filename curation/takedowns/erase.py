"""Removing the rows, arrays and files of videos that were taken down, wherever a dataset has them.

Every function here may be run again after a kill: it looks at what is there. Media and arrays go before the facts that
name them, and the clips go last, since what is to go is known by them. `curation/takedowns/forget.py` has the order.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.blobs import erase
from curation.dataset import Dataset
from curation.keys import file_sha256
from curation.media import media_name
from curation.storage import Root
from curation.tables import publish, temporary_beside, write_bytes

KEYS = ("key", "clip_id", "video_key")
"""Columns that say of what a row is, in every table."""

BATCH_ROWS = 100_000

_APART = (
    *("codecs", "deny", "duplicates", "exports", "guards", "indexes", "latents", "locks", "media", "originals"),
    *("neighbours", "reports", "runs", "selections", "shards", "vectors"),
)
"""Folders whose Parquet files are not tables of rows about clips, or which are removed otherwise."""

_SIZES = {
    "offset_bytes": "windows::BIGINT * dimension * 2",
    "scores_offset_bytes": "classes::BIGINT * 2",
    "latents_offset_bytes": "latent_frames::BIGINT * latent_channels * 2",
    "std_offset_bytes": "latent_frames::BIGINT * latent_channels * 2",
    "frames_offset_bytes": "frames::BIGINT * frame_size_px * frame_size_px * 3",
}
"""Column with the place of an array in a blob -> SQL of its length, bytes; the last array of a blob whose length is not
known reaches to the end of the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doomed:
    """What is to go.

    Args:
        keys: video_keys and clip_ids.
        ids: (platform, video_id) of the videos.
    """

    keys: frozenset[str]
    ids: frozenset[tuple[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Touched:
    """One thing that is removed or written anew.

    Args:
        kind: `media`, `rows`, `arrays`, `shard`, `index`, ...
        place: The file or folder.
        what: What becomes of it.
    """

    kind: str
    place: str
    what: str


def media_files(dataset: Dataset, doomed: Doomed, act: bool) -> Iterator[Touched]:
    """Remove cut media and kept originals that no other clip or video has."""
    originals = Root.of(dataset.folder("originals"))
    for stage, columns, root in (
        ("cut", {"audio_sha256": "'.flac'", "video_sha256": "'.mp4'"}, dataset.root("media")),
        ("fetch", {"original_sha256": "original_suffix"}, originals),
    ):
        for name in _only_of(dataset, stage, columns, doomed):
            if not root.exists(name):
                continue
            yield Touched(kind="media", place=f"{root}/{name}", what="removed")
            if act:
                root.remove(name)


def sounds_of(dataset: Dataset, doomed: Doomed) -> list[str]:
    """sha256 of every sound that was ever cut of the doomed."""
    files = sorted((dataset.path / "facts" / "cut").glob("*/part-*.parquet"))
    if "audio_sha256" not in {name for file in files for name in pq.read_schema(file).names}:
        return []
    asked = f"SELECT DISTINCT audio_sha256 FROM {parquet_sql(files)} WHERE key IN (SELECT key FROM doomed)"
    return sorted(sha256 for (sha256,) in _ask(asked, doomed) if sha256)


def _only_of(dataset: Dataset, stage: str, columns: dict[str, str], doomed: Doomed) -> list[str]:
    """Names of the media that rows of the doomed name and no other row does."""
    files = sorted((dataset.path / "facts" / stage).glob("*/part-*.parquet"))
    known = {name for file in files for name in pq.read_schema(file).names}
    if not known.issuperset({*columns, *(suffix for suffix in columns.values() if "'" not in suffix)}):
        return []
    named = " UNION ALL ".join(
        f"SELECT key, {sha256} AS sha256, {suffix} AS suffix FROM {parquet_sql(files)} WHERE {sha256} IS NOT NULL"
        for sha256, suffix in columns.items()
    )
    rows = _ask(
        f"""SELECT DISTINCT sha256, suffix FROM ({named}) WHERE key IN (SELECT key FROM doomed) AND sha256 NOT IN
        (SELECT sha256 FROM ({named}) WHERE key NOT IN (SELECT key FROM doomed)) ORDER BY ALL""",
        doomed,
    )
    return [media_name(sha256, suffix) for sha256, suffix in rows]


def arrays(dataset: Dataset, doomed: Doomed, act: bool) -> Iterator[Touched]:
    """Fill with zeros the vectors and latents that no other row names, in the files that have some of the doomed.

    The files keep their length, and so their space; a file of which nothing is left is deleted.
    """
    kept: dict[str, list[tuple[int, int]]] = {}
    for folder in sorted((dataset.path / "facts").glob("*/*")):
        files = sorted(folder.glob("part-*.parquet"))
        names = pq.read_schema(files[0]).names if files else []
        for blob, spans in _spans(files, names, doomed).items() if "blob" in names else ():
            kept.setdefault(blob, []).extend(spans)
    for blob, spans in sorted(kept.items()):
        for root in (dataset.root("vectors"), dataset.root("latents")):
            if root.exists(blob):
                what = "the arrays filled with zeros" if spans else "removed"
                yield Touched(kind="arrays", place=f"{root}/{blob}", what=what)
                if act:
                    erase(root, blob, spans)


def _spans(files: list[Path], names: list[str], doomed: Doomed) -> dict[str, list[tuple[int, int]]]:
    """Blob -> (begin, end) of what others have in it, for the blobs in which the doomed have something."""
    places = [name for name in names if name.endswith("offset_bytes")]
    every = " UNION ALL ".join(
        f"""SELECT blob, {place} AS begin, {place} + {_size(place, names)} AS finish,
        key IN (SELECT key FROM doomed) AS goes FROM {parquet_sql(files)} WHERE {place} IS NOT NULL"""
        for place in places
    )
    if not every:
        return {}
    rows = _ask(
        f"""WITH every AS ({every}),
        named AS (SELECT blob, begin, max(finish) AS finish, bool_and(goes) AS goes FROM every GROUP BY blob, begin)
        SELECT blob, begin, coalesce(finish, lead(begin) OVER (PARTITION BY blob ORDER BY begin), 1 << 62), goes
        FROM named WHERE blob IN (SELECT blob FROM every WHERE goes) ORDER BY blob, begin""",
        doomed,
    )
    spans: dict[str, list[tuple[int, int]]] = {}
    for blob, begin, end, goes in rows:
        spans.setdefault(blob, [])
        if not goes:
            spans[blob].append((begin, end))
    return spans


def _size(place: str, names: list[str]) -> str:
    """SQL for the length of an array, bytes: what the row says, else what its shape does; null where neither does."""
    of_shape, said = _SIZES.get(place, "NULL"), f"{place.removesuffix('offset_bytes')}size_bytes"
    return f"coalesce({said}, {of_shape})" if said in names else of_shape


def selections(dataset: Dataset, doomed: Doomed, act: bool) -> Iterator[Touched]:
    """Take the clips out of every selection; its settings then name, under `before_forget`, the sums that it had.

    The description is written before the rows, so that a kill between them leaves rows that are found again.
    """
    for path in sorted(dataset.folder("selections").glob("*.parquet")):
        gone = _count(path, doomed)
        if not gone:
            continue
        yield Touched(kind="selection", place=str(path), what=f"{gone} rows removed")
        if act:
            temporary = temporary_beside(path)
            try:
                _filter(path, temporary, doomed)
                _describe(path, temporary)
                publish(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)


def _describe(path: Path, filtered: Path) -> None:
    """Let the description of a selection be that of its filtered rows; one that was of other rows stays as it is."""
    described = path.with_suffix(".json")
    fields = json.loads(described.read_text(encoding="utf-8")) if described.is_file() else {}
    if fields.get("sha256") != file_sha256(path):
        return
    counts = (
        pq.read_table(filtered, columns=["kept", "reason"]).group_by(["kept", "reason"]).aggregate([([], "count_all")])
    )
    refused = {row["reason"]: row["count_all"] for row in counts.to_pylist() if not row["kept"]}
    kept = sum(row["count_all"] for row in counts.to_pylist() if row["kept"])
    fields |= {"clips": kept + sum(refused.values()), "kept_clips": kept, "refused": dict(sorted(refused.items()))}
    before = fields["settings"].get("before_forget", [])
    fields |= {"settings": {**fields["settings"], "before_forget": [*before, fields["sha256"]]}}
    fields |= {"sha256": file_sha256(filtered)}
    write_bytes(described, json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False).encode())


def rows_of_tables(dataset: Dataset, doomed: Doomed, act: bool, *, last: bool) -> Iterator[Touched]:
    """Write every part file anew that has rows of the doomed.

    Args:
        dataset: The dataset.
        doomed: What is to go.
        act: Whether to do it.
        last: Of the tables `clips` and `videos`, by which the doomed are known; otherwise of all others.
    """
    folders: dict[Path, list[Path]] = {}
    for top in sorted(dataset.path.iterdir()):
        if top.is_dir() and top.name not in _APART and (top.name in ("clips", "videos")) == last:
            for path in sorted(top.rglob("*.parquet")):
                folders.setdefault(path.parent, []).append(path)
    for files in sorted(folders.values()):
        for path, gone in _having(files, doomed):
            yield Touched(kind="rows", place=str(path), what=f"{gone} rows removed")
            if not act:
                continue
            temporary = temporary_beside(path)
            try:
                _filter(path, temporary, doomed)
                publish(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)


def holds(files: list[Path], doomed: Doomed) -> bool:
    """Whether any of these tables has a row of the doomed."""
    return any(True for _ in _having(files, doomed))


def _having(files: list[Path], doomed: Doomed) -> Iterator[tuple[Path, int]]:
    """Those of the files of one table that have rows of the doomed, and how many."""
    by_columns: dict[tuple[str, ...], list[Path]] = {}
    for path in files:
        if not path.name.startswith("."):
            columns = tuple(name for name in pq.read_schema(path).names if name in KEYS)
            by_columns.setdefault(columns, []).append(path)
    for columns, group in by_columns.items():
        condition = " OR ".join(f"{name} IN (SELECT key FROM doomed)" for name in columns)
        if condition:
            rows = parquet_sql(group, ", filename=true")
            found = _ask(f"SELECT filename, count(*) FROM {rows} WHERE {condition} GROUP BY ALL ORDER BY ALL", doomed)
            yield from ((Path(name), int(count)) for name, count in found)


def _count(path: Path, doomed: Doomed) -> int:
    return sum(count for _, count in _having([path], doomed))


def _filter(path: Path, target: Path, doomed: Doomed) -> int:
    """Copy a Parquet file without the rows of the doomed; the number of rows that are left."""
    keys = pa.array(sorted(doomed.keys), pa.string())
    left = 0
    file = pq.ParquetFile(path)
    with pq.ParquetWriter(target, file.schema_arrow, compression="zstd") as writer:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            rows = pa.Table.from_batches([batch])
            for name in (name for name in rows.column_names if name in KEYS):
                rows = rows.filter(pc.invert(pc.fill_null(pc.is_in(rows[name], value_set=keys), False)))
            writer.write_table(rows)
            left += rows.num_rows
    return left


def parquet_sql(files: list[Path], options: str = "") -> str:
    """SQL that reads Parquet files of which some lack newer columns."""
    listed = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
    return f"read_parquet([{listed}], union_by_name=true{options})"


def _ask(query: str, doomed: Doomed) -> list[Any]:
    """Rows of a query that may name the table `doomed`."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET memory_limit = '2GB'; SET enable_progress_bar = false; SET threads = 2")
        connection.register("doomed", pa.table({"key": pa.array(sorted(doomed.keys), pa.string())}))
        found: list[Any] = connection.execute(query).fetchall()
        return found
