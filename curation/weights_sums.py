"""The sha256 of files of weights, which are tens of gigabytes, without reading them at every start.

A file of the Hub's cache is called for its sha256, which is believed. Of any other the sum is kept beside what tells
whether it is still the same file: below FOUNDSOUND_CACHE, in `sums/`, one small file each.
"""

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from curation.keys import file_sha256
from curation.storage import cache_folder
from curation.tables import write_bytes

SETTLED_S = 10.0
"""A sum is kept of files that were left alone for so long: one that is written twice within a tick of the file system's
clock cannot be told apart by it. Source: ours; the coarsest clock in use, FAT's, ticks every 2 s."""

KEPT_BYTES = 1 << 24
"""Smaller files are read each time, which takes some 10 ms. Source: ours."""

_SUM = re.compile(r"[0-9a-f]{64}")
_BLOBS = "blobs"


def weights_sha256(path: Path) -> str:
    """sha256 of a file of weights, as 64 hexadecimal digits.

    Args:
        path: The file. A link to `models--*/blobs/<sha256>`, as the Hub's cache has them, is not read.

    Raises:
        FileNotFoundError: It is not there.
    """
    real = path.resolve(strict=True)
    if (named := _hub_sum(real)) is not None:
        return named
    before = _state(real)
    if int(before["size_bytes"]) < KEPT_BYTES:
        return file_sha256(real)
    memo = cache_folder() / "sums" / f"{hashlib.sha256(os.fsencode(real)).hexdigest()}.json"
    known = _remembered(memo)
    if known is not None and {name: known.get(name) for name in before} == before:
        return str(known["sha256"])
    found = file_sha256(real)
    if _state(real) == before and time.time_ns() - int(before["changed_ns"]) > SETTLED_S * 1e9:
        with suppress(OSError):  # where nothing can be kept, it is read again next time
            write_bytes(memo, json.dumps({**before, "sha256": found}).encode())
    return found


def _hub_sum(real: Path) -> str | None:
    """What a file of the Hub's cache is called for; None for any other file.

    Source: huggingface_hub's file_download.py: blobs are called for their ETag, which for large files is the sha256,
    and for small ones git's sum, of 40 digits.
    """
    is_blob = real.parent.name == _BLOBS and real.parent.parent.name.startswith("models--")
    return real.name if is_blob and _SUM.fullmatch(real.name) else None


def _state(real: Path) -> dict[str, str | int]:
    """What changes when a file is replaced or written to; a copy that keeps its time still has another change time."""
    found = real.stat()
    return {
        "path": str(real),
        "size_bytes": found.st_size,
        "modified_ns": found.st_mtime_ns,
        "changed_ns": max(found.st_ctime_ns, found.st_mtime_ns),
        "inode": found.st_ino,
        "device": found.st_dev,
    }


def _remembered(memo: Path) -> dict[str, str | int] | None:
    """What is kept of a file; None where nothing is, or nothing that can be believed."""
    try:
        known = json.loads(memo.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(known, dict) or not _SUM.fullmatch(str(known.get("sha256"))):
        return None
    return known
