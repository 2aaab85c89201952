"""Files of the media store over HTTP: whole or in part, with a strong ETag, since a file never changes.

Source: RFC 9110, sections 13 (conditional requests) and 14 (ranges). Of several ranges the whole file is sent, which
section 14.2 allows.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from curation.errors import DatasetError
from curation.media import MediaStore
from retrieval_index.service.refusal import LOG, Refused, as_json

PIECE_BYTES = 256 << 10
"""What is read and sent at once."""

CACHED = "private, no-cache"
"""Browsers keep the bytes and ask each time whether they still may show them: a takedown is obeyed by them too."""

_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})\s*", re.IGNORECASE)


class Span(NamedTuple):
    """Bytes from `first` up to and without `end`."""

    first: int
    end: int


def span_of(header: str | None, size_bytes: int) -> Span | None:
    """The part of a file that a `Range` header asks for; None for the whole.

    Args:
        header: Its value; what is no single range of bytes is ignored, as it must be.
        size_bytes: Size of the file.

    Raises:
        ValueError: The file has nothing there.
    """
    found = _RANGE.fullmatch(header) if header else None
    if found is None or found.groups() == ("", ""):
        return None
    first_text, last_text = found.groups()
    if not first_text:
        last_bytes = int(last_text)
        if last_bytes == 0 or size_bytes == 0:
            raise ValueError(header)
        return Span(max(size_bytes - last_bytes, 0), size_bytes)
    first = int(first_text)
    if last_text and int(last_text) < first:
        return None  # not valid, so ignored (RFC 9110, 14.1.1)
    if first >= size_bytes:
        raise ValueError(header)
    return Span(first, min(int(last_text) + 1, size_bytes) if last_text else size_bytes)


def etag_of(sha256: str) -> str:
    """The strong ETag of a file with this content."""
    return f'"{sha256[:32]}"'


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has this content already."""
    given = request.headers.get("if-none-match", "")
    return any(one.strip().removeprefix("W/") in (etag, "*") for one in given.split(","))


async def media_response(request: Request, store: MediaStore, sha256: str, suffix: str, kind: str) -> Response:
    """A file of the media store.

    Args:
        request: What is asked: ranges and conditions.
        store: The store.
        sha256: Content of the file.
        suffix: Its suffix, as `.flac`.
        kind: Its media type.

    Raises:
        Refused: It is not there any more.
    """
    etag = etag_of(sha256)
    headers = {"etag": etag, "accept-ranges": "bytes", "cache-control": CACHED}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    path = await anyio.to_thread.run_sync(path_of, store, sha256, suffix)
    file = _opened(path)
    size_bytes = file.seek(0, 2)
    asked = request.headers.get("range")
    condition = request.headers.get("if-range")
    try:
        span = span_of(asked, size_bytes) if condition in (None, etag) else None
    except ValueError:
        file.close()
        return as_json(
            416, "RANGE", f"the file has {size_bytes} bytes", {"content-range": f"bytes */{size_bytes}", **headers}
        )
    first, end = span or Span(0, size_bytes)
    headers["content-length"] = str(end - first)
    if span is not None:
        headers["content-range"] = f"bytes {first}-{end - 1}/{size_bytes}"
    if request.method == "HEAD":
        file.close()
        return Response(status_code=206 if span else 200, headers=headers, media_type=kind)
    pieces = _pieces(file, first, end)
    return StreamingResponse(pieces, status_code=206 if span else 200, headers=headers, media_type=kind)


def path_of(store: MediaStore, sha256: str, suffix: str) -> Path:
    """Where a file of the store is on this machine.

    Raises:
        Refused: It is not there any more.
    """
    try:
        return store.open_path(sha256, suffix)
    except DatasetError as error:
        LOG.warning("%s", error)
        raise _gone() from error


def _opened(path: Path) -> BinaryIO:
    """The open file; what is deleted while it is sent is still sent whole."""
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise _gone() from error


def _gone() -> Refused:
    return Refused(404, "NOT_FOUND", "the file of this clip is not there any more")


async def _pieces(file: BinaryIO, first: int, end: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(first)
        while first < end:
            piece = await anyio.to_thread.run_sync(file.read, min(PIECE_BYTES, end - first))
            if not piece:
                return  # shorter than it was: the client sees that the length is wrong
            first += len(piece)
            yield piece
