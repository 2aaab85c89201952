"""Refuses and writes down what a Python process tries on the network, if FOUNDSOUND_ATTEMPTS names a file.

`attempts.pth` in an environment's site-packages, with the line `import attempts`, lays this on all its processes. It
sees what goes through the module `socket`; for everything else there is `loopback.py`.
"""

import errno
import ipaddress
import os
import sys
from typing import Any

SENDING = {"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1}
ASKING = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.gethostbyaddr": 0}
"""Audit event -> which of its arguments is the address or the host. Source: Python's table of audit events."""


def is_here(host: Any) -> bool:
    """Whether a host is this machine: its loopback, no host at all, or an address of another kind, as a file's."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str) or host in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in SENDING:
        address = arguments[SENDING[event]]
        host = address[0] if isinstance(address, tuple) and address else None
    elif event in ASKING:
        host = arguments[ASKING[event]]
    else:
        return
    if not is_here(host):
        with open(os.environ["FOUNDSOUND_ATTEMPTS"], "a", encoding="utf-8") as file:
            file.write(f"{event} {host!r} by {' '.join(sys.orig_argv)[:200]}\n")
        raise OSError(errno.ENETUNREACH, f"{event} of {host!r}: there is no network but the loopback")


if "FOUNDSOUND_ATTEMPTS" in os.environ:
    sys.addaudithook(refuse)
