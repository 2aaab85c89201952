"""The HTTP requests of one download: every one is held to a rule, a deadline and a size before yt-dlp sees an answer.

`GuardedRH` is yt-dlp's request handler over the standard library, with three things added. Addresses: each URL, also
of a redirect, is checked before it is asked, and each IP address before it is connected to; the host is resolved once,
so a second answer of its name server cannot lead elsewhere. Time and size: a watch cuts the connections at the
deadline, whatever the server trickles. Content: an answer that is a page or a playlist is refused unread, so yt-dlp's
extractor never follows one. There are no cookies, and no proxies but the one the user names: then it is the proxy that
connects, and the addresses of a host are looked up and checked here before it is asked to.
"""

import http.client
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urljoin, urlsplit

from yt_dlp.networking import Response
from yt_dlp.networking._urllib import UrllibRH
from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, RequestError, TransportError
from yt_dlp.utils import is_html

from curation.download.addresses import AddressRule
from curation.download.download import Limits
from curation.errors import ClipError, Code

HEAD_BYTES = 512
"""How much of an answer is read before it is handed on. Source: as much as yt-dlp's generic extractor looks at."""

MEDIA_TYPES = re.compile(r"(audio|video)/(?!.*(mpegurl|scpls))|application/(octet-stream|ogg|mp4)|binary/octet-stream")
"""Media types that may hold media; an answer without a type may too. Source: ours; `binary/octet-stream` is what
object stores send by default, the playlists are those of HLS and SHOUTcast."""

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_RANGE_START = re.compile(r"bytes (\d+)-")


