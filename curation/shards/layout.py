"""The layout of one shard: the tar's bytes, the table of offsets beside it, and the index of a generation.

Everything here is a function from values to bytes; which clips go where is `curation/shards/pack.py`'s.
"""

import hashlib
import json
import tarfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import pyarrow as pa

from curation.errors import DatasetError
from curation.keys import canonical
from curation.schema import SCHEMA_VERSION, column, table
from curation.tables import Row

INDEX_FILE = "index.json"

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
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardInfo:
    """One finished shard, as `index.json` lists it.

    Args:
        name: Its number with six digits; the files are `<name>.tar` and `<name>.arrow`.
        clips: How many clips it holds.
        tar_bytes, arrow_bytes: Sizes of its files, bytes.
        tar_sha256, arrow_sha256: Their sums.
    """

    name: str
    clips: int
    tar_bytes: int
    tar_sha256: str
    arrow_bytes: int
    arrow_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationIndex:
    """What `index.json` says.

    Args:
        selection: Name of the selection that was packed.
        selection_sha256: sha256 of its rows.
        settings: The settings of packing.
        parent: The generation that this one extends; None for a first one.
        shards: The shards, in order.
    """

    selection: str
    selection_sha256: str
    settings: Mapping[str, Any]
    parent: str | None
    shards: tuple[ShardInfo, ...]

    @property
    def clips(self) -> int:
        """Clips in all shards."""
        return sum(shard.clips for shard in self.shards)

    @property
    def size_bytes(self) -> int:
        """Size of all tars and tables, bytes."""
        return sum(shard.tar_bytes + shard.arrow_bytes for shard in self.shards)

    @property
    def plan(self) -> tuple[object, ...]:
        """What the generation is a function of: two with the same plan are byte-identical."""
        return self.selection_sha256, dict(self.settings), self.parent

    def to_bytes(self) -> bytes:
        """The text of `index.json`; it holds the sha256 of everything else in it."""
        fields = {"schema_version": SCHEMA_VERSION, "clips": self.clips, "size_bytes": self.size_bytes, **asdict(self)}
        signed = {**fields, "sha256": hashlib.sha256(canonical(fields)).hexdigest()}
        return json.dumps(signed, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The index of the generation in `folder`.

        Raises:
            DatasetError: It is not there, from a newer version, or not byte for byte what was written.
        """
        file = folder / INDEX_FILE
        if not file.is_file():
            raise DatasetError(f"{folder} is not a finished generation: it has no {INDEX_FILE}; run `foundsound pack`")
        content = file.read_bytes()
        try:
            fields = json.loads(content)
            version = fields["schema_version"]
            if isinstance(version, int) and version > SCHEMA_VERSION:
                raise DatasetError(f"{file} has schema version {version}; this foundsound reads up to {SCHEMA_VERSION}")
            index = cls(
                selection=fields["selection"],
                selection_sha256=fields["selection_sha256"],
                settings=fields["settings"],
                parent=fields["parent"],
                shards=tuple(ShardInfo(**shard) for shard in fields["shards"]),
            )
            intact = index.to_bytes() == content
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{file} is damaged ({error}); restore it, or delete {folder} and pack again") from error
        if not intact:
            raise DatasetError(f"{file} is damaged (its sum is wrong); restore it, or delete {folder} and pack again")
        return index


def clip_json(row: Row, members: Mapping[str, str]) -> str:
    """The `.json` of a clip: sorted keys, no blanks.

    Args:
        row: A row of a selection.
        members: Member suffix -> sha256 of its content.
    """
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
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def add(self, name: str, content: bytes) -> int:
        """Append a member and return where its content begins, bytes."""
        self._write(header(name, len(content)))
        offset_bytes = self.size_bytes
        self._write(content)
        self._write(bytes(-len(content) % BLOCK_BYTES))
        return offset_bytes

    def finish(self) -> str:
        """Write the end of the tar and return the sha256 of the whole file."""
        self._write(END_OF_TAR)
        return self._digest.hexdigest()

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self.size_bytes += len(content)


def header(name: str, size_bytes: int) -> bytes:
    """The ustar header of a member: mode 0644, owner 0, time 0."""
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    member.mode = 0o644
    return member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def write_offsets(path: Path, rows: list[Row], *, plan_sha256: str, tar_sha256: str) -> None:
    """Write the table of offsets as an uncompressed Arrow file, which readers map into memory.

    Args:
        path: Where to; not synced or renamed here.
        rows: With the columns of `OFFSETS`.
        plan_sha256: What the shard is a function of; kept in the file's schema, as is the next.
        tar_sha256: Sum of the tar.
    """
    sums = {"plan_sha256": plan_sha256, "tar_sha256": tar_sha256, "rows_sha256": rows_sha256(rows)}
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
    wrong = [field.name for field in OFFSETS if found.get(field.name) != field.type]
    if wrong:
        raise DatasetError(f"{path} lacks the columns {wrong}, or has them with other types; it is damaged")
    return rows
