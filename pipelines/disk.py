"""How full the disk may get while media are fetched: above the mark fetching pauses, below it goes on."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curation.errors import ArgumentError

LOOK_EVERY_S = 10.0
"""How often the disk is looked at. Source: ours; at 100 MB/s a gigabyte may come in between."""

LOOKING_SHARE = 0.05
"""Most of the time that may be spent on looking: millions of files take a while to be counted. Source: ours."""

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_bytes(text: str) -> int:
    """A size as people write it: `200GB`, `1.5T`, `800 MB`, or bytes without a unit.

    Raises:
        ArgumentError: It is no size above 0.
    """
    plain = text.strip().upper().removesuffix("B").strip()
    number, unit = (plain[:-1], plain[-1]) if plain[-1:] in UNITS and plain else (plain, "")
    try:
        size_bytes = float(number) * UNITS[unit]
    except (ValueError, KeyError):
        size_bytes = 0.0
    if not 1 <= size_bytes < 2**63:
        raise ArgumentError(f"{text!r} is no size; write it as 200GB or 1.5TB")
    return int(size_bytes)


def size_text(size_bytes: int) -> str:
    """A size in its largest fitting unit: `1.5 TB`, `20.0 GB`, `7 B`."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes} B"


@dataclass(kw_only=True, slots=True)
class DiskMark:
    """The most that a dataset's media may take, and the least that must stay free.

    Args:
        folders: Folders whose files are counted; those that are not there yet hold nothing.
        max_bytes: Most bytes of all files in them; None for no bound.
        min_free_bytes: Fewest free bytes on the file system of the first; None for no bound.
        clock: Seconds of a clock that only goes forward.
    """

    folders: Sequence[Path]
    max_bytes: int | None = None
    min_free_bytes: int | None = None
    clock: Callable[[], float] = time.monotonic
    _look_at: float = field(default=float("-inf"), init=False)
    _said: str = field(default="", init=False)

    def complaint(self) -> str:
        """Why nothing may be fetched now; empty when something may."""
        begun = self.clock()
        if begun >= self._look_at:
            self._said = self._look()
            ended = self.clock()
            self._look_at = ended + max(LOOK_EVERY_S, (ended - begun) / LOOKING_SHARE)
        return self._said

    def _look(self) -> str:
        if self.min_free_bytes is not None:
            free = shutil.disk_usage(_existing(self.folders[0])).free
            if free < self.min_free_bytes:
                return f"only {size_text(free)} are free, {size_text(self.min_free_bytes)} must stay; free some space"
        if self.max_bytes is not None:
            taken = sum(map(_bytes_below, self.folders))
            if taken >= self.max_bytes:
                return f"media take {size_text(taken)} of {size_text(self.max_bytes)} allowed; move or delete some"
        return ""


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder; files that go meanwhile count for nothing."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(where) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total
