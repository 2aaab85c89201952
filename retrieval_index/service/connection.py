"""One connection of a client as uvicorn speaks HTTP/1.1 with it, with a bound on how many and how slow.

uvicorn itself waits for ever for the end of a request's headers and for a client that takes no answer, and when
connections are too many it refuses those that came first as well. Here the excess is refused and the others do not
notice; but one that has asked nothing for a while gives its place to a newcomer, so that a network of idle ones does
not fill the service.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from retrieval_index.service.access import is_loopback, network_of
from retrieval_index.service.limits import Limits
from retrieval_index.service.refusal import as_response, busy

EXCESS_S = 3.0
"""How long a connection that is one too many may take to ask, s; it is told to come again. Source: ours; a slow line's
way there and back, and the first packet lost."""

IDLE_S = 2.0
"""How long a connection may be open without a request that is being answered before it gives its place to a newcomer
where all are taken, s. Source: ours; who asks in a row never is so long without one; who reads a page connects anew."""


@dataclass(slots=True)
class Connections:
    """The connections of a service.

    Args:
        admitted: Those that are open and answered, and the network that each comes from, or None.
        idle: Those of them of which no request is being answered, and since when, the longest first.
        refused: How many were one too many.
    """

    admitted: dict[H11Protocol, str | None] = field(default_factory=dict)
    idle: dict[H11Protocol, float] = field(default_factory=dict)
    refused: int = 0


def _too_many() -> bytes:
    """The whole answer to a connection that is one too many: made once, since it is sent when there is no time."""
    refused = as_response(busy("too many connections are open"))
    head = [b"%b: %b" % pair for pair in (*refused.raw_headers, (b"connection", b"close"))]
    return b"\r\n".join([b"HTTP/1.1 503 Service Unavailable", *head, b"", bytes(refused.body)])


class BoundedConnection(H11Protocol):
    """One connection; `connection_class` says within which bounds.

    Attributes:
        limits: The bounds.
        counted: Where it is counted.
        too_many: The answer to one that is too many.
    """

    limits: ClassVar[Limits]
    counted: ClassVar[Connections]
    too_many: ClassVar[bytes]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waiting: asyncio.TimerHandle | None = None
        self._listening: asyncio.TimerHandle | None = None
        self._header_s, self._is_excess = self.limits.header_s, False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, or mark it as one too many."""
        super().connection_made(transport)
        network = network_of(self.client[0]) if self.client is not None else None
        if self._has_too_many(network) or not self._finds_room():
            self.counted.refused += 1
            self._header_s, self._is_excess = EXCESS_S, True
        else:
            self.counted.admitted[self] = network
            self.counted.idle[self] = self.loop.time()
        self._await_header()

    def _has_too_many(self, network: str | None) -> bool:
        """Whether its network has all the connections that one may have."""
        if network is None or is_loopback(network):
            return False
        others = sum(other == network for other in self.counted.admitted.values())
        return others >= self.limits.connections_per_client

    def _finds_room(self) -> bool:
        """Whether there is a place, or the connection that has been idle longest gives up its own."""
        if len(self.counted.admitted) < self.limits.connections:
            return True
        longest = next(iter(self.counted.idle), None)
        if longest is None or self.loop.time() - self.counted.idle[longest] < IDLE_S:
            return False
        self._forget(longest)
        longest.transport.close()
        return True

    def _forget(self, connection: H11Protocol) -> None:
        """Count it no more."""
        self.counted.admitted.pop(connection, None)
        self.counted.idle.pop(connection, None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room."""
        self._forget(self)
        self._stop_waiting()
        self._stop_listening()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """From the first byte of a request its headers must come in time."""
        if self._is_excess:
            if not self.transport.is_closing():
                self.transport.write(self.too_many)
                self.transport.close()
            return
        cycle = self.cycle
        if self._waiting is None and (cycle is None or cycle.response_complete):
            self._await_header()
        super().data_received(data)
        if self.cycle is not cycle:
            self._stop_waiting()
            self.counted.idle.pop(self, None)

    def on_response_complete(self) -> None:
        """From now on it is idle, unless its next request has come already."""
        super().on_response_complete()
        if self in self.counted.admitted and self.cycle.response_complete:
            self.counted.idle[self] = self.loop.time()

    def pause_writing(self) -> None:
        """The client does not take what is sent: it has some time to."""
        super().pause_writing()
        self._listening = self.loop.call_later(self.limits.send_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken some."""
        self._stop_listening()
        super().resume_writing()

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    def _await_header(self) -> None:
        self._waiting = self.loop.call_later(self._header_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.abort()


def connection_class(limits: Limits, connections: Connections) -> type[H11Protocol]:
    """The protocol of uvicorn with these bounds: `connections`, `connections_per_client`, `header_s` and `send_s`.

    Args:
        limits: The bounds.
        connections: Where they are counted.
    """
    given = limits

    class Connection(BoundedConnection):
        """One connection of a service."""

        limits, counted, too_many = given, connections, _too_many()

    return Connection
