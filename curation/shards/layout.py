"""The layout of one shard: the tar's bytes, the table of offsets beside it.

Everything here is a function from values to bytes; which clips go where is `curation/shards/plan.py`'s, and the index
of a generation `curation/shards/generation.py`'s.
"""

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from curation.errors import DatasetError
from curation.keys import canonical
from curation.schema import column, table
from curation.tables import Row

MEMBERS = ("flac", "mp4", "json")
"""Suffixes of a clip's members, in the order in which they stand in the tar."""

BLOCK_BYTES = 512
"""Tar headers and contents are padded to this. Source: POSIX.1-1988 (ustar)."""

END_OF_TAR = bytes(2 * BLOCK_BYTES)

OFFSETS = table(
    "One row a clip of the shard, in the order of the tar.",
    column("key", pa.string(), "clip_id"),
    *(
        column(f"{member}_{what}_bytes", pa.int64(), meaning)
        for member in MEMBERS
        for what, meaning in (
            ("offset", f"where the content of the .{member} begins in the tar, bytes; null without one"),
            ("size", f"length of the .{member}, bytes; null without one"),
        )
    ),
    column("json", pa.string(), "the text of the .json"),
    column("row_hash", pa.uint64(), "hash of the selection's row; equal for clips that did not change"),
)

ADDED = ("row_hash",)
"""Columns that the first shards did not have."""


def clip_json(row: Row, members: Mapping[str, str]) -> str:
    """The `.json` of a clip: sorted keys, no blanks; a transcript and types only where there are any.

    Args:
        row: A row of a selection.
        members: Member suffix -> sha256 of its content.
    """
    said = {name: row[name] for name in ("transcript", "types") if row.get(name)}
    return canonical(
        {
            "clip_id": row["clip_id"],
            "platform": row["platform"],
            "video_id": row["video_id"],
            "start_s": row["start_ms"] / 1000,
            "duration_s": row["duration_ms"] / 1000,
            "prev_clip_id": row["prev_clip_id"],
            "split": row["split"],
            "labels": row["labels"],
            "captions": row["captions"],
            "caption_sources": row["caption_sources"],
            **said,
            "sample_rate_hz": row["sample_rate_hz"],
            "licence": row["licence"],
            "sha256": dict(members),
            "provenance": {
                "lists": row["lists"],
                "url": row["url"],
                "original_sha256": row["original_sha256"],
            },
        }
    ).decode()


class TarWriter:
    """Writes a tar whose bytes depend on names and contents only: no times, no owners, one mode.

    Args:
        file: Open for writing, at its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._members = MembersSum()
        self.size_bytes = 0

    def add(self, name: str, content: bytes) -> tuple[int, str]:
        """Append a member; where its content begins in the tar, bytes, and the sha256 of its content."""
        head, digest = header(name, len(content)), hashlib.sha256(content)
        self._members.add(head, digest.digest())
        self._file.write(head)
        offset_bytes = self.size_bytes + BLOCK_BYTES
        self._file.write(content)
        padding = -len(content) % BLOCK_BYTES
        self._file.write(bytes(padding))
        self.size_bytes = offset_bytes + len(content) + padding
        return offset_bytes, digest.hexdigest()

    def finish(self) -> str:
        """Write the end of the tar and return the sum of its members."""
        self._file.write(END_OF_TAR)
        self.size_bytes += len(END_OF_TAR)
        return self._members.hexdigest()


class MembersSum:
    """The sum of a tar: sha256 over the header and the sha256 of the content of each member, in order.

    All else in the tar is zeros, so with its size it says every byte. Source: ours, a hash tree of two levels; the sum
    of each content is wanted anyway, and so every byte is hashed once.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, head: bytes, content_digest: bytes) -> None:
        """The next member: its header, and the sha256 of its content as 32 bytes."""
        self._digest.update(head + content_digest)

    def hexdigest(self) -> str:
        """The sum, 64 hexadecimal digits."""
        return self._digest.hexdigest()


def header(name: str, size_bytes: int) -> bytes:
    """The ustar header of a member: mode 0644, owner 0, time 0."""
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    member.mode = 0o644
    return member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def write_offsets(path: Path, rows: list[Row], *, plan_sha256: str, members_sha256: str) -> None:
    """Write the table of offsets as an uncompressed Arrow file, which readers map into memory.

    Args:
        path: Where to; not synced or renamed here.
        rows: With the columns of `OFFSETS`.
        plan_sha256: What the shard is a function of; kept in the file's schema, as is the next.
        members_sha256: Sum of the tar.
    """
    sums = {"plan_sha256": plan_sha256, "members_sha256": members_sha256, "rows_sha256": rows_sha256(rows)}
    schema = OFFSETS.with_metadata({**OFFSETS.metadata, **sums})
    rows_table = pa.Table.from_pylist(rows, schema=schema).combine_chunks()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(rows_table)


def rows_sha256(rows: list[Row]) -> str:
    """Sum of a table of offsets; columns that a row lacks are null."""
    return hashlib.sha256(canonical([[row.get(name) for name in OFFSETS.names] for row in rows])).hexdigest()


def read_offsets(path: Path) -> pa.Table:
    """The table of offsets, mapped into memory.

    Raises:
        DatasetError: The file is missing, or not such a table.
    """
    try:
        rows = pa.ipc.open_file(pa.memory_map(str(path), "r")).read_all()
        rows.validate(full=True)  # Arrow trusts a file's inner offsets, and follows damaged ones out of the file
        found = {field.name: field.type for field in rows.schema}
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is missing or damaged ({error}); `foundsound verify` says what else is") from error
    expected = {field.name: field.type for field in OFFSETS if field.name not in ADDED or field.name in found}
    wrong = [name for name, kind in expected.items() if found.get(name) != kind]
    if wrong:
        raise DatasetError(f"{path} lacks the columns {wrong}, or has them with other types; it is damaged")
    return rows


def read_row_hashes(path: Path) -> pa.Table:
    """The columns `key` and `row_hash` of a table of offsets; the hashes are null where it has none.

    Raises:
        DatasetError: The file is missing, or not such a table.
    """
    try:
        source = pa.memory_map(str(path), "r")
        names = pa.ipc.open_file(source).schema.names
        places = [names.index(name) for name in ("key", "row_hash") if name in names]
        rows = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=places)).read_all()
        rows.validate(full=True)
        if "row_hash" not in names:
            rows = rows.append_column("row_hash", pa.nulls(rows.num_rows, pa.uint64()))
    except (OSError, pa.ArrowException, UnicodeDecodeError, ValueError) as error:
        raise DatasetError(f"{path} is missing or damaged ({error}); `foundsound verify` says what else is") from error
    return rows
