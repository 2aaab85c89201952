"""Random access to the clips of a generation, through the offsets beside the tars; no tar is ever parsed here.

Files are mapped when they are first needed and the least recently used are let go, so a generation of ten thousand
shards opens at once and does not run out of file handles. In an object store one range of the tar is asked for a clip.
Bytes go out as they are: decoding is the caller's.
"""

import json
import mmap
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from curation.errors import DatasetError
from curation.shards.generation import GenerationIndex, ShardInfo, offsets_file
from curation.shards.layout import MEMBERS, read_offsets
from curation.storage import Root

OPEN_SHARDS = 128
"""How many shards are kept mapped, two file handles each. Source: ours; a quarter of the usual limit of 1024."""


@dataclass(frozen=True, slots=True)
class _Mapped:
    """One shard in memory: its table of offsets, the spans of each member as lists, and its tar, where it is a file."""

    offsets: pa.Table
    spans: dict[str, tuple[list[int | None], list[int | None]]]
    tar: mmap.mmap | None
    name: str


class Shards:
    """The clips of a finished generation, numbered from 0 in the order of its shards; safe to share by threads.

    In a first generation that is the order of the clip_ids; a later one has those of its parent before its own.

    Args:
        folder: `shards/<generation>`.
        check: Called after each reading, with what it may raise; None: nothing is.

    Raises:
        DatasetError: The generation is not finished, or its index is damaged.
    """

    def __init__(self, folder: str | Path | Root, check: Callable[[], None] | None = None) -> None:
        self.root, self._check = Root.of(folder), check
        self.index = GenerationIndex.read(self.root)
        self._ends = list(accumulate(shard.clips for shard in self.index.shards))
        self._mapped: OrderedDict[int, _Mapped] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: str | Path | Root) -> Self:
        """Open the generation in this folder."""
        return cls(folder)

    def __reduce__(self) -> tuple[type[Self], tuple[Root]]:
        return type(self), (self.root,)

    def __len__(self) -> int:
        return self.index.clips

    @property
    def keys(self) -> list[str]:
        """The clip_ids of all clips, in order; reads every table of offsets."""
        return [key for offsets in self.offsets() for key in offsets["key"].to_pylist()]

    def offsets(self) -> Iterator[pa.Table]:
        """The tables of offsets, shard by shard: a row a clip, with its `.json`."""
        for number in range(len(self._ends)):
            yield self._shard(number).offsets

    def key(self, index: int) -> str:
        """clip_id of one clip."""
        shard, row = self._find(index)
        return str(shard.offsets["key"][row].as_py())

    def about(self, index: int) -> dict[str, Any]:
        """What the clip's `.json` says, without touching the tar."""
        shard, row = self._find(index)
        fields: dict[str, Any] = json.loads(shard.offsets["json"][row].as_py())
        return fields

    def read(
        self, index: int, members: Sequence[str] = ("flac", "json"), *, head_bytes: int | None = None
    ) -> dict[str, bytes]:
        """Contents of some members of one clip.

        Args:
            index: Number of the clip; negative ones count from the end.
            members: Of `flac`, `mp4`, `json`.
            head_bytes: Of each only so much, from its beginning; None for all.

        Returns:
            Member -> content; a member that the clip does not have (a picture) is left out.

        Raises:
            IndexError: There is no such clip.
            DatasetError: A file is missing or cut short.
        """
        shard, row = self._find(index)
        spans: dict[str, tuple[int, int]] = {}
        for member in members:
            if member not in shard.spans:
                raise ValueError(f"members are {', '.join(MEMBERS)}, not {member!r}")
            offsets, sizes = shard.spans[member]
            offset_bytes, size_bytes = offsets[row], sizes[row]
            if offset_bytes is not None and size_bytes is not None:
                length = size_bytes if head_bytes is None else min(size_bytes, head_bytes)
                spans[member] = (offset_bytes, offset_bytes + length)
        tar = shard.tar
        found = self._ranged(shard, spans) if tar is None else {name: tar[a:b] for name, (a, b) in spans.items()}
        if self._check is not None:
            self._check()
        return found

    def _ranged(self, shard: _Mapped, spans: dict[str, tuple[int, int]]) -> dict[str, bytes]:
        """The members of a clip, which lie side by side in the tar, with one request."""
        if not spans:
            return {}
        first, last = min(begin for begin, _ in spans.values()), max(end for _, end in spans.values())
        content = self.root.read(f"{shard.name}.tar", first, last)
        if len(content) != last - first:
            raise DatasetError(f"{self.root / shard.name}.tar ends before byte {last}; restore it, or pack again")
        return {name: content[begin - first : end - first] for name, (begin, end) in spans.items()}

    def _find(self, index: int) -> tuple[_Mapped, int]:
        """The shard of a clip, and its row there."""
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"clip {index} of a generation of {len(self)}")
        number = bisect_right(self._ends, position)
        return self._shard(number), position - (self._ends[number - 1] if number else 0)

    def _shard(self, number: int) -> _Mapped:
        with self._lock:
            mapped = self._mapped.get(number)
            if mapped is None:
                mapped = self._mapped[number] = self._map(self.index.shards[number])
            self._mapped.move_to_end(number)
            if len(self._mapped) > OPEN_SHARDS:
                self._mapped.popitem(last=False)  # a reader that still holds it keeps it alive
            return mapped

    def _map(self, shard: ShardInfo) -> _Mapped:
        tar = f"{shard.name}.tar"
        try:
            tar_bytes = self.root.size_bytes(tar)
        except FileNotFoundError:
            tar_bytes = -1
        if tar_bytes != shard.tar_bytes:
            where = self.root / tar
            raise DatasetError(f"{where} is missing or does not have {shard.tar_bytes} bytes; restore it or pack again")
        offsets = read_offsets(offsets_file(self.root, shard))
        if offsets.num_rows != shard.clips:
            raise DatasetError(f"{shard.name}.arrow in {self.root} has {offsets.num_rows} rows, not {shard.clips}")
        spans = {
            member: (offsets[f"{member}_offset_bytes"].to_pylist(), offsets[f"{member}_size_bytes"].to_pylist())
            for member in MEMBERS
        }
        if not self.root.is_local:
            return _Mapped(offsets, spans, None, shard.name)
        with (self.root / tar).path.open("rb") as file:
            return _Mapped(offsets, spans, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), shard.name)
