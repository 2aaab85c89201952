"""Where rows of an untrusted list may point: files below one root, and http(s) addresses.

Ingest checks both without touching media or network; fetch checks paths again with `resolve_below`, since links may
have changed meanwhile, and addresses again after resolving them and at every redirect.
"""

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from curation.errors import ClipError, Code
from curation.lists.row import clean, malformed, whole

MAX_URL_CHARACTERS = 4096
"""Longest address. Source: ours; common servers refuse more than 8 kB of request line."""

_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f\\]")


def relative_path(text: str) -> str:
    """The normal form of a relative path of a list: `/` between parts, no `.` parts; blanks belong to the name.

    Raises:
        ClipError: MALFORMED for an empty one; FORBIDDEN for an absolute one or one with `..`.
    """
    path = PurePosixPath(whole(text, "path"))
    if path.is_absolute():
        raise ClipError(Code.FORBIDDEN, f"path {text!r} is absolute; paths are relative to the list or the media root")
    if ".." in path.parts:
        raise ClipError(Code.FORBIDDEN, f"path {text!r} has `..` in it")
    if not path.parts:
        raise malformed(f"path {text!r} names no file")
    return path.as_posix()


def resolve_below(root: Path, relative: str) -> Path:
    """The real path of a file below `root`, links followed; whether it exists is not asked.

    Args:
        root: Folder that may not be left.
        relative: Path relative to it.

    Raises:
        ClipError: MALFORMED or FORBIDDEN: the path is empty, absolute, has `..`, or leaves the root through a link.
    """
    inside = relative_path(relative)
    try:
        real_root = root.resolve()
        target = (real_root / inside).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long
        raise ClipError(Code.FORBIDDEN, f"path {relative!r} cannot be resolved: {error}") from error
    if not target.is_relative_to(real_root) or target == real_root:
        raise ClipError(Code.FORBIDDEN, f"path {relative!r} leaves its root through a link")
    return target


def web_address(text: str) -> str:
    """An http(s) address with a host and without name and password.

    Raises:
        ClipError: MALFORMED or FORBIDDEN: it is none.
    """
    url = clean(text, "url")
    if len(url) > MAX_URL_CHARACTERS or _NOT_IN_URL.search(url):
        raise malformed(
            f"the url has blanks, control characters or backslashes, or over {MAX_URL_CHARACTERS} characters"
        )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise malformed(f"the url cannot be read: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise ClipError(Code.FORBIDDEN, f"the url has scheme {parts.scheme!r}; only http and https are read")
    if not host:
        raise malformed("the url has no host")
    if "@" in parts.netloc:
        raise ClipError(Code.FORBIDDEN, "the url has a name or password in it; give access by other means")
    return url
