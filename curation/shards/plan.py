"""Which clip goes into which shard of a new generation: a function of (parent or none, selection, clips a shard).

A first generation sorts by clip_id and cuts by count. A later one takes over every shard of its parent whose clips are
all there and unchanged, writes those anew that lost or changed one, and cuts the clips that the parent does not have
into new shards. No media are read here, and rows are handed on shard by shard, never all at once.
"""

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import DatasetError
from curation.schema import SCHEMA_VERSION
from curation.shards.generation import GenerationIndex, ShardInfo, offsets_file
from curation.shards.layout import read_row_hashes
from curation.storage import Root

MEMORY = "1500MB"
"""What the database may take before it writes to the disk. Source: ours; half of what planning may take in all."""

_TEXTS = ("labels", "captions", "caption_sources", "lists")
_VALUES = [
    "platform",
    "video_id",
    "url",
    "start_ms",
    "duration_ms",
    "prev_clip_id",
    "split",
    "licence",
    "original_sha256",
    "audio_sha256",
    "video_sha256",
    "sample_rate_hz",
]

ROW_HASH = "md5_number_lower(concat_ws(chr(31), {}))".format(
    ", ".join(
        [f"'layout {SCHEMA_VERSION}'"]
        + [f"coalesce({name}::VARCHAR, chr(30))" for name in _VALUES]
        + [f"coalesce(len({name}) || ':' || array_to_string({name}, chr(29)), chr(30))" for name in _TEXTS]
        + ["transcript", "CASE WHEN len(types) > 0 THEN array_to_string(list_prepend('types', types), chr(29)) END"]
    )
)
"""SQL of a 64-bit hash of all that the `.json` of a clip is made of. Two rows of one clip that differ have the same one
with a chance of 5e-20. What is null is left out, as transcripts and types are left out of the `.json`."""


