"""Running another program on a file that nobody has vouched for.

The program gets an empty folder, an empty standard input, a bare environment, its own process group, and limits on
time, memory and what it writes. What it prints is kept only at its end. This is not a sandbox: the program can still
read what this user can read, so callers restrict which formats and protocols it may open
(`curation/programs/ffmpeg.py`).
"""

import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from curation.errors import StoppedError

TAIL_BYTES = 65_536
"""How much of the end of each output is kept. Source: ours; ffmpeg's reasons stand in its last lines, and a hostile
file can make it print without end."""

PROCESSORS = 8
"""Processor time is limited to so many times the wall-clock time, which ends a program whose parent was killed and that
nobody watches any more. Source: ours; ffmpeg with one thread a codec keeps four threads busy at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a contained program may use.

    Args:
        wall_s: Wall-clock time, s; processor time is limited to `PROCESSORS` times as much.
        memory_bytes: Address space. The default is ours: 2 GiB decode 8K video with one thread.
        file_bytes: Size of any one file it writes.
    """

    wall_s: float = 300.0
    memory_bytes: int = 4 << 30
    file_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        for name in ("wall_s", "memory_bytes", "file_bytes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """How a contained program ended.

    Args:
        returncode: Exit status, or minus the number of the signal that ended it.
        timed_out: It used up its time and was killed.
        stdout: The last `TAIL_BYTES` of its standard output.
        stderr: The last `TAIL_BYTES` of its standard error.
    """

    returncode: int
    timed_out: bool
    stdout: str
    stderr: str


def run_contained(arguments: Sequence[str], *, scratch: Path, limits: Limits) -> Finished:
    """Run a program to its end or to its limits, with everything it started killed afterwards.

    Args:
        arguments: The program's absolute path and its arguments.
        scratch: Empty folder that becomes its working directory.
        limits: What it may use.

    Raises:
        StoppedError: The program cannot be started.
    """
    deadline = time.monotonic() + limits.wall_s
    try:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=scratch,
            env=environment(scratch),
            start_new_session=True,
        )
    except OSError as error:
        raise StoppedError(f"cannot start {arguments[0]}: {error}; install foundsound again") from error
    with process:
        try:
            _limit(process.pid, limits)
            assert process.stdout is not None and process.stderr is not None
            stdout, stderr, in_time = _read_until(process.stdout, process.stderr, deadline)
            if in_time:
                in_time = _wait_until(process, deadline)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return Finished(
        returncode=process.returncode,
        timed_out=not in_time,
        stdout=stdout.decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
    )


def environment(scratch: Path) -> dict[str, str]:
    """The variables a contained program sees: none of ours but the loader's search path, which some Pythons need."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    return {"LC_ALL": "C", "HOME": str(scratch), "TMPDIR": str(scratch), "AV_LOG_FORCE_NOCOLOR": "1", **kept}


def _limit(pid: int, limits: Limits) -> None:
    """Set the limits of a process that has just started.

    From outside and not between fork and exec, where Python code can deadlock in a parent that has threads. Where the
    system cannot do it (it is not Linux), wall-clock time remains, and ffmpeg's own limit of what it writes.
    """
    if sys.platform != "linux":
        return
    cpu_s = int(PROCESSORS * limits.wall_s) + 1
    try:
        resource.prlimit(pid, resource.RLIMIT_CPU, (cpu_s, cpu_s))
        resource.prlimit(pid, resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    except ProcessLookupError:
        return  # it has ended already


def _read_until(stdout: IO[bytes], stderr: IO[bytes], deadline: float) -> tuple[bytes, bytes, bool]:
    """Read both pipes to their ends, keeping the tails; the last value is False when the deadline came first."""
    tails = {stdout: b"", stderr: b""}
    with selectors.DefaultSelector() as selector:
        for pipe in tails:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            left_s = deadline - time.monotonic()
            ready = selector.select(left_s) if left_s > 0 else []
            if not ready:
                return tails[stdout], tails[stderr], False
            for key, _ in ready:
                pipe = stdout if key.fileobj is stdout else stderr
                chunk = os.read(key.fd, TAIL_BYTES)
                tails[pipe] = (tails[pipe] + chunk)[-TAIL_BYTES:]
                if not chunk:
                    selector.unregister(pipe)
    return tails[stdout], tails[stderr], True


def _wait_until(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for a process that has closed its pipes; False when it has not ended at the deadline."""
    try:
        process.wait(max(deadline - time.monotonic(), 0.0))
    except subprocess.TimeoutExpired:
        return False
    return True
