"""A takedown: videos and channels leave a dataset, with all that was made of them, and never come back.

A video goes under all its names: its id, addresses that lead to it, files that are called for it. The deny list is
written first; from then on nothing takes them in and no view shows them. Then media, arrays, rows, selections, shards,
indexes and reports are removed or written anew, and what earlier kills left goes too. Running it again after a kill
ends what was begun.
"""

import json
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curation.aliases import known_as_sql, youtube_id
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.keys import short_hash, video_key
from curation.lock import only_writer
from curation.shards.forget import shards
from curation.storage import KINDS
from curation.tables import Row, part_files
from curation.takedowns import erase, leftovers
from curation.takedowns.deny import denied, denied_ids, deny
from curation.takedowns.erase import Doomed, Touched


@dataclass(frozen=True, kw_only=True, slots=True)
class Forgotten:
    """What a takedown came to.

    Args:
        videos: (platform, video_id) of the videos that are denied by this call.
        channels: Channels that are denied by it.
        unknown: Names that nothing in the dataset has; they are denied all the same.
        touched: What was removed or written anew, or would be.
        again: Lines that make again what had to go as a whole.
        notes: What cannot be undone, as runs that were trained on it.
    """

    videos: tuple[tuple[str, str], ...]
    channels: tuple[str, ...]
    unknown: tuple[str, ...]
    touched: tuple[Touched, ...]
    again: tuple[str, ...]
    notes: tuple[str, ...]


Drop = Callable[[Path, Collection[str]], bool]
"""Drops clips from the search index in a folder; returns whether there still is one."""

Cached = Callable[[Sequence[str]], int]
"""Deletes what a cache beside the dataset keeps about sounds (or counts it, for a dry run), by sha256; returns how much
that is."""


def forget(
    dataset: Dataset,
    names: Sequence[str],
    *,
    reason: str = "",
    dry_run: bool = False,
    cached: Cached | None = None,
    drop: Drop | None = None,
) -> Forgotten:
    """Take videos and channels down.

    Args:
        dataset: The dataset.
        names: Ids of videos (or URLs or paths that lists gave) and ids of channels. What is not known here is taken
            for a channel where it begins with `UC` and has 24 characters, as YouTube's do, else for a YouTube video.
            None at all: only ends what an earlier call began.
        reason: Kept in the deny list.
        dry_run: Change nothing, and say what would be.
        cached: The cache of captions, which is not the dataset's own.
        drop: What knows search indexes; None removes those that hold one of the clips as a whole.

    Raises:
        ArgumentError: A name is empty.
        LockedError: A stage, an ingest, a packing or anything else that writes is running on the dataset.
    """
    if not all(name.strip() for name in names):
        raise ArgumentError("an empty name names no video and no channel")
    with ExitStack() as locks:
        locks.enter_context(dataset.reading())
        if not dry_run:
            locks.enter_context(only_writer(dataset.folder("locks"), str(dataset.path)))
        rows, unknown = _deny_rows(dataset, [name.strip() for name in names], reason)
        if not dry_run:
            deny(dataset.path, rows)
        doomed = _doomed(dataset, rows)
        again: list[str] = []
        touched = [*_answers(dataset, doomed, cached), *_remove(dataset, doomed, not dry_run, again, drop)]
        notes = _notes(dataset) if touched else []
    return Forgotten(
        videos=tuple(sorted((row["platform"], row["video_id"]) for row in rows if row["video_key"])),
        channels=tuple(sorted(row["channel_id"] for row in rows if not row["video_key"])),
        unknown=tuple(unknown),
        touched=tuple(touched),
        again=tuple(again),
        notes=tuple(notes),
    )


def _deny_rows(dataset: Dataset, names: list[str], reason: str) -> tuple[list[Row], list[str]]:
    """Rows for the deny list, and the names that nothing here has."""
    rows: dict[tuple[str | None, str | None], Row] = {}
    unknown = []

    def add(platform: str | None, video_id: str | None, channel_id: str | None = None) -> None:
        key = video_key(platform, video_id) if platform and video_id else None
        row = {"platform": platform, "video_id": video_id, "video_key": key, "channel_id": channel_id}
        rows.setdefault((key, None if key else channel_id), {**row, "reason": reason, "denied_at": datetime.now(UTC)})

    before = denied(dataset.path)
    for channel_id in sorted(before.channel_ids):  # what was fetched of it since without its channel being known
        for platform, video_id in _videos_of_channel(dataset, channel_id):
            if video_key(platform, video_id) not in before.video_keys:
                add(platform, video_id, channel_id)
    for name in names:
        videos, of_channel = _videos_named(dataset, name), _videos_of_channel(dataset, name)
        for platform, video_id in videos:
            add(platform, video_id)
        if of_channel or (not videos and _is_channel(name)):
            add(None, None, name)
        for platform, video_id in of_channel:
            add(platform, video_id, name)
        if not videos and not of_channel:
            unknown.append(name)
            if not _is_channel(name):
                add(*_named(name))
        if known := _named_for(name):
            add("youtube", known)
    keys = before.video_keys | {key for key, _ in rows if key}
    also = _also_called(dataset, keys)
    for platform, video_id in also:
        if video_key(platform, video_id) not in before.video_keys:
            add(platform, video_id)
    return list(rows.values()), [name for name in unknown if ("youtube", _named_for(name) or name) not in also]


