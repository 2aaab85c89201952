"""How much is worked on at once, and how long a client may take to send what it asks."""

import asyncio
from collections import Counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrieval_index.service.access import is_loopback, network_of
from retrieval_index.service.limits import Limits
from retrieval_index.service.refusal import Refused, as_response, busy

UPLOAD_PATHS = ("/api/search/sound", "/api/search/picture")

MOST_DIGITS = 20
"""Of a `Content-Length`, as 2^64 has."""


class Admitted:
    """ASGI middleware: refuses what is too much, and ends what is too slow.

    Args:
        app: What answers.
        limits: Bounds.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._by_client: Counter[str] = Counter()
        self.refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = network_of((scope.get("client") or ("",))[0])
        try:
            self._check_length(scope)
            self._check_room(scope["path"], client)
        except Refused as refused:
            self.refused += 1
            await as_response(refused)(scope, receive, send)
            return
        if not scope["path"].startswith("/api/"):
            await self._app(scope, self._bounded(scope, receive), send)
            return
        self._by_client[client] += 1
        try:
            await self._app(scope, self._bounded(scope, receive), send)
        finally:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    def _most_bytes(self, path: str) -> int:
        return self._limits.upload_bytes if path in UPLOAD_PATHS else self._limits.body_bytes

    def _check_length(self, scope: Scope) -> None:
        length = Headers(scope=scope).get("content-length", "0")
        most = self._most_bytes(scope["path"])
        is_number = length.isascii() and length.isdigit() and len(length) < MOST_DIGITS
        if not is_number or int(length) > most:
            raise Refused(413, "TOO_LARGE", f"the body of this request may have {most:,} bytes at most")

    def _check_room(self, path: str, client: str) -> None:
        if not path.startswith("/api/"):
            return
        if self._by_client.total() >= self._limits.requests:
            raise busy(f"{self._limits.requests} requests are being answered, and no more at once")
        if not is_loopback(client) and self._by_client[client] >= self._limits.per_client:
            message = f"{self._limits.per_client} requests of this address are being answered, and no more at once"
            raise Refused(429, "TOO_MANY", message, retry_after_s=1)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Reads the body up to its limits of size and time; afterwards there is no hurry."""
        most, left_bytes = self._most_bytes(scope["path"]), self._most_bytes(scope["path"])
        until = asyncio.get_running_loop().time() + self._limits.body_s
        is_whole = False

        async def bounded() -> Message:
            nonlocal left_bytes, is_whole
            if is_whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                raise Refused(408, "TOO_SLOW", f"the body did not come within {self._limits.body_s:g} s") from error
            if message["type"] != "http.request":
                return message
            left_bytes -= len(message.get("body", b""))
            if left_bytes < 0:
                raise Refused(413, "TOO_LARGE", f"the body of this request may have {most:,} bytes at most")
            is_whole = not message.get("more_body", False)
            return message

        return bounded
