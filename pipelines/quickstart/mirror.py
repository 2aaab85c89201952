"""A small HTTP server on the loopback address that serves one folder, with Range requests and faults on demand.

It stands in for a mirror of the web in the quickstart and in tests: it is slow, broken or lying exactly where it is
told to be. It is no server for other machines: it listens on 127.0.0.1 only.
"""

import http.server
import re
import socketserver
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".flac": "audio/flac",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".ogg": "audio/ogg",
    ".html": "text/html; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
}
"""Suffix -> media type; anything else is `application/octet-stream`. Fixed here, since a system's own table varies."""

BLOCK_BYTES = 1 << 16
SOCKET_TIMEOUT_S = 30.0

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What goes wrong with one path; the fields combine.

    Args:
        status: Answer with this status and no file, for example 403, 404, 429, 500.
        delay_s: Wait as long before answering.
        cut_after_bytes: Announce the whole length, send as many bytes of the body, and close the connection.
        body: Send these bytes instead of the file.
        media_type: Send this media type instead of the file's.
        location: Redirect (302) to this URL or path; the path itself makes a loop.
        times: How many requests are answered so, after which all is well; None for all of them.
    """

    status: int | None = None
    delay_s: float = 0.0
    cut_after_bytes: int | None = None
    body: bytes | None = None
    media_type: str | None = None
    location: str | None = None
    times: int | None = None

    def __post_init__(self) -> None:
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError(f"status must be within 400 to 599, not {self.status}")
        if self.delay_s < 0 or (self.cut_after_bytes or 0) < 0:
            raise ValueError(
                f"delay_s and cut_after_bytes must not be negative: {self.delay_s}, {self.cut_after_bytes}"
            )
        if self.times is not None and self.times < 1:
            raise ValueError(f"times must be 1 or more, or None for always, not {self.times}")


NO_FAULT = Fault()


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request as it came in: its method, its path as sent, and its Range header or None."""

    method: str
    path: str
    range: str | None


def byte_span(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """What a Range header asks for. Source: RFC 9110, section 14.

    Args:
        header: Its value, or None.
        size_bytes: Length of the whole body.

    Returns:
        First byte and the byte after the last, or None for the whole body: without a header, or where it has more than
        one range or cannot be understood, which the RFC lets a server ignore.

    Raises:
        ValueError: If nothing of the body lies in the range (status 416).
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first and last and int(last) < int(first):
        return None
    if first:
        start, end = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
    else:
        start, end = max(0, size_bytes - int(last)), size_bytes
    if start >= end:
        raise ValueError(f"the range {header!r} lies outside a body of {size_bytes} bytes")
    return start, end


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Holds what the handlers share."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path, faults: Mapping[str, Fault]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder.resolve(strict=True)
        self.faults = dict(faults)
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._served: dict[str, int] = {}
        self._lock = threading.Lock()

    def fault_for(self, path: str) -> Fault:
        """The fault that this request for the path meets; counts it."""
        fault = self.faults.get(path, NO_FAULT)
        with self._lock:
            count = self._served[path] = self._served.get(path, 0) + 1
        return NO_FAULT if fault.times is not None and count > fault.times else fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    protocol_version = "HTTP/1.1"
    server_version = "mirror"
    sys_version = ""
    timeout = SOCKET_TIMEOUT_S
    server: _Server

    def do_GET(self) -> None:
        """Send a file or a part of it."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Send the headers of a file."""
        self._answer(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `Mirror.requests` holds what was asked."""

    def _answer(self, *, with_body: bool) -> None:
        range_header = self.headers.get("Range") if with_body else None
        self.server.requests.append(Request(method=self.command, path=self.path, range=range_header))
        path = unquote(urlsplit(self.path).path, errors="replace")
        fault = self.server.fault_for(path)
        if fault.delay_s:
            self.server.closing.wait(fault.delay_s)
        if fault.location is not None:
            self._send_empty(HTTPStatus.FOUND, {"Location": fault.location}, with_body=with_body)
            return
        file = self._file_at(path)
        if fault.status is not None or (file is None and fault.body is None):
            self._send_empty(fault.status or HTTPStatus.NOT_FOUND, {}, with_body=with_body)
            return
        body = fault.body if file is None or fault.body is not None else file.read_bytes()
        suffix = Path(path).suffix.lower()
        media_type = fault.media_type or MEDIA_TYPES.get(suffix, "application/octet-stream")
        self._send(body or b"", media_type, range_header, fault.cut_after_bytes, with_body=with_body)

    def _file_at(self, path: str) -> Path | None:
        """The regular file below the folder that a decoded URL path names, or None; `..` and links lead nowhere."""
        if "\x00" in path or "\\" in path or ".." in path.split("/"):
            return None
        file = (self.server.folder / path.lstrip("/")).resolve()
        return file if file.is_relative_to(self.server.folder) and file.is_file() else None

    def _send_empty(self, status: int, headers: Mapping[str, str], *, with_body: bool) -> None:
        """A status with a short text for people as its body."""
        body = f"{int(status)}\n".encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "text/plain", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _send(
        self, body: bytes, media_type: str, range_header: str | None, cut_after_bytes: int | None, *, with_body: bool
    ) -> None:
        try:
            span = byte_span(range_header, len(body))
        except ValueError:
            headers = {"Content-Range": f"bytes */{len(body)}"}
            self._send_empty(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers, with_body=with_body)
            return
        start, end = span or (0, len(body))
        self.send_response(HTTPStatus.OK if span is None else HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        if span is not None:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
        self.end_headers()
        if not with_body:
            return
        sent = body[start:end] if cut_after_bytes is None else body[start:end][:cut_after_bytes]
        self.close_connection = self.close_connection or len(sent) < end - start
        for offset in range(0, len(sent), BLOCK_BYTES):
            self.wfile.write(sent[offset : offset + BLOCK_BYTES])


class Mirror:
    """Serves a folder while the `with` block runs.

        with Mirror(folder, faults={"/dead.mp4": Fault(status=404)}) as mirror:
            fetch(f"{mirror.url}/clip.mp4")

    Args:
        folder: What to serve; it must exist.
        faults: Decoded URL path, beginning with `/` -> what goes wrong with it.
    """

    def __init__(self, folder: Path, faults: Mapping[str, Fault] | None = None) -> None:
        wrong = [path for path in faults or {} if not path.startswith("/")]
        if wrong:
            raise ValueError(f"the paths of faults begin with a slash, not {wrong}")
        self._server = _Server(folder, faults or {})
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Address of the folder, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order in which they came."""
        return list(self._server.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
