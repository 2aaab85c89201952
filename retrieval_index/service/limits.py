"""What a client may ask of the service, and what all clients together may."""

from dataclasses import dataclass

ABOVE_ZERO = (
    "connections",
    "connections_per_client",
    "requests",
    "per_client",
    "uploads",
    "body_bytes",
    "upload_bytes",
    "upload_s",
    "text_characters",
    "filter_characters",
    "clips",
    "header_s",
    "body_s",
    "send_s",
    "filter_s",
    "decode_s",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds of the service; what is over them is refused, never cut. Source of all numbers: ours.

    Args:
        connections: Open connections; the first request on a further one is answered with 503, unless one of them has
            been idle for `connection.IDLE_S` and gives its place.
        connections_per_client: Of those, from one IPv4 address or IPv6 network of 64 bits that is not this machine's
            (where a proxy may be, which speaks for many); a further one is answered in the same way.
        requests: Requests to `/api` that are worked on at once; a further one is answered with 503.
        per_client: Of those, from one such address or network; a further one is answered with 429.
        uploads: Files that are decoded at once, each in a process of its own.
        body_bytes: Size of a request's body, unless it is a file.
        upload_bytes: Size of a sound or picture that is uploaded.
        upload_s: Length of such a sound or video, s.
        text_characters: Length of a text, and of each term.
        filter_characters: Length of a filter.
        clips: Clips in one answer.
        header_s: Time from the first byte of a request to the end of its headers, s.
        body_s: Time for the whole body, s.
        send_s: Time in which a client must take the next piece of an answer, s.
        filter_s: Time for one filter, s.
        decode_s: Time to decode an uploaded file, s.
    """

    connections: int = 256
    connections_per_client: int = 64
    requests: int = 64
    per_client: int = 32
    uploads: int = 2
    body_bytes: int = 64 << 10
    upload_bytes: int = 32 << 20
    upload_s: float = 60.0
    text_characters: int = 500
    filter_characters: int = 1_000
    clips: int = 200
    header_s: float = 10.0
    body_s: float = 30.0
    send_s: float = 30.0
    filter_s: float = 10.0
    decode_s: float = 20.0

    def __post_init__(self) -> None:
        for name in ABOVE_ZERO:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
