"""Who may ask: on the loopback address whoever sits at this machine, elsewhere who has the token; never another page.

* A page of another site that is open in a browser of this machine could ask the loopback address (and read the answer
  where its own name is made to point there). So a request must name the service by one of its own names in `Host`, and
  one that a browser makes for another origin (`Origin`, `Sec-Fetch-Site`) is refused, whatever its method.
* The token comes in `Authorization: Bearer`, never in an address, which lands in logs. A page cannot set that header
  for a picture or a player, so it exchanges the token for a cookie that no script reads and no other site sends.
"""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from curation.errors import ArgumentError
from retrieval_index.service.refusal import Refused, as_response

COOKIE = "foundsound"

LEAST_CHARACTERS = 16
"""Length of a token. Source: ours; `python -c 'import secrets; print(secrets.token_urlsafe())'` makes 43."""

OPEN_PATHS = frozenset({"/", "/page.css", "/page.js", "/ask.js", "/player.js", "/icon.svg", "/healthz", "/api/session"})
"""What is answered without a token: the page, which holds nothing of the dataset, and whether the service lives."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """How the service is reached.

    Args:
        host: The address that it listens on.
        token: What a client must know; None on the loopback address only.
        names: Further names by which it may be asked on the loopback address, as behind a tunnel.

    Raises:
        ArgumentError: The address is no loopback one and there is no token, or the token is too short.
    """

    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise ArgumentError(
                f"--host {self.host} is no loopback address, so a token is needed: write one of at least "
                f"{LEAST_CHARACTERS} characters into a file and give --token-file FILE, or set FOUNDSOUND_TOKEN"
            )
        if self.token is not None and (
            len(self.token) < LEAST_CHARACTERS or not self.token.isascii() or not self.token.isprintable()
        ):
            raise ArgumentError(f"a token has at least {LEAST_CHARACTERS} characters, all of them printable ASCII")

    @property
    def session(self) -> str:
        """What the cookie holds: it follows from the token, which cannot be told from it."""
        return hmac.new((self.token or "").encode(), b"foundsound session", hashlib.sha256).hexdigest()

    def knows(self, token: str) -> bool:
        """Whether this is the token; takes equally long for every wrong one of a length."""
        return self.token is None or hmac.compare_digest(self.token.encode(), token.encode())

    def check(self, path: str, headers: Headers) -> None:
        """Refuse a request that may not be answered.

        Raises:
            Refused: It asks by another name, for another page, or without the token.
        """
        host = headers.get("host", "")
        if is_loopback(self.host) and not self._is_own(host):
            raise Refused(421, "HOST", "this service is not known by the name that was asked for (header Host)")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and path != "/":
            raise Refused(403, "ORIGIN", "another site may not ask this service")
        origin = headers.get("origin")
        if origin is not None and ((parts := _parts(origin)) is None or parts.netloc != host):
            raise Refused(403, "ORIGIN", "another site may not ask this service")
        if self.token is None or path in OPEN_PATHS:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if not (scheme.lower() == "bearer" and self.knows(given.strip())) and not self._has_session(headers):
            raise Refused(401, "TOKEN", "this service needs its token: Authorization: Bearer TOKEN")

    def _is_own(self, host: str) -> bool:
        parts = _parts(f"//{host}")
        name = None if parts is None else parts.hostname
        return name is not None and (is_loopback(name) or name in {own.lower() for own in self.names})

    def _has_session(self, headers: Headers) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(found.value.encode(), self.session.encode())


def _parts(address: str) -> SplitResult | None:
    """The parts of an address; None where it is none, as with half of a bracket."""
    try:
        return urlsplit(address)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own; of names only `localhost` is."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def network_of(address: str) -> str:
    """What stands for a client where clients are counted: an IPv4 address, or the network of an IPv6 one.

    Source: RFC 6177; an end site of IPv6 has a network of 64 bits at least, with as many addresses as it likes.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address) or found.is_loopback:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)).network_address)


class Guarded:
    """ASGI middleware: refuses who may not ask, and tells browsers to load nothing from elsewhere.

    Args:
        app: What answers.
        access: Who may ask.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            self._access.check(scope["path"], Headers(scope=scope))
        except Refused as refused:
            await as_response(refused)(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)
