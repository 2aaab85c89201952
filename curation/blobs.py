"""Arrays on disk: append-only files of raw numbers, with the place of each array kept in a table elsewhere.

A worker writes one file of its own, `blob-<uuid>.bin`, and hands back references. References are committed (as fact
rows) only after `sync()`, so a kill loses nothing but bytes at the end of a file that no row names. In an object store,
where nothing can be appended, every `sync()` puts a file of its own. This file knows nothing of clips, vectors or
latents.
"""

import mmap
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from curation import read_ahead
from curation.errors import DatasetError
from curation.storage import Root, scratch_file
from curation.tables import sync_path

Array = npt.NDArray[Any]

ALIGN_BYTES = 64
"""Arrays begin at multiples of this. Source: ours; a cache line, and a multiple of every item size."""

ERASE_BYTES = 1 << 22
"""How much is looked at in one piece when something is erased."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobRef:
    """Where one array lies.

    Args:
        blob: The file, as seen from the reader's folder: its name, or a path below the folder.
        offset_bytes: Where the array begins, bytes; a multiple of `ALIGN_BYTES`.
        shape: Its shape.
        dtype: Its NumPy type with byte order, as `<f4`.
    """

    blob: str
    offset_bytes: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def size_bytes(self) -> int:
        """Length of the array on disk, bytes."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


class BlobWriter:
    """Appends arrays to one new file of a folder; for one thread of one process.

    The file is made with the first array, so a worker that had nothing to write leaves nothing. It is open only from an
    append to the next `sync()`, so a worker that is done need not be told.

    Args:
        folder: Where the file is made; made itself if it is not there.
    """

    def __init__(self, folder: str | Path | Root) -> None:
        self.root = Root.of(folder)
        self._begin()

    def _begin(self) -> None:
        """A fresh file, that does not exist yet."""
        self.blob = f"blob-{uuid.uuid4().hex}.bin"
        self._path = self.root.path / self.blob if self.root.is_local else scratch_file(".bin")
        self._file: BinaryIO | None = None
        self._end_bytes = 0

    def append(self, array: Array) -> BlobRef:
        """Write an array behind the others; it is safe to name only after the next `sync()`.

        Args:
            array: Any shape; a number type. Stored little-endian, in C order.

        Raises:
            TypeError: The array holds Python objects.
        """
        dtype = array.dtype.newbyteorder("<")
        if dtype.hasobject:
            raise TypeError(f"an array of {array.dtype} cannot be stored as raw numbers; give a number type")
        content = np.ascontiguousarray(array, dtype=dtype).tobytes()
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
            sync_path(self._path.parent)
        padding = -self._end_bytes % ALIGN_BYTES
        offset_bytes = self._end_bytes + padding
        self._file.write(b"\0" * padding + content)
        self._end_bytes = offset_bytes + len(content)
        return BlobRef(blob=self.blob, offset_bytes=offset_bytes, shape=tuple(array.shape), dtype=dtype.str)

    def sync(self) -> None:
        """Bring everything appended so far onto the disk; call it once a batch, before its rows are committed."""
        if self._file is not None:
            with self._file as file:
                file.flush()
                os.fsync(file.fileno())
            self._file = None
            if not self.root.is_local:
                self.root.put(self._path, self.blob)
                self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sync()


