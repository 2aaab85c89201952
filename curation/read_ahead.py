"""Parts of mapped files that are about to be read: the system is told of many at once, and reads them side by side.

Each thread gathers the parts it expects; `begin` names them all to the kernel in one call, outside the interpreter's
lock, so that other threads go on meanwhile. What was not told is read when it is touched, one part after another.
"""

import ctypes
import mmap
import os
import threading

import numpy as np

SYS_PROCESS_MADVISE = 440
"""Number of the system call, the same on all processors. Source: Linux, scripts/syscall.tbl; there since 5.10."""

MOST_PARTS = 1024
"""How many parts one call may name. Source: IOV_MAX, limits.h of Linux."""


class _Expected(threading.local):
    """What this thread expects: address and length of each part, one after the other, bytes."""

    def __init__(self) -> None:
        self.numbers: list[int] = []


_expected = _Expected()
_libc = ctypes.CDLL(None)
_libc.syscall.restype = ctypes.c_long


def expect(address: int, size_bytes: int) -> None:
    """Name a part of a mapped file that this thread will read; the system hears of it at `begin`.

    Args:
        address: Of its first byte in memory.
        size_bytes: Its length, above 0.
    """
    before = address % mmap.PAGESIZE
    _expected.numbers += (address - before, size_bytes + before)


def begin() -> int:
    """Have the system begin to read what this thread expects, and go on; returns how many bytes it agreed to read.

    It is advice: where the system does not take it, reading takes longer and gives the same.
    """
    parts = np.array(_expected.numbers, np.uintp).reshape(-1, 2)
    _expected.numbers.clear()
    return sum(_advised(parts[first : first + MOST_PARTS]) for first in range(0, len(parts), MOST_PARTS))


def _advised(parts: np.ndarray) -> int:
    """Tell the kernel of some parts, an `iovec` each: in one call, or one by one where that call is not there."""
    try:
        process = os.pidfd_open(os.getpid())
    except OSError:  # an older kernel, or a container that forbids it
        return _advised_one_by_one(parts)
    try:
        told: int = _libc.syscall(
            SYS_PROCESS_MADVISE, process, ctypes.c_void_p(parts.ctypes.data), len(parts), mmap.MADV_WILLNEED, 0
        )
    finally:
        os.close(process)
    return told if told >= 0 else _advised_one_by_one(parts)


def _advised_one_by_one(parts: np.ndarray) -> int:
    told = 0
    for address, size_bytes in parts.tolist():
        refused = _libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size_bytes), mmap.MADV_WILLNEED)
        told += 0 if refused else size_bytes
    return told
