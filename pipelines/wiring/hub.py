"""The Hub where there is no network: models come from its cache at once, and what is not there is said at once.

By itself huggingface_hub asks for each file of a model six times, 23 s long, before it looks into its cache. That is
right for a network that fails now and then, and minutes of nothing where there is none.
"""

import errno
import socket
import time
import urllib.request
from typing import Any

CONNECT_S = 3.0
"""How long a first connection is waited for, s; a network that is slower than that is one, and left to the Hub."""

AGAIN_S = 1.0
"""After so long a name is looked up once more: a resolver may be starting, s."""

BELIEVED_S = 30.0
"""How long the answer of no network counts, s."""

NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.ENETDOWN, errno.EADDRNOTAVAIL}
"""What a system says at once of an address that it cannot reach."""

_failed: dict[tuple[str, int], tuple[float, str]] = {}
_reached: set[tuple[str, int]] = set()


def give_up_without_network() -> None:
    """Have huggingface_hub, in this process, ask no host that cannot be reached; called before a model is loaded."""
    from huggingface_hub import get_session

    session = get_session()
    hooks = session.event_hooks
    if _refuse_without_network not in hooks["request"]:
        session.event_hooks = {**hooks, "request": [*hooks["request"], _refuse_without_network]}


def _refuse_without_network(request: Any) -> None:
    """Called by the Hub's client before each request.

    Raises:
        OfflineModeIsEnabled: There is no network; the Hub's library then looks into its cache alone.
    """
    from huggingface_hub.errors import OfflineModeIsEnabled

    if urllib.request.getproxies():
        return  # the proxy finds the host
    host = str(request.url.host)
    place = host, request.url.port or (80 if request.url.scheme == "http" else 443)
    why = None if place in _reached else _unreachable(place)
    if why is not None:
        raise OfflineModeIsEnabled(f"{host} cannot be reached: {why}")
    _reached.add(place)


def _unreachable(place: tuple[str, int]) -> str | None:
    """Why a host cannot be reached at all; None where it can, or where that takes longer than is waited for."""
    when, why = _failed.get(place, (float("-inf"), ""))
    if time.monotonic() - when < BELIEVED_S:
        return why
    found = _tried(place)
    if found is not None and found[1]:
        time.sleep(AGAIN_S)
        found = _tried(place)
    if found is None:
        return None
    _failed[place] = time.monotonic(), found[0]
    return found[0]


def _tried(place: tuple[str, int]) -> tuple[str, bool] | None:
    """Why no connection comes about, and whether it is the name that was not found; None where there is a network."""
    try:
        socket.create_connection(place, timeout=CONNECT_S).close()
    except socket.gaierror as error:
        return str(error.strerror), True
    except OSError as error:
        return (str(error.strerror), False) if error.errno in NO_WAY else None
    return None
