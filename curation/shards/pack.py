"""Packing: a selection becomes shards.

A pure function of the selection and the settings: clips are sorted by `clip_id` and cut by count, so the same input
gives the same bytes on any machine, after any number of kills. A shard is written under a temporary name, read back,
and renamed; its `.arrow` follows its `.tar` and says what was packed, so that the next run takes finished shards
over. `index.json` is written last and is the only commit. A finished generation is never changed.
"""

import errno
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError, StoppedError
from curation.keys import file_sha256
from curation.lock import writer_lock
from curation.media import MediaStore
from curation.names import plain_name
from curation.schema import SCHEMA_VERSION
from curation.selection import read_report, read_rows
from curation.shards.layout import (
    INDEX_FILE,
    GenerationIndex,
    ShardInfo,
    TarWriter,
    clip_json,
    read_offsets,
    rows_sha256,
    write_offsets,
)
from curation.tables import Row, publish, remove_leftovers, temporary_beside, write_bytes

CLIPS_PER_SHARD = 500
"""Source: ours; with 10 s of 48 kHz stereo FLAC and a small picture a clip has 1.5 to 2 MB, so a shard about 1 GB."""

Progress = Callable[[int, int], None]
"""Called with (shards done, shards in all)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """One shard to be packed; it holds all that its bytes depend on but the media.

    Args:
        folder: The generation's folder.
        name: The shard's number with six digits.
        media: Where sounds and pictures are read.
        clips: Kept rows of the selection, with the columns of `SELECTION`, sorted by clip_id.
    """

    folder: Path
    name: str
    media: MediaStore
    clips: pa.Table

    @property
    def tar(self) -> Path:
        """The shard's tar."""
        return self.folder / f"{self.name}.tar"

    @property
    def arrow(self) -> Path:
        """The table of offsets beside it."""
        return self.folder / f"{self.name}.arrow"

    def sha256(self) -> str:
        """What the shard is a function of: the `.json` texts, which name the media by their sha256."""
        texts = [clip_json(row, _members(row)) for row in self.clips.to_pylist()]
        return hashlib.sha256("\n".join([f"layout {SCHEMA_VERSION}", *texts]).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class PackReport:
    """What packing came to.

    Args:
        generation: Name of the generation.
        folder: Its folder.
        index: What its `index.json` says.
        existed: It was there already, with the same plan, and nothing was done.
    """

    generation: str
    folder: Path
    index: GenerationIndex
    existed: bool


def pack(
    dataset: Dataset,
    selection: str,
    *,
    generation: str | None = None,
    clips_per_shard: int = CLIPS_PER_SHARD,
    progress: Progress | None = None,
) -> PackReport:
    """Pack a selection into a new generation; run again after a kill, it goes on where it was.

    Args:
        dataset: The dataset.
        selection: Name of the selection.
        generation: Name of the generation; None: that of the selection.
        clips_per_shard: Clips a shard, >= 1.
        progress: Told after every shard.

    Raises:
        ArgumentError: The selection does not exist or keeps nothing, or the generation exists with another content.
        DatasetError: A media file is missing or damaged.
        LockedError: Another process packs this generation.
        StoppedError: The disk is full.
    """
    if clips_per_shard < 1:
        raise ArgumentError(f"a shard holds at least 1 clip, not {clips_per_shard}")
    name = plain_name(generation or selection, "generation")
    folder = dataset.folder("shards") / name
    report = read_report(dataset, selection)
    if report.kept_clips == 0:
        refused = ", ".join(f"{reason}: {count}" for reason, count in report.refused.items()) or "the dataset is empty"
        raise ArgumentError(f"selection {selection!r} keeps no clip ({refused}); change its conditions")
    planned = GenerationIndex(
        selection=selection,
        selection_sha256=report.sha256,
        settings={"clips_per_shard": clips_per_shard},
        parent=None,
        shards=(),
    )
    with writer_lock(dataset.folder("locks") / f"pack-{name}.lock", f"generation {name!r} of {dataset.path}"):
        if (folder / INDEX_FILE).is_file():
            return _existing(name, folder, planned)
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, older_than_s=-1.0)  # under the lock, so all of them are a dead process's
        clips = read_rows(dataset, selection, kept_only=True)
        plans = plan_shards(folder, dataset.media, clips, clips_per_shard)
        with stopped_when_full(folder):
            shards = []
            for plan in plans:
                shards.append(pack_shard(plan))
                if progress:
                    progress(len(shards), len(plans))
            index = replace(planned, shards=tuple(shards))
            _remove_others(folder, {shard.name for shard in shards})
            write_bytes(folder / INDEX_FILE, index.to_bytes())
    return PackReport(generation=name, folder=folder, index=index, existed=False)


