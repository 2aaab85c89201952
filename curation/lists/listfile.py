"""One list as it is handed to a reader: the file, and what the person who brings it says about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from curation.errors import ArgumentError
from curation.lists.row import SPLITS


class Sifting(Protocol):
    """Takes lines out of a list before its reader sees them; see `curation/lists/sieve.py`."""

    def sift(self, block: bytes, lines_before: int) -> tuple[int, list[tuple[int, bytes]]] | None:
        """Take lines of a block; how many lines it has, and number and bytes of those that are left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListFile:
    """A list's file and the arguments of its ingest.

    Args:
        path: The file.
        split: Split of every row, for lists that do not say it themselves; None: not known.
        media_root: Folder below which `path` rows lie; None: the file's own folder.
        labels_file: AudioSet's `class_labels_indices.csv`, for lists that name labels by id.
        sieve: Takes lines that need no reader; None: the reader sees all of them.

    Raises:
        ArgumentError: A file or folder is not there, or the split is none.
    """

    path: Path
    split: str | None = None
    media_root: Path | None = None
    labels_file: Path | None = None
    sieve: Sifting | None = None

    def __post_init__(self) -> None:
        for file in (self.path, self.labels_file):
            if file is not None and not file.is_file():
                raise ArgumentError(f"{file} is not a file")
        if self.media_root is not None and not self.media_root.is_dir():
            raise ArgumentError(f"the media root {self.media_root} is not a folder")
        if self.split is not None and self.split not in SPLITS:
            raise ArgumentError(f"split {self.split!r} is not one of {', '.join(SPLITS)}")

    @property
    def root(self) -> Path:
        """Folder that `path` rows may not leave, links followed."""
        return (self.media_root or self.path.parent).resolve()
