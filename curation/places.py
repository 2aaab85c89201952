"""Where one array of each of many rows lies, in columns: what is read by number, millions of rows in little memory."""

from math import prod

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.blobs import Array, BlobReader
from curation.shards.batches import Indices


def numbers(column: pa.ChunkedArray | pa.Array) -> Indices:
    """A column as int64; -1 where it is null."""
    return np.asarray(pc.fill_null(pc.cast(column, pa.int64()), -1).to_numpy())


class Places:
    """Arrays of rows, in blobs. Any thread may read.

    Args:
        reader: Of the blobs.
        blob: File of each row's array; null where it has none.
        offset_bytes: Where each array begins in it, bytes; null where it has none.
        dtype: Of all of them, with byte order.
    """

    def __init__(
        self, reader: BlobReader, blob: pa.ChunkedArray, offset_bytes: pa.ChunkedArray, dtype: str = "<f2"
    ) -> None:
        files = blob.combine_chunks().dictionary_encode()
        self._reader, self._files, self._file = reader, files.dictionary.to_pylist(), numbers(files.indices)
        self._offset_bytes, self._dtype = numbers(offset_bytes), np.dtype(dtype)

    def has(self, row: int) -> bool:
        """Whether a row has an array."""
        return self._file.item(row) >= 0 and self._offset_bytes.item(row) >= 0

    def expect(self, row: int, shape: tuple[int, ...], *, skip: int = 0) -> None:
        """Say that an array will be read soon, as `BlobReader.expect`; arguments as in `read`."""
        size_bytes = prod(shape) * self._dtype.itemsize
        offset_bytes = self._offset_bytes.item(row) + skip * self._dtype.itemsize
        self._reader.expect_bytes(self._files[self._file.item(row)], offset_bytes, size_bytes)

    def read(self, row: int, shape: tuple[int, ...], *, skip: int = 0) -> Array:
        """An array, as a read-only view of the file.

        Args:
            row: Which; it has an array.
            shape: Of what is read.
            skip: How many of its numbers are left out before that.

        Raises:
            DatasetError: The file is missing, or ends before the array does.
        """
        offset_bytes = self._offset_bytes.item(row) + skip * self._dtype.itemsize
        return self._reader.view(self._files[self._file.item(row)], offset_bytes, shape, self._dtype)