def plan_shards(folder: Path, media: MediaStore, clips: pa.Table, clips_per_shard: int) -> list[ShardPlan]:
    """Cut the kept rows of a selection, sorted by clip_id, into shards."""
    ordered = clips.sort_by("clip_id")
    return [
        ShardPlan(folder=folder, name=f"{number:06d}", media=media, clips=ordered.slice(begin, clips_per_shard))
        for number, begin in enumerate(range(0, ordered.num_rows, clips_per_shard))
    ]


def pack_shard(plan: ShardPlan) -> ShardInfo:
    """Write one shard, or take it over where it is finished already; any process may do it.

    Raises:
        DatasetError: A media file is missing or damaged, or the disk gives back other bytes than were written.
    """
    tar, arrow = plan.tar, plan.arrow
    temporary_tar, temporary_arrow = temporary_beside(tar), temporary_beside(arrow)
    plan_sha256 = plan.sha256()
    try:
        finished = _finished(plan, plan_sha256)
        if finished:
            rows, tar_sha256 = finished
        else:
            rows, tar_sha256 = _write_tar(plan, temporary_tar)
            publish(temporary_tar, tar)
        write_offsets(temporary_arrow, rows, plan_sha256=plan_sha256, tar_sha256=tar_sha256)
        arrow_sha256 = file_sha256(temporary_arrow)
        publish(temporary_arrow, arrow)
    finally:
        temporary_tar.unlink(missing_ok=True)
        temporary_arrow.unlink(missing_ok=True)
    return ShardInfo(
        name=plan.name,
        clips=len(rows),
        tar_bytes=tar.stat().st_size,
        tar_sha256=tar_sha256,
        arrow_bytes=arrow.stat().st_size,
        arrow_sha256=arrow_sha256,
    )


def _write_tar(plan: ShardPlan, path: Path) -> tuple[list[Row], str]:
    """Write the tar and read it back; returns the rows of offsets and its sha256."""
    with path.open("wb") as file:
        writer = TarWriter(file)
        rows = [_add_clip(writer, plan.media, row) for row in plan.clips.to_pylist()]
        sha256 = writer.finish()
    if file_sha256(path) != sha256:
        raise DatasetError(f"{path} reads back other bytes than were written; check the disk")
    return rows, sha256


def _members(row: Row) -> dict[str, str]:
    """Member suffix -> sha256, of the media of a clip."""
    named = {"flac": row["audio_sha256"], "mp4": row["video_sha256"]}
    return {member: sha256 for member, sha256 in named.items() if sha256}


def _add_clip(writer: TarWriter, media: MediaStore, row: Row) -> Row:
    """Append a clip's members to the tar and return its row of offsets."""
    offsets: Row = {"key": row["clip_id"]}
    members = _members(row)
    text = clip_json(row, members)
    contents = {member: _media_bytes(media, sha256, f".{member}") for member, sha256 in members.items()}
    for member, content in [*contents.items(), ("json", text.encode())]:
        offsets[f"{member}_offset_bytes"] = writer.add(f"{row['clip_id']}.{member}", content)
        offsets[f"{member}_size_bytes"] = len(content)
    return {**offsets, "json": text}


def _media_bytes(media: MediaStore, sha256: str, suffix: str) -> bytes:
    path = media.open_path(sha256, suffix)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DatasetError(f"media file {path} does not have the content it is named for; delete it and fetch again")
    return content


def _finished(plan: ShardPlan, plan_sha256: str) -> tuple[list[Row], str] | None:
    """Offsets and sha256 of the tar that an interrupted pack of the same content left whole, or None."""
    if not (plan.tar.is_file() and plan.arrow.is_file()):
        return None
    try:
        table = read_offsets(plan.arrow)
    except DatasetError:
        return None
    rows = table.to_pylist()
    tar_sha256 = file_sha256(plan.tar)
    sums = {"plan_sha256": plan_sha256, "tar_sha256": tar_sha256, "rows_sha256": rows_sha256(rows)}
    expected = {name.encode(): sha256.encode() for name, sha256 in sums.items()}
    return (rows, tar_sha256) if expected.items() <= (table.schema.metadata or {}).items() else None


def _existing(name: str, folder: Path, planned: GenerationIndex) -> PackReport:
    """The report for a generation that is finished already.

    Raises:
        ArgumentError: It holds something else.
    """
    index = GenerationIndex.read(folder)
    if index.plan != planned.plan:
        raise ArgumentError(
            f"generation {name!r} is finished, from selection {index.selection!r} {dict(index.settings)}, and is never "
            f"changed; give another --name for selection {planned.selection!r} {dict(planned.settings)}"
        )
    return PackReport(generation=name, folder=folder, index=index, existed=True)


def _remove_others(folder: Path, names: set[str]) -> None:
    """Delete shards that an interrupted pack of something else left."""
    for path in folder.iterdir():
        if path.suffix in (".tar", ".arrow") and path.stem not in names:
            path.unlink()


@contextmanager
def stopped_when_full(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk into a `StoppedError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoppedError(f"the disk of {folder} is full; free some space and run the same command again") from error
