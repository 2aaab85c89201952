"""The index of a generation: which shards it has, where they lie, and what it is a function of.

A shard belongs to the folder of the generation that wrote it. A later generation that takes it over unchanged names it
by a relative path, `../first/000001`, and copies nothing.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from curation.errors import DatasetError
from curation.keys import canonical, file_sha256
from curation.schema import SCHEMA_VERSION
from curation.storage import Root

INDEX_FILE = "index.json"

_PLACE = re.compile(r"(\.\./[A-Za-z0-9][A-Za-z0-9._-]{0,99}/)?\d{6,}(-[0-9a-f]{8})?")
"""What a shard may be called: its number, after `forget` with a hash of what is left, in this or another generation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardInfo:
    """One finished shard, as `index.json` lists it.

    Args:
        name: Its number with six digits, or the path to it as seen from the generation's folder; the files are
            `<name>.tar` and `<name>.arrow`.
        clips: How many clips it holds.
        tar_bytes, arrow_bytes: Sizes of its files, bytes.
        arrow_sha256: sha256 of the table of offsets.
        members_sha256: Sum of the tar, see `MembersSum`.
        tar_sha256: sha256 of the tar, of which the first generations had this instead.
    """

    name: str
    clips: int
    tar_bytes: int
    arrow_bytes: int
    arrow_sha256: str
    members_sha256: str | None = None
    tar_sha256: str | None = None

    def __post_init__(self) -> None:
        if not _PLACE.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a shard")

    @property
    def generation(self) -> str | None:
        """The generation in whose folder it lies; None: the one that names it."""
        return self.name.split("/")[1] if "/" in self.name else None

    def seen_from_beside(self, generation: str) -> str:
        """Its name for another generation, given the one that names it."""
        return self.name if self.generation else f"../{generation}/{self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationIndex:
    """What `index.json` says.

    Args:
        selection: Name of the selection that was packed.
        selection_sha256: sha256 of its rows.
        settings: The settings of packing.
        parent: The generation that this one extends; None for a first one.
        shards: The shards, in order.
        forgotten_clips: Clips that were in it and were taken down.
    """

    selection: str
    selection_sha256: str
    settings: Mapping[str, Any]
    parent: str | None
    shards: tuple[ShardInfo, ...]
    forgotten_clips: int = 0

    @property
    def clips(self) -> int:
        """Clips in all shards."""
        return sum(shard.clips for shard in self.shards)

    @property
    def size_bytes(self) -> int:
        """Size of all tars and tables, bytes; those in other generations too."""
        return sum(shard.tar_bytes + shard.arrow_bytes for shard in self.shards)

    @property
    def plan(self) -> tuple[object, ...]:
        """What the generation is a function of: two with the same plan are byte-identical."""
        return self.selection_sha256, dict(self.settings), self.parent

    def to_bytes(self) -> bytes:
        """The text of `index.json`; it holds the sha256 of everything else in it."""
        fields = {"schema_version": SCHEMA_VERSION, "clips": self.clips, "size_bytes": self.size_bytes, **asdict(self)}
        fields["shards"] = [{key: value for key, value in s.items() if value is not None} for s in fields["shards"]]
        if not self.forgotten_clips:
            del fields["forgotten_clips"]
        signed = {**fields, "sha256": hashlib.sha256(canonical(fields)).hexdigest()}
        return json.dumps(signed, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def read(cls, folder: str | Path | Root) -> Self:
        """The index of the generation in `folder`.

        Raises:
            DatasetError: It is not there, from a newer version, or not byte for byte what was written.
        """
        root = Root.of(folder)
        file = root / INDEX_FILE
        try:
            content = root.read(INDEX_FILE)
        except (FileNotFoundError, NotADirectoryError):
            raise DatasetError(
                f"{root} is not a finished generation: it has no {INDEX_FILE}; run `foundsound pack`"
            ) from None
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
                forgotten_clips=fields.get("forgotten_clips", 0),
            )
            intact = index.to_bytes() == content
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{file} is damaged ({error}); restore it, or delete {root} and pack again") from error
        if not intact:
            raise DatasetError(f"{file} is damaged (its sum is wrong); restore it, or delete {root} and pack again")
        return index


def generations(shards: Root) -> dict[str, GenerationIndex]:
    """Name -> index of every finished generation below the root of shards.

    Raises:
        DatasetError: One is damaged.
    """
    finished = [name for name in shards.names() if shards.exists(f"{name}/{INDEX_FILE}")]
    return {name: GenerationIndex.read(shards / name) for name in finished}


def lineage(shards: Root, name: str) -> tuple[str, ...]:
    """A generation and those whose shards it names: the places where its clips lie."""
    index = GenerationIndex.read(shards / name)
    return name, *sorted({shard.generation for shard in index.shards if shard.generation})


def offsets_file(root: Root, shard: ShardInfo) -> Path:
    """The table of offsets of a shard; of an object store this machine's copy, unless that is of another shard.

    Args:
        root: The generation that names the shard.
        shard: The shard.

    Raises:
        DatasetError: It is missing.
    """
    name = f"{shard.name}.arrow"
    try:
        path = root.local(name)
        if not root.is_local and file_sha256(path) != shard.arrow_sha256:  # of a generation that had this name before
            path.unlink(missing_ok=True)
            path = root.local(name)
    except FileNotFoundError as error:
        raise DatasetError(f"{root / name} is missing or damaged; restore it, or pack again") from error
    return path