def _named(name: str) -> tuple[str, str]:
    """(platform, video_id) of a video that nothing here has: as a list would name it by URL or path, else on YouTube,
    whose ids have no `/` and no `.`."""
    if "://" in name:
        return "url", short_hash(name)
    return ("file", short_hash(name)) if "/" in name or "." in name else ("youtube", name)


def _named_for(name: str) -> str | None:
    """The id of the YouTube video that a URL leads to, or that a path is called for; None for all else."""
    if "://" in name:
        return youtube_id(name, None)
    return youtube_id(None, name) if "/" in name or "." in name else None


def _also_called(dataset: Dataset, keys: frozenset[str]) -> list[tuple[str, str]]:
    """(platform, video_id) of videos here that are those with these keys under other names, and of what they are on
    YouTube."""
    videos = _parts(dataset.path / "videos")
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.register("asked", pa.table({"key": pa.array(sorted(keys), pa.string())}))
        found: list[tuple[str, str]] = connection.execute(
            f"""WITH known AS ({known_as_sql(videos)}),
            going AS (
                SELECT DISTINCT source_key FROM known
                WHERE video_key IN (SELECT key FROM asked) OR source_key IN (SELECT key FROM asked)
            ), names AS (SELECT video_key, youtube_id FROM known WHERE source_key IN (SELECT source_key FROM going))
            SELECT platform, video_id FROM {videos} WHERE video_key IN (SELECT video_key FROM names)
            UNION SELECT 'youtube', youtube_id FROM names WHERE youtube_id IS NOT NULL ORDER BY ALL"""
        ).fetchall()
        return found


def _is_channel(name: str) -> bool:
    return name.startswith("UC") and len(name) == 24


def _videos_named(dataset: Dataset, name: str) -> list[tuple[str, str]]:
    """(platform, video_id) of the videos with this id, URL or path."""
    return _ask(
        f"""SELECT DISTINCT platform, video_id FROM {_parts(dataset.path / "videos")}
        WHERE $name IN (video_id, url, path) ORDER BY ALL""",
        name,
    )


def _videos_of_channel(dataset: Dataset, name: str) -> list[tuple[str, str]]:
    """(platform, video_id) of the videos that were fetched, or looked at, and are of this channel."""
    folders = sorted((dataset.path / "facts" / "fetch").glob("*"))
    fetched = [
        path for path in folders if "channel_id" in {n for p in part_files(path) for n in pq.read_schema(p).names}
    ]
    if not fetched:
        return []
    keys = " UNION ALL ".join(f"SELECT key FROM {_parts(path)} WHERE channel_id = $name" for path in fetched)
    return _ask(
        f"""WITH keys AS ({keys})
        SELECT DISTINCT platform, video_id FROM {_parts(dataset.path / "videos")} WHERE video_key IN (
            SELECT key FROM keys UNION ALL
            SELECT video_key FROM {_parts(dataset.path / "clips")} WHERE clip_id IN (SELECT key FROM keys))
        ORDER BY ALL""",
        name,
    )


def _parts(folder: Path) -> str:
    listed = ", ".join("'" + str(part).replace("'", "''") + "'" for part in part_files(folder))
    return f"read_parquet([{listed}], union_by_name=true)"


def _ask(query: str, name: str) -> list[Any]:
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET enable_progress_bar = false")
        found: list[Any] = connection.execute(query, {"name": name}).fetchall()
        return found


def _doomed(dataset: Dataset, rows: list[Row]) -> Doomed:
    """All that the deny list, with these rows, says is to go."""
    keys = denied(dataset.path).video_keys | {row["video_key"] for row in rows if row["video_key"]}
    ids = denied_ids(dataset.path) | {(row["platform"], row["video_id"]) for row in rows if row["video_key"]}
    clips: set[str] = set()
    for part in part_files(dataset.path / "clips") if keys else ():
        found = pq.read_table(part, columns=["clip_id"], filters=[("video_key", "in", keys)])
        clips.update(found["clip_id"].to_pylist())
    return Doomed(keys=frozenset(keys | clips), ids=frozenset(ids))


