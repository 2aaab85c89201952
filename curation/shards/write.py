"""Writing one shard: its tar, and the table of offsets beside it, or taking over what a killed run finished."""

import hashlib
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from curation.errors import DatasetError, StoppedError
from curation.keys import file_sha256
from curation.media import MediaStore
from curation.schema import SCHEMA_VERSION
from curation.shards.generation import ShardInfo
from curation.shards.layout import (
    BLOCK_BYTES,
    END_OF_TAR,
    MEMBERS,
    MembersSum,
    TarWriter,
    clip_json,
    read_offsets,
    rows_sha256,
    write_offsets,
)
from curation.storage import Root, scratch_file
from curation.tables import Row, sync_path, temporary_beside

BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """One shard to be written; it holds all that its bytes depend on but the media.

    Args:
        root: The generation's folder.
        name: The shard's name there.
        media: Where sounds and pictures are read.
        clips: Rows with the columns of `SELECTION` and `row_hash`, sorted by clip_id.
    """

    root: Root
    name: str
    media: MediaStore
    clips: pa.Table

    @property
    def tar(self) -> str:
        """Name of the shard's tar."""
        return f"{self.name}.tar"

    @property
    def arrow(self) -> str:
        """Name of the table of offsets beside it."""
        return f"{self.name}.arrow"


def pack_shard(plan: ShardPlan, stop: threading.Event | None = None) -> ShardInfo:
    """Write one shard, or take it over where it is finished already; any thread may do it.

    Args:
        plan: The shard.
        stop: When set, the work ends at the next clip and leaves nothing.

    Raises:
        DatasetError: A media file is missing or damaged.
        StoppedError: `stop` was set.
    """
    clips = plan.clips.to_pylist()
    texts = [clip_json(row, _members(row)) for row in clips]
    plan_sha256 = hashlib.sha256("\n".join([f"layout {SCHEMA_VERSION}", *texts]).encode()).hexdigest()
    with ExitStack() as leftovers:
        tar, arrow = (temporary_of(plan.root, name) for name in (plan.tar, plan.arrow))
        for path in (tar, arrow):
            leftovers.callback(path.unlink, missing_ok=True)
        finished = _finished(plan, plan_sha256, arrow)
        rows, members_sha256, tar_bytes = finished or _write_tar(plan, clips, texts, tar, stop)
        write_offsets(arrow, rows, plan_sha256=plan_sha256, members_sha256=members_sha256)
        info = ShardInfo(
            name=plan.name,
            clips=len(rows),
            tar_bytes=tar_bytes,
            members_sha256=members_sha256,
            arrow_bytes=arrow.stat().st_size,
            arrow_sha256=file_sha256(arrow),
        )
        publish_shard(plan.root, {plan.arrow: arrow} if finished else {plan.tar: tar, plan.arrow: arrow})
    return info


def _write_tar(
    plan: ShardPlan, clips: list[Row], texts: list[str], path: Path, stop: threading.Event | None
) -> tuple[list[Row], str, int]:
    """Write the tar; the rows of offsets, the sum of its members and its size, bytes."""
    with path.open("wb", buffering=BUFFER_BYTES) as file:
        writer = TarWriter(file)
        rows = []
        for row, text in zip(clips, texts, strict=True):
            if stop is not None and stop.is_set():
                raise StoppedError(f"packing was stopped while shard {plan.name} was written")
            rows.append(_add_clip(writer, plan.media, row, text))
        members_sha256 = writer.finish()
    return rows, members_sha256, writer.size_bytes


def temporary_of(root: Root, name: str) -> Path:
    """A fresh file of this machine, to become the file of this name; in a folder it lies beside it."""
    return temporary_beside(root.path / name) if root.is_local else scratch_file(Path(name).suffix)


def publish_shard(root: Root, files: dict[str, Path]) -> None:
    """Let the files of a shard begin to exist, synced, in this order: the tar, then its table that says it is there.

    Args:
        root: The generation's folder.
        files: Name there -> finished file; in a folder a temporary one beside it.
    """
    if not root.is_local:
        for name, path in files.items():
            root.put(path, name)
        return
    for path in files.values():
        sync_path(path)
    for name, path in files.items():
        path.replace(root.path / name)
    sync_path(root.path)


def _members(row: Row) -> dict[str, str]:
    """Member suffix -> sha256, of the media of a clip."""
    named = {"flac": row["audio_sha256"], "mp4": row["video_sha256"]}
    return {member: sha256 for member, sha256 in named.items() if sha256}


def _add_clip(writer: TarWriter, media: MediaStore, row: Row, text: str) -> Row:
    """Append a clip's members to the tar and return its row of offsets."""
    offsets: Row = {"key": row["clip_id"], "json": text, "row_hash": row.get("row_hash")}
    members = _members(row)
    for member in MEMBERS:
        if member == "json":
            content = text.encode()
        elif member in members:
            content = media.read(members[member], f".{member}")
        else:
            continue
        offsets[f"{member}_size_bytes"] = len(content)
        offsets[f"{member}_offset_bytes"], sha256 = writer.add(f"{row['clip_id']}.{member}", content)
        if members.get(member, sha256) != sha256:
            raise DatasetError(
                f"media file {members[member]}.{member} of {media.root} does not have the content it is named for; "
                "delete it and fetch again"
            )
    return offsets


def _finished(plan: ShardPlan, plan_sha256: str, scratch: Path) -> tuple[list[Row], str, int] | None:
    """What an interrupted pack of the same content left whole: as `_write_tar` gives it; `scratch` is written over."""
    if not (plan.root.exists(plan.arrow) and plan.root.exists(plan.tar)):
        return None
    plan.root.download(plan.arrow, scratch)
    try:
        table = read_offsets(scratch)
    except DatasetError:
        return None
    rows, tar_bytes = table.to_pylist(), plan.root.size_bytes(plan.tar)
    found = {key.decode(): value.decode(errors="replace") for key, value in (table.schema.metadata or {}).items()}
    if found.get("plan_sha256") != plan_sha256 or found.get("rows_sha256") != rows_sha256(rows):
        return None
    ends = [row["json_offset_bytes"] + row["json_size_bytes"] for row in rows]
    if tar_bytes != -(-ends[-1] // BLOCK_BYTES) * BLOCK_BYTES + len(END_OF_TAR):
        return None
    members_sha256 = found.get("members_sha256", "")
    # What one request put into an object store is whole; a folder is read, since power may have failed.
    if plan.root.is_local and members_sha256 != members_sum(plan.root.path / plan.tar, rows):
        return None
    return rows, members_sha256, tar_bytes


def members_sum(tar: Path, rows: list[Row]) -> str | None:
    """The sum of a tar, read where its table of offsets says; None where anything but zeros lies between its members.

    Args:
        tar: The file.
        rows: Its table of offsets.
    """
    sums = MembersSum()
    position = 0
    with tar.open("rb", buffering=BUFFER_BYTES) as file:
        for row in rows:
            for member in MEMBERS:
                begin, size_bytes = row[f"{member}_offset_bytes"], row[f"{member}_size_bytes"]
                if begin is None:
                    continue
                between = begin - BLOCK_BYTES - position
                if between < 0 or file.read(between).strip(b"\0"):
                    return None
                sums.add(file.read(BLOCK_BYTES), hashlib.sha256(file.read(size_bytes)).digest())
                position = begin + size_bytes
        if file.read().strip(b"\0"):
            return None
    return sums.hexdigest()
