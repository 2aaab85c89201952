"""Random access to the clips of a generation, through the offsets beside the tars; no tar is ever parsed here.

Files are mapped when they are first needed and the least recently used are let go, so a generation of ten thousand
shards opens at once and does not run out of file handles. Bytes go out as they are: decoding is the caller's.
"""

import json
import mmap
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from curation.errors import DatasetError
from curation.shards.layout import MEMBERS, GenerationIndex, ShardInfo, read_offsets

OPEN_SHARDS = 128
"""How many shards are kept mapped, two file handles each. Source: ours; a quarter of the usual limit of 1024."""


@dataclass(frozen=True, slots=True)
class _Mapped:
    """One shard in memory: its table of offsets and its tar."""

    offsets: pa.Table
    tar: mmap.mmap


class Shards:
    """The clips of a finished generation, numbered from 0 in the order of their clip_ids; safe to share by threads.

    Args:
        folder: `shards/<generation>`.

    Raises:
        DatasetError: The generation is not finished, or its index is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.index = GenerationIndex.read(self.folder)
        self._ends = list(accumulate(shard.clips for shard in self.index.shards))
        self._mapped: OrderedDict[int, _Mapped] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open the generation in this folder."""
        return cls(folder)

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.folder,)

    def __len__(self) -> int:
        return self.index.clips

    @property
    def keys(self) -> list[str]:
        """The clip_ids of all clips, in order; reads every table of offsets."""
        return [key for number in range(len(self._ends)) for key in self._shard(number).offsets["key"].to_pylist()]

    def key(self, index: int) -> str:
        """clip_id of one clip."""
        shard, row = self._find(index)
        return str(shard.offsets["key"][row].as_py())

    def about(self, index: int) -> dict[str, Any]:
        """What the clip's `.json` says, without touching the tar."""
        shard, row = self._find(index)
        fields: dict[str, Any] = json.loads(shard.offsets["json"][row].as_py())
        return fields

    def read(self, index: int, members: Sequence[str] = ("flac", "json")) -> dict[str, bytes]:
        """Contents of some members of one clip.

        Args:
            index: Number of the clip; negative ones count from the end.
            members: Of `flac`, `mp4`, `json`.

        Returns:
            Member -> content; a member that the clip does not have (a picture) is left out.

        Raises:
            IndexError: There is no such clip.
            DatasetError: A file is missing or cut short.
        """
        shard, row = self._find(index)
        contents = {}
        for member in members:
            if member not in MEMBERS:
                raise ValueError(f"members are {', '.join(MEMBERS)}, not {member!r}")
            offset_bytes = shard.offsets[f"{member}_offset_bytes"][row].as_py()
            if offset_bytes is not None:
                end_bytes = offset_bytes + shard.offsets[f"{member}_size_bytes"][row].as_py()
                contents[member] = shard.tar[offset_bytes:end_bytes]
        return contents

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
        tar = self.folder / f"{shard.name}.tar"
        if not tar.is_file() or tar.stat().st_size != shard.tar_bytes:
            raise DatasetError(f"{tar} is missing or does not have {shard.tar_bytes} bytes; restore it, or pack again")
        offsets = read_offsets(self.folder / f"{shard.name}.arrow")
        if offsets.num_rows != shard.clips:
            raise DatasetError(f"{shard.name}.arrow in {self.folder} has {offsets.num_rows} rows, not {shard.clips}")
        with tar.open("rb") as file:
            return _Mapped(offsets, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
