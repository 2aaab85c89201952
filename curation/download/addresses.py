"""Which addresses may be asked for media: a pure rule, applied to every request and redirect before it is made.

A list is untrusted: its `url` rows may lead to public http(s) addresses only, so that nobody can read an internal
service through somebody else's list. A mirror is the user's own word and may be private, but then nothing else may be
asked on its behalf. Making the requests is `transfer`'s part.
"""

import ipaddress
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from curation.errors import ClipError, Code

_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port, in the sense of RFC 6454."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """The origin of an http(s) URL.

        Raises:
            ValueError: It has another scheme, no host, or a port that is no number.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"{url!r} is no http(s) address")
        return cls(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet.

    IPv6 addresses that carry an IPv4 address inside are judged by it, since the packet ends up there.
    Source: the IANA special-purpose registries as in Python's `ipaddress`; RFC 4291, 3056, 4380 and 6052 for carriers.

    Args:
        address: Numeric IPv4 or IPv6 address, perhaps with a zone as in `fe80::1%eth0`.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and (ip in _NAT64 or ip in _COMPATIBLE):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not getattr(ip, "is_site_local", False)


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressRule:
    """What one download may ask.

    Args:
        origin: The mirror named by the user: only it may be asked, whatever its address. None: any http(s) host.
        allow_private: Whether hosts may have private addresses; means nothing with an origin.
    """

    origin: Origin | None = None
    allow_private: bool = False

    def check_url(self, url: str) -> None:
        """Refuse a URL before anything is sent.

        Raises:
            ClipError: NOT_FOUND for what leaves the mirror; FORBIDDEN for other schemes, passwords and nonsense.
        """
        try:
            origin = Origin.of(url)
        except ValueError as error:
            code = Code.FORBIDDEN if self.origin is None else Code.NOT_FOUND
            raise ClipError(code, f"{url!r} is asked for: only http and https addresses are read") from error
        if self.origin is not None and origin != self.origin:
            raise ClipError(Code.NOT_FOUND, f"the mirror {self.origin} leads away to {origin}, which is not followed")
        if "@" in urlsplit(url).netloc:
            raise ClipError(Code.FORBIDDEN, f"an address at {origin} has a name or password in it")

    def check_address(self, host: str, address: str) -> None:
        """Refuse an IP address that a host resolved to, before it is connected to.

        Raises:
            ClipError: FORBIDDEN for a private one.
        """
        if self.origin is None and not self.allow_private and not is_public(address):
            what = "is" if host == address else "resolves to"
            raise ClipError(
                Code.FORBIDDEN, f"{host} {what} the private address {address}; give --allow-private if this is meant"
            )
