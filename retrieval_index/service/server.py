"""Running the service with uvicorn: on a socket of its own, until somebody ends it.

On SIGTERM or Ctrl-C nothing more is taken, what is being answered is answered, and then the process ends.
"""

import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from uvicorn import Config, Server

from curation.errors import ArgumentError
from retrieval_index.service.app import Service
from retrieval_index.service.connection import connection_class

KEEP_ALIVE_S = 15
"""How long a connection stays open without a request, s. Source: ours; the next look at a page of results."""

HEADER_BYTES = 16 << 10
"""Size of the head of a request. Source: ours; a query of 500 characters in an address takes 6 KB at most."""

BACKLOG = 1_024
"""Connections that wait in the kernel to be taken."""

TAKEN_AT_ONCE = 16
"""Connections that are taken before anybody is answered again. Source: ours; refusing one takes a quarter of a
millisecond, and asyncio itself takes as many as wait."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that will listen; others cannot take its port any more.

    Args:
        host: Address or name of this machine.
        port: 0 for a free one.

    Raises:
        ArgumentError: The address is not this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except (OSError, OverflowError) as error:
        raise ArgumentError(f"cannot listen on {host} port {port}: {error}; give another --host or --port") from error
    made.set_inheritable(False)
    return made


def address_of(bound: socket.socket) -> str:
    """The address of the page, as http://127.0.0.1:8765/."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def begin(bound: socket.socket) -> None:
    """Take connections from now on; they are answered as soon as `run` runs."""
    bound.listen(BACKLOG)


def run(service: Service, bound: socket.socket) -> None:
    """Serve until SIGTERM, after which it returns, or Ctrl-C.

    Args:
        service: The service; what is being answered at the end has `send_s` of its limits to end too.
        bound: Where it listens.

    Raises:
        KeyboardInterrupt: Ctrl-C, after all was ended.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # nonsense that clients send is not worth a line each
    with _ended_by_sigterm():
        server_of(service).run(sockets=[bound])


class _Server(Server):
    """Takes few connections at once, however many wait."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve; this has set the length of the kernel's queue to what is taken at once."""
        await super().startup(sockets)
        for bound in sockets or ():
            begin(bound)


def server_of(service: Service) -> Server:
    """uvicorn's server: no logs of requests, no headers of proxies that nobody vouches for, and our bounds."""
    config = Config(
        service.app,
        http=connection_class(service.limits, service.connections),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=TAKEN_AT_ONCE,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(service.limits.send_s)),
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
    return _Server(config)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more when it is done; SIGTERM shall end nothing then."""

    def ignore(number: int, frame: FrameType | None) -> None:
        return

    before = signal.signal(signal.SIGTERM, ignore)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