def _answers(dataset: Dataset, doomed: Doomed, cached: Cached | None) -> Iterator[Touched]:
    """Captions that a cache keeps; while the rows of the cuts still say which sounds they are about."""
    sounds = erase.sounds_of(dataset, doomed) if cached and doomed.keys else []
    if cached and sounds and (answers := cached(sounds)):
        yield Touched(kind="cache", place="captions", what=f"{answers} answers removed")


def _remove(dataset: Dataset, doomed: Doomed, act: bool, again: list[str], drop: Drop | None) -> Iterator[Touched]:
    """Everything, in an order in which a kill leaves what is needed to find the rest."""
    if not doomed.keys:
        return
    for step in (
        erase.media_files(dataset, doomed, act),
        erase.arrays(dataset, doomed, act),
        erase.selections(dataset, doomed, act),
        shards(dataset, doomed, act),
        _indexes(dataset, doomed, act, again, drop),
        _wholes(dataset, doomed, act, again),
        erase.rows_of_tables(dataset, doomed, act, last=False),
        _reports(dataset, doomed, act, again),
        erase.rows_of_tables(dataset, doomed, act, last=True),
        leftovers.unfinished_files(dataset, act),
        leftovers.orphans(dataset, act),
    ):
        yield from step


def _indexes(dataset: Dataset, doomed: Doomed, act: bool, again: list[str], drop: Drop | None) -> Iterator[Touched]:
    """Search indexes that hold one of the doomed: the clips are dropped, or the index goes and is made again."""
    for folder in sorted(path for path in dataset.folder("indexes").glob("*") if path.is_dir()):
        if not erase.holds(sorted(folder.glob("*.parquet")), doomed):
            continue
        yield Touched(kind="index", place=str(folder), what="clips dropped" if drop else "removed")
        line = _index_line(dataset, folder)
        if act and not (drop and drop(folder, doomed.keys)):
            shutil.rmtree(folder, ignore_errors=drop is not None)  # `drop` has removed it already
            again.append(line)
        elif not act and drop is None:
            again.append(line)


def _wholes(dataset: Dataset, doomed: Doomed, act: bool, again: list[str]) -> Iterator[Touched]:
    """Neighbours and groups of duplicates that hold one of the doomed: they go as a whole and are made again."""
    for folder in sorted(path for path in dataset.folder("neighbours").glob("*") if path.is_dir()):
        if erase.holds(sorted(folder.glob("*.parquet")), doomed):
            yield Touched(kind="neighbours", place=str(folder), what="removed")
            again.append(f"foundsound neighbours {dataset.path} --name {folder.name}")
            if act:
                shutil.rmtree(folder)
    for rows in sorted(dataset.folder("duplicates").glob("*.parquet")):
        if erase.holds([rows], doomed):
            yield Touched(kind="duplicates", place=str(rows), what="removed")
            again.append(f"foundsound dedupe {dataset.path} --name {rows.stem}")
            if act:
                rows.with_suffix(".json").unlink(missing_ok=True)
                rows.unlink()


def _index_line(dataset: Dataset, folder: Path) -> str:
    """The line that builds an index again, as far as it says from what it was built."""
    line = f"foundsound index {dataset.path} --name {folder.name}"
    try:
        selection = json.loads((folder / "index.json").read_text(encoding="utf-8"))["source"]["selection"]
    except (OSError, ValueError, KeyError, TypeError):
        return line
    return f"{line} --selection {selection}"


def _reports(dataset: Dataset, doomed: Doomed, act: bool, again: list[str]) -> Iterator[Touched]:
    """Pages hold sounds and captions; all of them go while the dataset has any of the doomed."""
    if not erase.holds([*part_files(dataset.path / "clips"), *part_files(dataset.path / "videos")], doomed):
        return
    for path in sorted(dataset.folder("reports").glob("*")):
        yield Touched(kind="report", place=str(path), what="removed")
        if act:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if path.suffix == ".html" or path.is_dir():
            again.append(f"foundsound report {dataset.path}")


def _notes(dataset: Dataset) -> list[str]:
    """What was made of the dataset and cannot be taken back here."""
    runs = sorted(path.name for path in [*dataset.folder("runs").glob("*"), *dataset.folder("codecs").glob("*")])
    notes = ["exports, and copies of shards, that were made elsewhere still have the clips: make them again"]
    if not all(dataset.root(kind).is_local for kind in KINDS):
        notes.append("copies of objects on other machines are not reached: empty their cache (FOUNDSOUND_CACHE)")
    if elsewhere := leftovers.kinds_elsewhere(dataset):
        notes.append(f"files that a kill left and no row names were not looked for in {', '.join(elsewhere)}")
    if runs:
        notes.append(f"these were fitted to shards from before: {', '.join(runs)}; train them again if they may not be")
    return notes