class BlobReader:
    """Reads arrays through memory maps, which are opened once a file and kept.

    Args:
        folder: The folder that the writers wrote to, or one above it.
    """

    def __init__(self, folder: str | Path | Root) -> None:
        self.root = Root.of(folder)
        self._maps: dict[str, mmap.mmap] = {}
        self._addresses: dict[str, int] = {}

    def __reduce__(self) -> tuple[type[Self], tuple[Root]]:
        return type(self), (self.root,)

    def read(self, ref: BlobRef) -> Array:
        """One array, of `ref.shape`, as a read-only view of the file: nothing is copied.

        Raises:
            DatasetError: The file is missing, or ends before the array does.
        """
        return self.view(ref.blob, ref.offset_bytes, ref.shape, np.dtype(ref.dtype))

    def view(self, blob: str, offset_bytes: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """One array by its place, as `read` gives it."""
        size_bytes = prod(shape) * dtype.itemsize
        if size_bytes == 0:
            return np.empty(shape, dtype=dtype)
        return np.ndarray(shape, dtype, self._map(blob, offset_bytes + size_bytes), offset_bytes)

    def expect(self, ref: BlobRef) -> None:
        """Say that an array will be read; the system begins with all such at `read_ahead.begin()`, side by side.

        Raises:
            DatasetError: As `read`.
        """
        self.expect_bytes(ref.blob, ref.offset_bytes, ref.size_bytes)

    def expect_bytes(self, blob: str, offset_bytes: int, size_bytes: int) -> None:
        """As `expect`, by place."""
        if size_bytes:
            self._map(blob, offset_bytes + size_bytes)
            read_ahead.expect(self._addresses[blob] + offset_bytes, size_bytes)

    def gather(self, refs: Sequence[BlobRef]) -> Array:
        """Many arrays of one type, joined along their first axis: clips of (windows, D) become (all windows, D).

        Args:
            refs: At least one; equal in dtype and in every axis but the first. Order is kept.

        Returns:
            A writable copy, shape (sum of the first axes, ...).

        Raises:
            ValueError: There are none, or their types or further axes differ.
        """
        kinds = {(ref.dtype, ref.shape[1:]) for ref in refs}
        if len(kinds) != 1 or any(not ref.shape for ref in refs):
            raise ValueError(f"arrays of one type and one width can be joined, not of {sorted(kinds, key=str)}")
        dtype, width = kinds.pop()
        joined = np.empty((sum(ref.shape[0] for ref in refs), *width), dtype=dtype)
        begin = 0
        for ref in refs:
            joined[begin : begin + ref.shape[0]] = self.read(ref)
            begin += ref.shape[0]
        return joined

    def _map(self, blob: str, end_bytes: int) -> mmap.mmap:
        mapped = self._maps.get(blob)
        if mapped is None or len(mapped) < end_bytes:  # a writer may have appended since it was opened
            mapped = self._open(blob, end_bytes)
            self._addresses[blob] = np.frombuffer(mapped, np.uint8).ctypes.data
            self._maps[blob] = mapped
        return mapped

    def _open(self, blob: str, end_bytes: int) -> mmap.mmap:
        missing = DatasetError(f"blob {self.root / blob} is named by a table but missing; run its stage again")
        if Path(blob).is_absolute() or ".." in Path(blob).parts:
            raise missing
        try:
            path = self.root.local(blob)
        except FileNotFoundError:
            raise missing from None
        size_bytes = path.stat().st_size
        if size_bytes < end_bytes:
            raise DatasetError(
                f"blob {path} has {size_bytes} bytes, but a table names bytes up to {end_bytes}: it was cut short; "
                "restore it, or run the stage that wrote it again"
            )
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def erase(root: Root, blob: str, kept: Sequence[tuple[int, int]]) -> bool:
    """Fill with zeros what no row names any more, or delete the file when no row names any of it.

    The file keeps its length, so that what is kept stays where rows say it is. Doing it twice changes nothing.

    Args:
        root: The folder that the writers wrote to, or one above it.
        blob: The file, as seen from it.
        kept: (begin, end) of what stays, bytes; in any order, overlapping or not.

    Returns:
        Whether anything was erased.
    """
    if not kept:
        return root.remove(blob)
    path = root.path / blob if root.is_local else scratch_file(".bin")
    if not root.is_local:
        shutil.copyfile(root.local(blob), path)
    found = False
    try:
        with path.open("r+b") as file:
            size_bytes, position = path.stat().st_size, 0
            for begin, end in [*sorted(kept), (size_bytes, size_bytes)]:
                found |= _zero(file, position, min(begin, size_bytes))
                position = max(position, end)
            os.fsync(file.fileno())
        if found and not root.is_local:
            root.put(path, blob)
    finally:
        if not root.is_local:
            path.unlink(missing_ok=True)
    return found


def _zero(file: BinaryIO, begin: int, end: int) -> bool:
    """Write zeros from `begin` up to `end`; whether anything else was there."""
    found = False
    for at in range(begin, end, ERASE_BYTES):
        file.seek(at)
        content = file.read(min(ERASE_BYTES, end - at))
        if content.strip(b"\0"):
            file.seek(at)
            file.write(bytes(len(content)))
            found = True
    return found
