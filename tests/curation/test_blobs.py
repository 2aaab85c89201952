"""Arrays come back as they went in, a kill costs only what no row names, and damage is named."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from curation.blobs import ALIGN_BYTES, BlobReader, BlobRef, BlobWriter
from curation.errors import DatasetError

DTYPES = st.sampled_from([np.dtype(name) for name in ("<f4", ">f4", "<f2", "<i8", "|u1", "|b1")])


@settings(max_examples=30, deadline=None)
@given(st.lists(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, min_side=0, max_side=5)), max_size=6))
def test_arrays_come_back_as_they_went_in(tmp_path_factory: pytest.TempPathFactory, arrays: list[np.ndarray]) -> None:
    folder = tmp_path_factory.mktemp("blobs")
    with BlobWriter(folder) as writer:
        refs = [writer.append(array) for array in arrays]
    reader = BlobReader(folder)
    for array, ref in zip(arrays, refs, strict=True):
        found = reader.read(ref)
        assert found.shape == array.shape and found.dtype == array.dtype.newbyteorder("<")
        np.testing.assert_array_equal(found, array)
        assert ref.offset_bytes % ALIGN_BYTES == 0


def test_a_reader_sees_what_was_appended_after_it_opened(tmp_path: Path) -> None:
    writer, reader = BlobWriter(tmp_path), BlobReader(tmp_path)
    first = writer.append(np.arange(5))
    writer.sync()
    assert reader.read(first).tolist() == [0, 1, 2, 3, 4]
    second = writer.append(np.arange(7.0))
    writer.sync()
    assert pickle.loads(pickle.dumps(reader)).read(second)[-1] == reader.read(second)[-1] == 6.0


def test_gather_joins_in_order_over_files(tmp_path: Path) -> None:
    arrays = [np.random.default_rng([1, n]).normal(size=(n, 3)).astype("<f4") for n in (2, 0, 5, 1)]
    refs = []
    for array in arrays:
        with BlobWriter(tmp_path) as writer:
            refs.append(writer.append(array))
    np.testing.assert_array_equal(BlobReader(tmp_path).gather(refs), np.concatenate(arrays))
    assert len({ref.blob for ref in refs}) == 4
    with pytest.raises(ValueError, match="one width"):
        BlobReader(tmp_path).gather([refs[0], BlobRef(blob="b", offset_bytes=0, shape=(1, 4), dtype="<f4")])
    with pytest.raises(ValueError, match="one width"):
        BlobReader(tmp_path).gather([])


def test_what_is_read_cannot_be_changed_and_what_is_gathered_can(tmp_path: Path) -> None:
    with BlobWriter(tmp_path) as writer:
        ref = writer.append(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="read-only"):
        BlobReader(tmp_path).read(ref)[0] = 1
    BlobReader(tmp_path).gather([ref])[0] = 1


def test_nothing_written_leaves_no_file(tmp_path: Path) -> None:
    with BlobWriter(tmp_path / "none") as writer:
        writer.sync()
    assert not (tmp_path / "none").exists()
    with BlobWriter(tmp_path) as writer, pytest.raises(TypeError, match="object"):
        writer.append(np.array([{}]))


def test_a_missing_or_short_file_is_named(tmp_path: Path) -> None:
    with BlobWriter(tmp_path) as writer:
        ref = writer.append(np.arange(100))
    os.truncate(tmp_path / ref.blob, 799)
    with pytest.raises(DatasetError, match=r"799 bytes.*up to 800"):
        BlobReader(tmp_path).read(ref)
    for blob in ("gone.bin", f"../{tmp_path.name}/{ref.blob}"):
        with pytest.raises(DatasetError, match="missing"):
            BlobReader(tmp_path).read(BlobRef(blob=blob, offset_bytes=0, shape=(1,), dtype="<i8"))


def test_a_kill_keeps_everything_that_was_synced(tmp_path: Path) -> None:
    code = """if True:
        import os, signal, sys
        import numpy as np
        from curation.blobs import BlobWriter
        writer = BlobWriter(sys.argv[1])
        ref = writer.append(np.arange(1000))
        writer.sync()
        print(ref.blob, ref.offset_bytes, flush=True)
        writer.append(np.zeros(10_000_000))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    blob, offset_bytes = done.stdout.split()
    ref = BlobRef(blob=blob, offset_bytes=int(offset_bytes), shape=(1000,), dtype="<i8")
    assert BlobReader(tmp_path).read(ref).tolist() == list(range(1000))
