"""A small disk for a test: `python small_disk.py FOLDER`, in a mount namespace of its own (Linux).

It mounts a file system in memory at FOLDER and obeys lines of JSON on standard input, each answered by one line:

    {"room": 100000}                         from now on so many bytes are free: {"done": true}
    {"words": ["fetch", ...], "scratch": DIR}  run foundsound there: {"code": 0, "said": "...", "printed": "..."}

Nothing of it is left when it ends. Where the system allows no namespace the exit code is `NO_NAMESPACE`.

Source: unshare(2), mount(2), user_namespaces(7).
"""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

NO_NAMESPACE = 77
CLONE_NEWNS, CLONE_NEWUSER = 0x0002_0000, 0x1000_0000
MS_REC, MS_PRIVATE, MS_REMOUNT = 0x4000, 0x4_0000, 0x20
ROOT = Path(__file__).resolve().parents[2]

_libc = ctypes.CDLL(None, use_errno=True)


def enter_namespace() -> bool:
    """Let mounts of this process be its own: as root at once, else as the root of a user namespace."""
    if _libc.unshare(CLONE_NEWNS) != 0:
        user, group = os.getuid(), os.getgid()
        if _libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return bool(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0)


def mount(folder: str, size_bytes: int, flags: int = 0) -> bool:
    """A file system in memory of this size; with `MS_REMOUNT` the one that is there gets it."""
    options = f"size={size_bytes}".encode()
    return bool(_libc.mount(b"tmpfs", folder.encode(), b"tmpfs", flags, options) == 0)


def run(words: list[str], scratch: str) -> dict[str, object]:
    """One command of foundsound, its temporary files in `scratch`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": scratch}
    command = [sys.executable, "-m", "pipelines.main", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    return {"code": done.returncode, "said": done.stderr, "printed": done.stdout}


def main() -> int:
    (folder,) = sys.argv[1:]
    if not enter_namespace() or not mount(folder, 1 << 30):
        return NO_NAMESPACE
    for line in sys.stdin:
        order = json.loads(line)
        if "room" in order:
            disk = os.statvfs(folder)
            used_bytes = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
            answer: dict[str, object] = {"done": mount(folder, used_bytes + order["room"], MS_REMOUNT)}
        else:
            answer = run(order["words"], order["scratch"])
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