_ADDED = {"transcript": "NULL::VARCHAR", "types": "[]::VARCHAR[]"}
"""Columns that the first selections did not have, and what they would have said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedShard:
    """One shard of a generation to be.

    Args:
        name: Its number with six digits: its place in the generation.
        clips: How many clips it has.
        taken_over: The parent's shard that it is, named as the new generation names it; None: it is written.
    """

    name: str
    clips: int
    taken_over: ShardInfo | None = None


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """The shards of a generation to be, in order, and the rows of those that are to be written.

    Args:
        shards: All of them.
        connection: Database that has the rows.
        rows_sql: Query for them, in the order of the shards and within them of the clip_ids.
        is_first: Whether the clip_ids rise from shard to shard too.
    """

    shards: tuple[PlannedShard, ...]
    connection: duckdb.DuckDBPyConnection
    rows_sql: str
    is_first: bool

    def written(self) -> Iterator[tuple[PlannedShard, pa.Table]]:
        """Each shard to be written, with its rows: the columns of `SELECTION` and `row_hash`, sorted by clip_id.

        Raises:
            DatasetError: The selection's rows are not sorted, or not as many as they were.
        """
        wanted, last_key = [shard for shard in self.shards if shard.taken_over is None], ""
        reader = self.connection.sql(self.rows_sql).to_arrow_reader(10_000) if wanted else ()
        for shard, rows in zip(wanted, cut_rows(reader, [shard.clips for shard in wanted]), strict=True):
            keys = [last_key, *rows["clip_id"].to_pylist()]
            last_key = keys[-1] if self.is_first else ""
            if any(one >= next_one for one, next_one in pairwise(keys)):
                raise DatasetError("the selection is not sorted by clip_id; run `foundsound select` again")
            yield shard, rows


@contextmanager
def plan_generation(
    selection: Path,
    *,
    clips_per_shard: int,
    shards: Root,
    parent: str | None = None,
    denied: Collection[tuple[str, str]] = (),
) -> Iterator[GenerationPlan]:
    """Plan a generation; the plan is good while the context is open.

    Args:
        selection: The selection's Parquet file, sorted by clip_id.
        clips_per_shard: Clips of a new shard, >= 1.
        shards: Where the dataset's generations are.
        parent: The generation that is extended.
        denied: (platform, video_id) of the videos that were taken down.

    Raises:
        DatasetError: The parent is damaged, or the selection holds a clip of a denied video.
    """
    with tempfile.TemporaryDirectory(prefix="foundsound-plan-") as scratch, duckdb.connect(":memory:") as connection:
        connection.execute(f"SET memory_limit = '{MEMORY}'; SET enable_progress_bar = false")
        connection.execute(f"SET temp_directory = '{scratch}'")
        place = str(selection).replace("'", "''")
        known = pq.read_schema(selection).names
        added = "".join(f", {value} AS {name}" for name, value in _ADDED.items() if name not in known)
        connection.execute(f"CREATE VIEW selected AS SELECT *{added} FROM read_parquet('{place}') WHERE kept")
        _refuse_denied(connection, denied)
        if parent is None:
            cut = _cut(0, _count(connection, "SELECT count(*) FROM selected"), clips_per_shard)
            rows = f"SELECT *, {ROW_HASH} AS row_hash FROM selected"
            yield GenerationPlan(tuple(cut), connection, rows, is_first=True)
            return
        index = GenerationIndex.read(shards / parent)
        _load(connection, index, shards / parent)
        planned = _extend(connection, index, parent, clips_per_shard)
        rows = """SELECT selected.*, target.row_hash FROM selected JOIN target USING (clip_id)
            ORDER BY target.place, selected.clip_id"""
        yield GenerationPlan(tuple(planned), connection, rows, is_first=False)


def cut_rows(batches: Iterable[pa.RecordBatch], counts: Iterable[int]) -> Iterator[pa.Table]:
    """Cut a stream of rows into tables of so many rows each.

    Raises:
        DatasetError: There are more or fewer rows.
    """
    waiting: list[pa.RecordBatch] = []
    there = 0
    stream = iter(batches)
    for count in counts:
        while there < count:
            batch = next(stream, None)
            if batch is None:
                raise DatasetError("the selection has fewer rows than a moment ago; run the same command again")
            waiting.append(batch)
            there += batch.num_rows
        rows = pa.Table.from_batches(waiting)
        yield rows.slice(0, count).combine_chunks()
        waiting, there = rows.slice(count).to_batches(), there - count
    if there or any(batch.num_rows for batch in stream):
        raise DatasetError("the selection has more rows than a moment ago; run the same command again")


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(connection.execute(query).fetchall()[0][0])


def _cut(first: int, clips: int, clips_per_shard: int) -> list[PlannedShard]:
    """New shards for so many clips, the first one with this number."""
    counts = [min(clips_per_shard, clips - begin) for begin in range(0, clips, clips_per_shard)]
    return [PlannedShard(name=f"{first + n:06d}", clips=count) for n, count in enumerate(counts)]


def _refuse_denied(connection: duckdb.DuckDBPyConnection, denied: Collection[tuple[str, str]]) -> None:
    """A selection from before a takedown is not packed."""
    if not denied:
        return
    connection.register("denied", pa.table({"platform": [p for p, _ in denied], "video_id": [v for _, v in denied]}))
    count = _count(connection, "SELECT count(*) FROM selected SEMI JOIN denied USING (platform, video_id)")
    connection.unregister("denied")
    if count:
        raise DatasetError(
            f"the selection holds {count} clips of videos that were taken down; run `foundsound forget` again to end "
            "what it began, or `foundsound select`"
        )


def _load(connection: duckdb.DuckDBPyConnection, index: GenerationIndex, folder: Root) -> None:
    """The table `before`: clip_id, row_hash and place of every clip of the parent."""
    connection.execute("CREATE TABLE before (clip_id VARCHAR, row_hash UBIGINT, place INTEGER)")
    pieces: list[pa.Table] = []
    for place, shard in enumerate(index.shards):
        rows = read_row_hashes(offsets_file(folder, shard))
        places = pa.array(np.full(rows.num_rows, place, np.int32))
        pieces.append(pa.table([rows["key"], rows["row_hash"], places], names=["clip_id", "row_hash", "place"]))
        if len(pieces) == 1_000 or place == len(index.shards) - 1:
            joined = pa.concat_tables(pieces)  # noqa: F841 (DuckDB finds it by its name)
            connection.execute("INSERT INTO before SELECT * FROM joined")
            pieces = []


def _extend(
    connection: duckdb.DuckDBPyConnection, index: GenerationIndex, parent: str, clips_per_shard: int
) -> list[PlannedShard]:
    """The shards of the child, and the table `target` of the clips that it writes: clip_id, row_hash, place."""
    connection.execute(f"CREATE TABLE after AS SELECT clip_id, {ROW_HASH} AS row_hash FROM selected")
    found: Mapping[int, tuple[int, int, int]] = {
        place: (clips, left, same)
        for place, clips, left, same in connection.execute(
            """SELECT place, count(*), count(after.clip_id), count(*) FILTER (after.row_hash = before.row_hash)
            FROM before LEFT JOIN after USING (clip_id) GROUP BY place"""
        ).fetchall()
    }
    planned: list[PlannedShard] = []
    places: list[tuple[int, int]] = []
    for place, shard in enumerate(index.shards):
        clips, left, same = found.get(place, (0, 0, 0))
        name = f"{len(planned):06d}"
        if clips == same:
            taken = replace(shard, name=shard.seen_from_beside(parent))
            planned.append(PlannedShard(name=name, clips=shard.clips, taken_over=taken))
        elif left:
            places.append((place, len(planned)))
            planned.append(PlannedShard(name=name, clips=left))
    moved = pa.table({"place": [old for old, _ in places], "new_place": [new for _, new in places]})
    moved = moved.cast(pa.schema([("place", pa.int32()), ("new_place", pa.int32())]))
    connection.register("moved", moved)
    connection.execute(
        f"""CREATE TABLE target AS
        SELECT after.clip_id, after.row_hash, moved.new_place AS place
        FROM after JOIN before USING (clip_id) JOIN moved USING (place)
        UNION ALL
        SELECT clip_id, row_hash,
            {len(planned)} + (row_number() OVER (ORDER BY clip_id) - 1) // {clips_per_shard}
        FROM after ANTI JOIN before USING (clip_id)"""
    )
    new = _count(connection, "SELECT count(*) FROM after ANTI JOIN before USING (clip_id)")
    connection.execute("DROP TABLE before; DROP TABLE after")
    return planned + _cut(len(planned), new, clips_per_shard)
