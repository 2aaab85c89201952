"""One writer per (dataset, stage, identity): a lock file with host, process and heartbeat.

The lock of a dead process on this host is taken over at once, another host's after 60 s without a heartbeat. A takedown
is the only writer of all: it waits for nobody, nor does anybody for it; who comes second is refused.

Readers share a second kind of lock, the kernel's, under which parts are deleted that were merged into others.
"""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from curation.errors import LockedError
from curation.tables import write_bytes

HEARTBEAT_S = 10.0
STALE_S = 60.0

ONLY_WRITER = "forget.lock"
"""While another process holds the lock of this name, no other in its folder can be had."""

READERS = "readers.lock"


def _process_is_alive(pid: int) -> bool:
    with suppress(OSError):  # killed and not reaped yet, it holds nothing any more
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X"):
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started_at(pid: int) -> str:
    """When the process started, in the kernel's ticks, so that a reused pid is not taken for the holder."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _claim() -> bytes:
    pid = os.getpid()
    holder = {"host": socket.gethostname(), "pid": pid, "started": _started_at(pid), "heartbeat": time.time()}
    return json.dumps(holder).encode()


def _is_free(file: Path) -> bool:
    try:
        holder = json.loads(file.read_text())
        host, pid, heartbeat = holder["host"], int(holder["pid"]), float(holder["heartbeat"])
    except FileNotFoundError:
        return True
    except (ValueError, KeyError):
        return time.time() - file.stat().st_mtime > STALE_S
    if host == socket.gethostname():
        return not _process_is_alive(pid) or _started_at(pid) != holder.get("started", "")
    return time.time() - heartbeat > STALE_S


def _is_ours(file: Path) -> bool:
    try:
        holder = json.loads(file.read_text())
    except (OSError, ValueError):
        return False
    return (holder.get("host"), holder.get("pid")) == (socket.gethostname(), os.getpid())


def _holder(file: Path) -> str:
    """What a lock says of its holder, for a message."""
    try:
        holder = json.loads(file.read_text())
        return f"process {holder['pid']} on {holder['host']}"
    except FileNotFoundError:
        return "a process that ended meanwhile"
    except (ValueError, KeyError, TypeError):
        return f"a process that {file} does not name"


def is_held(file: Path) -> bool:
    """Whether a live process holds the lock `file`; a free one may be taken the next moment."""
    return not _is_free(file)


@contextmanager
def writer_lock(file: Path, what: str) -> Iterator[None]:
    """Hold the lock `file` while writing.

    Args:
        file: The lock's own file; made and removed here.
        what: What is being written, for the message to a second writer.

    Raises:
        LockedError: A live process holds it, or is the only writer beside it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    alone = file.with_name(ONLY_WRITER)
    with file.with_suffix(".claim").open("w") as claim:  # the kernel drops this one when its process dies
        fcntl.flock(claim, fcntl.LOCK_EX)
        if not _is_free(file):
            raise LockedError(f"{what} is being written by {_holder(file)}; wait for that process, or stop it")
        write_bytes(file, _claim())
        if file != alone and not _is_free(alone) and not _is_ours(alone):  # looked at last: see `only_writer`
            file.unlink(missing_ok=True)
            raise LockedError(f"{what} cannot be written while {_holder(alone)} takes something down; wait for it")
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_S):
            with suppress(OSError):  # a full disk now may have room at the next beat; the work itself says so too
                write_bytes(file, _claim())

    heart = threading.Thread(target=beat, daemon=True, name="lock-heartbeat")
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
        if _is_ours(file):  # another host takes over after a minute without a beat
            file.unlink(missing_ok=True)


@contextmanager
def only_writer(folder: Path, what: str) -> Iterator[None]:
    """Hold a lock that keeps all other writers out, with every lock that there is.

    A writer takes its own lock first and looks for this one then; here it is the other way round. So of two that begin
    at once one sees the other, perhaps both.

    Args:
        folder: Where the locks are.
        what: As for `writer_lock`.

    Raises:
        LockedError: A live process holds one of them.
    """
    with ExitStack() as locks:
        locks.enter_context(writer_lock(folder / ONLY_WRITER, what))
        for file in sorted(folder.glob("*.lock")):
            if file.name not in (ONLY_WRITER, READERS):
                locks.enter_context(writer_lock(file, f"{file.stem} of {what}"))
        yield


def readers_lock(dataset: Path) -> Path:
    """The file that readers of a dataset lock; nothing is written into it."""
    return dataset / "locks" / READERS


def _descriptor(file: Path, kind: int) -> int | None:
    try:
        file.parent.mkdir(exist_ok=True)
        descriptor = os.open(file, os.O_RDONLY | os.O_CREAT, 0o666)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, kind)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def shared_lock(file: Path) -> int | None:
    """Lock a file together with other readers, until the descriptor that is returned is closed or the process ends.

    Returns:
        The descriptor; None where no lock can be had, as on a file system that is read-only or has no locks.
    """
    return _descriptor(file, fcntl.LOCK_SH)


@contextmanager
def alone(file: Path) -> Iterator[bool]:
    """Lock a file against readers, if none holds it now; gives whether it is held."""
    descriptor = _descriptor(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)
