"""Arrays by the number of their row: the same as by their places, rows without any, and what lies behind a skip."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curation.blobs import BlobReader, BlobWriter
from curation.errors import DatasetError
from curation.places import Places, numbers


def made(folder: Path) -> tuple[list[np.ndarray], Places]:
    """Rows 0 and 2 have arrays, in files of their own; row 1 has none."""
    arrays = [np.arange(12, dtype=np.float16).reshape(4, 3), np.arange(100, 106, dtype=np.float16).reshape(2, 3)]
    refs = []
    for array in arrays:
        with BlobWriter(folder) as writer:
            writer.append(np.zeros(5, np.float16))  # so that offsets are not 0
            refs.append(writer.append(array))
    blob = pa.chunked_array([[refs[0].blob], [None, refs[1].blob]])
    offsets = pa.chunked_array([[refs[0].offset_bytes, None, refs[1].offset_bytes]])
    return arrays, Places(BlobReader(folder), blob, offsets)


def test_rows_have_their_arrays(tmp_path: Path) -> None:
    arrays, places = made(tmp_path)
    assert [places.has(row) for row in range(3)] == [True, False, True]
    places.expect(0, (4, 3))
    np.testing.assert_array_equal(places.read(0, (4, 3)), arrays[0])
    np.testing.assert_array_equal(places.read(2, (2, 3)), arrays[1])
    np.testing.assert_array_equal(places.read(0, (1, 3), skip=6), arrays[0][2:3])
    assert places.read(0, (0, 3)).shape == (0, 3)
    with pytest.raises(ValueError, match="read-only"):
        places.read(0, (4, 3))[0] = 1


def test_what_a_file_does_not_hold_is_refused(tmp_path: Path) -> None:
    _, places = made(tmp_path)
    with pytest.raises(DatasetError, match="was cut short"):
        places.read(2, (50, 3))
    with pytest.raises(DatasetError, match="was cut short"):
        places.expect(2, (50, 3))


def test_a_row_without_a_number_is_minus_one() -> None:
    np.testing.assert_array_equal(numbers(pa.chunked_array([[3, None], [0]], pa.int32())), [3, -1, 0])
