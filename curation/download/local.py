"""Files that are already on this machine: they are checked, never copied, moved or deleted."""

import errno
import os
import stat
from pathlib import Path

from curation.download.download import Download, Request
from curation.download.source import Source
from curation.errors import ClipError, Code, StoppedError
from curation.lists.paths import resolve_below


def listed_file(request: Request) -> Download:
    """The file that a `path` row names, below the row's root; links that leave the root are refused.

    Raises:
        ClipError: FORBIDDEN, NOT_FOUND, UNREADABLE or EMPTY.
        StoppedError: The root itself is not there.
    """
    if request.path is None or request.root is None:
        raise ValueError(f"the row {request.video_id} of platform `file` has no path or no root")
    root = Path(request.root)
    _check_root(root)
    return _download(resolve_below(root, request.path), source="row")


def templated_file(request: Request, source: Source) -> Download:
    """The file that a path template names for a video.

    Links are followed wherever they lead: the template is the user's own word, and folders of links into a cache are
    common. The id fills one plain name, so it cannot lead anywhere by itself.

    Raises:
        ClipError: FORBIDDEN, NOT_FOUND, UNREADABLE or EMPTY.
        StoppedError: The template's folder is not there.
    """
    _check_root(source.root)
    return _download(Path(source.locate(request.video_id, request.start_ms)), source=str(source))


def _check_root(root: Path) -> None:
    """A folder that is gone says nothing about its files: a disk that is not mounted must not set aside every row."""
    if not root.is_dir():
        raise StoppedError(f"the folder {root} of the media is not there; mount it, or name another, and run again")


def _download(path: Path, *, source: str) -> Download:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ClipError(Code.NOT_FOUND, f"there is no file {path}") from error
    except PermissionError as error:
        raise ClipError(Code.FORBIDDEN, f"{path} may not be read: {error.strerror}") from error
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENAMETOOLONG):
            raise
        raise ClipError(Code.NOT_FOUND, f"there is no file {path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise ClipError(Code.UNREADABLE, f"{path} is {kind}, not a file")
    if not os.access(path, os.R_OK):
        raise ClipError(Code.FORBIDDEN, f"{path} may not be read: no permission")
    if status.st_size == 0:
        raise ClipError(Code.EMPTY, f"{path} has no bytes")
    return Download(path=path, bytes=status.st_size, suffix=path.suffix.lower(), owned=False, source=source)