class RefusedError(RequestError):  # type: ignore[misc]  # yt-dlp has no types
    """Carries a `ClipError` through yt-dlp, which lets request errors of this kind pass and does not retry them."""

    def __init__(self, reason: ClipError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def is_text(head: bytes) -> bool:
    """Whether bytes are a page, a playlist or other text: without control characters, or HTML in any encoding.

    Every media container has control characters in its first bytes. Source: ours.
    """
    return bool(head) and (not _CONTROL.search(head) or bool(is_html(head)))


class Transfer:
    """What one download may ask, until when, and how much it may take.

    Args:
        rule: Which addresses may be asked.
        limits: Bytes and seconds.
    """

    def __init__(self, rule: AddressRule, limits: Limits) -> None:
        self.rule = rule
        self.limits = limits
        self.final_url: str | None = None
        self.via: str | None = None
        self._until = time.monotonic() + limits.timeout_s
        self._sockets: list[socket.socket] = []
        self._watch = threading.Timer(limits.timeout_s, self.hang_up)
        self._watch.daemon = True

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.cancel()
        self.hang_up()

    def hang_up(self) -> None:
        """Break off every connection made so far; whoever reads from one gets an end or an error at once."""
        while self._sockets:
            watched = self._sockets.pop()
            try:
                watched.shutdown(socket.SHUT_RDWR)
            except OSError:  # the other side was faster
                continue
            finally:
                watched.close()

    def check_time(self) -> None:
        """Raise `RefusedError` with TIMEOUT after the deadline."""
        if time.monotonic() >= self._until:
            raise RefusedError(ClipError(Code.TIMEOUT, f"not done after {self.limits.timeout_s:g} s"))

    def check_size(self, size_bytes: int) -> None:
        """Raise `RefusedError` with TOO_LARGE for more bytes than allowed."""
        if size_bytes > self.limits.max_bytes:
            detail = f"{size_bytes} bytes or more, {self.limits.max_bytes} are allowed"
            raise RefusedError(ClipError(Code.TOO_LARGE, detail))

    def check_url(self, url: str) -> None:
        """Raise `RefusedError` for a URL that may not be asked."""
        self.check_time()
        try:
            self.rule.check_url(url)
            if self.via is not None:
                self._check_host(url)
        except ClipError as reason:
            raise RefusedError(reason) from reason

    def _check_host(self, url: str) -> None:
        """Check the addresses of a host that a proxy will connect to."""
        parts = urlsplit(url)
        host = str(parts.hostname)
        if self.rule.origin is not None or self.rule.allow_private:
            return
        try:
            found = socket.getaddrinfo(host, parts.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise TransportError(cause=error) from error
        for *_, where in found:
            self.rule.check_address(host, str(where[0]))

    def connect(
        self, address: tuple[str, int], timeout: float, source_address: tuple[str, int] | None = None
    ) -> socket.socket:
        """Resolve a host once and connect to the first of its addresses that answers, each checked before."""
        host, port = address
        failure = OSError(f"{host} has no address")
        for family, kind, protocol, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            self.check_time()
            try:
                if self.via is None:  # the proxy's own address is the user's word
                    self.rule.check_address(host, str(where[0]))
            except ClipError as reason:
                raise RefusedError(reason) from reason
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(min(timeout, max(0.01, self._until - time.monotonic())))
                connection.connect(where)
                # A duplicate stays valid when TLS takes over the socket, so that `hang_up` also ends a handshake.
                self._sockets.append(connection.dup())
            except OSError as error:
                connection.close()
                failure = error
                continue
            return connection
        raise failure


class _Media(Response):  # type: ignore[misc]  # yt-dlp has no types
    """An answer that is not text, read within the limits; one that ends early raises instead of looking whole."""

    def __init__(self, answer: Response, transfer: Transfer) -> None:
        super().__init__(
            fp=answer.fp, url=answer.url, headers=answer.headers, status=answer.status, reason=answer.reason
        )
        self._answer = answer
        self._transfer = transfer
        start = _RANGE_START.match(answer.headers.get("Content-Range") or "") if answer.status == 206 else None
        self._first = int(start[1]) if start else 0
        length = answer.headers.get("Content-Length") or ""
        self._announced = int(length) if length.isdecimal() else None
        transfer.check_size(self._first + (self._announced or 0))
        self._taken = 0
        self._ahead = b""
        if self._first == 0:
            self._look_ahead()

    def _look_ahead(self) -> None:
        """Refuse what is empty, a page or a playlist."""
        kind = str(self.headers.get("Content-Type") or "").lower()
        if kind and not MEDIA_TYPES.match(kind):
            raise RefusedError(ClipError(Code.NOT_FOUND, f"{self.url} answers with {kind!r}, not with media"))
        head = self._take(HEAD_BYTES)
        if not head:
            raise RefusedError(ClipError(Code.EMPTY, f"{self.url} answers with no bytes"))
        if is_text(head):
            shown = head[:60].decode(errors="replace")
            raise RefusedError(
                ClipError(
                    Code.NOT_FOUND, f"{self.url} answers with text, not with media, though it says {kind!r}: {shown!r}"
                )
            )
        self._ahead = head

    def _take(self, amount: int | None) -> bytes:
        """Bytes of the answer; an end before the announced length is an error."""
        try:
            data = bytes(self._answer.read(amount))
        except TransportError:
            self._transfer.check_time()
            raise
        self._transfer.check_time()
        self._taken += len(data)
        self._transfer.check_size(self._first + self._taken)
        if not data and self._announced is not None and self._taken < self._announced:
            raise IncompleteRead(partial=self._taken, expected=self._announced - self._taken)
        return data

    def read(self, amt: int | None = None) -> bytes:
        """Bytes of the body: what was looked at first, then the rest."""
        if self._ahead:
            size = len(self._ahead) if amt is None else amt
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data if amt is not None else data + self._take(None)
        return self._take(amt)


class _Connection(http.client.HTTPConnection):
    def __init__(self, *args: Any, connect: Callable[..., socket.socket], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._create_connection = connect


class _SecureConnection(http.client.HTTPSConnection):
    def __init__(self, *args: Any, connect: Callable[..., socket.socket], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._create_connection = connect


class _Opening(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """Opens http and https connections through the transfer that is under way."""

    def __init__(self, guard: "GuardedRH", context: Any) -> None:
        super().__init__(context=context)
        self._guard = guard
        self._tls = context

    def _connection(self, kind: Callable[..., http.client.HTTPConnection]) -> Callable[..., http.client.HTTPConnection]:
        return lambda host, **options: kind(host, connect=self._guard.transfer.connect, **options)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection(_Connection), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection(_SecureConnection), req, context=self._tls)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Checks where a redirect leads, its scheme included, before it is followed."""

    def __init__(self, guard: "GuardedRH") -> None:
        self._guard = guard

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        target = headers.get("Location") or headers.get("URI")
        if target:
            try:
                self._guard.transfer.check_url(urljoin(req.full_url, target))
            except RefusedError:
                fp.close()
                raise
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class GuardedRH(UrllibRH):  # type: ignore[misc]  # yt-dlp has no types
    """yt-dlp's request handler under a `Transfer`; set `transfer` before each download."""

    RH_NAME = "guarded"
    _SUPPORTED_URL_SCHEMES = ("http", "https")
    transfer: Transfer
    proxy: str | None = None

    def _create_instance(self, **options: Any) -> urllib.request.OpenerDirector:
        opener = urllib.request.OpenerDirector()
        if self.proxy is not None:
            opener.add_handler(urllib.request.ProxyHandler({"http": self.proxy, "https": self.proxy}))
        context = self._make_sslcontext(legacy_ssl_support=options.get("legacy_ssl_support"))
        for handler in (
            _Opening(self, context),
            _Redirects(self),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.UnknownHandler(),
        ):
            opener.add_handler(handler)
        opener.addheaders = []
        return opener

    def _send(self, request: Any) -> Response:
        self.transfer.via = self.proxy
        self.transfer.check_url(request.url)
        try:
            answer = super()._send(request)
        except HTTPError as error:
            error.response.close()  # the body of an error is of no use and of any length
            self.transfer.check_time()
            raise
        except TransportError:
            self.transfer.check_time()
            raise
        self.transfer.final_url = answer.url
        try:
            return _Media(answer, self.transfer)
        except RequestError:
            answer.close()
            raise
