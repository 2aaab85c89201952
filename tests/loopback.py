"""Runs a command where no network is but the loopback: `python loopback.py COUNTS command ...` (Linux).

The command gets a network namespace of its own in which only `lo` is up, so that whatever it or its children try to
reach elsewhere is refused by the kernel. Afterwards COUNTS holds, as JSON, how many times the kernel found no route:
one for every TCP connection or datagram that would have left the machine, DNS queries included, whatever process and
language it came from. Where the system allows no namespace the exit code is `NO_NAMESPACE` and nothing was run.

Source: unshare(2), netdevice(7); `OutNoRoutes` of RFC 4293, in /proc/net/snmp and snmp6.
"""

import ctypes
import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

NO_NAMESPACE = 77
CLONE_NEWUSER, CLONE_NEWNET = 0x1000_0000, 0x4000_0000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
FLAGS_OF_LO = struct.Struct("16sH14x")


def enter_namespace() -> bool:
    """Move this process into a network of its own: as root at once, else as the root of a user namespace."""
    unshare = ctypes.CDLL(None).unshare
    if unshare(CLONE_NEWNET) == 0:
        return True
    user, group = os.getuid(), os.getgid()
    if unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


def bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name, flags = FLAGS_OF_LO.unpack(fcntl.ioctl(any_socket, SIOCGIFFLAGS, FLAGS_OF_LO.pack(b"lo", 0)))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, FLAGS_OF_LO.pack(name, flags | IFF_UP))


def refused() -> int:
    """Packets and connections of this namespace for which there was no route."""
    rows = [line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines() if line.startswith("Ip: ")]
    version_4 = int(dict(zip(*rows, strict=True))["OutNoRoutes"])
    version_6 = Path("/proc/self/net/snmp6")
    found = re.search(r"^Ip6OutNoRoutes\s+(\d+)", version_6.read_text(), re.MULTILINE) if version_6.exists() else None
    return version_4 + (int(found[1]) if found else 0)


def main() -> int:
    counts, *command = sys.argv[1:]
    if not enter_namespace():
        return NO_NAMESPACE
    bring_up_loopback()
    code = subprocess.run(command).returncode
    Path(counts).write_text(json.dumps({"refused": refused()}))
    return code


if __name__ == "__main__":
    sys.exit(main())
