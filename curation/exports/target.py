"""Where an export goes: a folder that is not finished yet, and how media come into it."""

import errno
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from curation.errors import ArgumentError
from curation.exports.clip import ExportClip, Media
from curation.tables import temporary_beside

NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES, errno.EOPNOTSUPP)
"""Why a file system refuses a hard link: another disk, no links at all, or too many of one file."""


class MediaMode(StrEnum):
    """How media come into the folder."""

    LINK = "link"
    COPY = "copy"
    REFERENCE = "reference"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One split of an export.

    Args:
        folder: The folder that is being written.
        final: Where it will lie once it is whole.
        split: `train`, `val` or `test`.
        clips: How many clips will come.
        media: `link` (hard links where the disk allows them, else copies), `copy`, or `reference`: no files at all,
            paths lead into the dataset's media store.
        pictures: Whether pictures are exported too.
    """

    folder: Path
    final: Path
    split: str
    clips: int
    media: MediaMode
    pictures: bool

    def place(self, media: Media, name: str) -> str:
        """Bring a media file into the folder.

        Args:
            media: The file.
            name: Its path below the folder.

        Returns:
            `name`, or the absolute path or address in the media store where media are referenced.

        Raises:
            ArgumentError: It lies in a shard and is to be referenced.
        """
        if self.media is MediaMode.REFERENCE:
            if media.place is None:
                raise ArgumentError("media in shards have no path to refer to; take --media copy, or a selection")
            return media.place
        path = self.folder / name
        if media.file is None:
            _write(path, media.read())
        elif not _is_there(path, media.file):
            _bring(path, media.file, link=self.media is MediaMode.LINK)
        return name


@dataclass(frozen=True, slots=True)
class Written:
    """What a format made of the clips of one split.

    Args:
        rows: Rows written.
        left_out: Why clips have no row -> how many.
    """

    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


class Writer(Protocol):
    """One format. `write` is called once a split, then `finish` once."""

    def write(self, clips: Iterator[ExportClip], target: Target) -> Written:
        """Write the clips of a split into the folder, all of them taken from the iterator."""

    def finish(self, folder: Path, final: Path) -> None:
        """Write what belongs to all splits; `final` is where `folder` will lie."""


def spread(folder: str, clip: ExportClip, media: Media) -> str:
    """A path for a clip's media that leaves no folder with millions of files, as `audio/ab/ab12.flac`."""
    return f"{folder}/{clip.clip_id[:2]}/{clip.clip_id}{media.suffix}"


def _is_there(path: Path, source: Path) -> bool:
    """Whether an interrupted export has brought this file already."""
    if not path.exists():
        return False
    return path.samefile(source) or path.stat().st_size == source.stat().st_size


def _bring(path: Path, source: Path, *, link: bool) -> None:
    temporary = temporary_beside(path)
    try:
        if not (link and _linked(source, temporary)):
            shutil.copyfile(source, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _linked(source: Path, path: Path) -> bool:
    try:
        os.link(source, path)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    temporary = temporary_beside(path)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
