"""Parts that are expected are read by the system before they are touched; and where it has not the call for many."""

import ctypes
import mmap
import os
import time
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from curation import read_ahead
from curation.blobs import BlobReader, BlobRef, BlobWriter

PAGES = 64


def cold(folder: Path) -> tuple[BlobReader, BlobRef]:
    """A file of which nothing is in memory, but for what the system itself reads."""
    with BlobWriter(folder) as writer:
        ref = writer.append(np.arange(PAGES * mmap.PAGESIZE, dtype=np.uint8))
    handle = os.open(folder / ref.blob, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)
    return BlobReader(folder), ref


def pages_in_memory(reader: BlobReader, ref: BlobRef) -> int:
    view = reader.read(ref)
    found = np.zeros(PAGES, np.uint8)
    size = ctypes.c_size_t(PAGES * mmap.PAGESIZE)
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(view.ctypes.data), size, ctypes.c_void_p(found.ctypes.data)) == 0
    return int((found & 1).sum())


def all_there(reader: BlobReader, ref: BlobRef) -> bool:
    until = time.monotonic() + 10
    while pages_in_memory(reader, ref) < PAGES and time.monotonic() < until:
        time.sleep(0.01)
    return pages_in_memory(reader, ref) == PAGES


@pytest.mark.parametrize("has_call_for_many", [True, False])
def test_what_is_expected_is_read_before_it_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_call_for_many: bool
) -> None:
    if not has_call_for_many:
        monkeypatch.setattr(read_ahead, "SYS_PROCESS_MADVISE", 999_999)
    reader, ref = cold(tmp_path)
    if pages_in_memory(reader, ref):
        pytest.skip("this file system keeps all it has in memory")
    reader.expect(ref)
    assert pages_in_memory(reader, ref) == 0, "nothing is read before it is begun"
    assert read_ahead.begin() == PAGES * mmap.PAGESIZE
    assert all_there(reader, ref)
    assert read_ahead.begin() == 0, "what was begun is not expected any more"


def test_more_parts_than_one_call_may_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "MOST_PARTS", 3)
    reader, ref = cold(tmp_path)
    for page in range(PAGES):
        reader.expect_bytes(ref.blob, page * mmap.PAGESIZE, mmap.PAGESIZE)
    assert read_ahead.begin() == PAGES * mmap.PAGESIZE
    assert all_there(reader, ref)


def test_a_part_begins_at_its_page(tmp_path: Path) -> None:
    reader, ref = cold(tmp_path)
    reader.expect_bytes(ref.blob, mmap.PAGESIZE + 64, 100)
    assert read_ahead.begin() == 164


def test_threads_expect_for_themselves(tmp_path: Path) -> None:
    reader, ref = cold(tmp_path)
    reader.expect(ref)
    told = []
    thread = Thread(target=lambda: told.append(read_ahead.begin()))
    thread.start()
    thread.join()
    assert told == [0] and read_ahead.begin() == PAGES * mmap.PAGESIZE
