"""A contained program that is loaded once and forked for every file that nobody has vouched for.

Starting Python and loading the media libraries costs more than looking into a file does. So the program is started once
a worker and waits; for each file it forks a child, which gets the limits of `curation/programs/contained.py`, opens the
file and ends. The program itself never opens one. A crash, an endless loop or a full memory takes only that child.
"""

import atexit
import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curation.errors import StoppedError
from curation.programs.contained import PROCESSORS, Finished, Limits, environment

GRACE_S = 30.0
"""How much longer than its limit a child may seem to take before the program itself is taken for dead. Source: ours;
a loaded machine may take seconds to fork."""


class Forked:
    """One such program, started when it is first needed and again when it has died; safe to use from threads.

    Args:
        script: Python file that answers one line of JSON with another, as `curation/programs/prober.py` does.
    """

    def __init__(self, script: Path) -> None:
        self._script = script
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._folder = ""

    def run(self, request: Mapping[str, Any], limits: Limits) -> Finished:
        """Let a child work on a request.

        Args:
            request: What the script asks for, as JSON.
            limits: What the child may use.

        Raises:
            StoppedError: The program cannot be started, or does not answer.
        """
        bounds = {"wall_s": limits.wall_s, "cpu_s": int(PROCESSORS * limits.wall_s) + 1}
        bounds |= {"memory_bytes": limits.memory_bytes, "file_bytes": limits.file_bytes}
        line = json.dumps({**request, "limits": bounds}).encode() + b"\n"
        with self._lock:
            for _ in range(2):  # a program that somebody killed is started again once
                answer = self._ask(line, limits.wall_s + GRACE_S)
                if answer is not None:
                    return Finished(**json.loads(answer))
        raise StoppedError(f"{self._script.name} started twice and did not answer; is memory short?")

    def _ask(self, line: bytes, wait_s: float) -> bytes | None:
        """Send a line and read the answer; None when the program is dead, which it is afterwards."""
        answer = None
        try:
            process = self._running()
            assert process.stdin is not None
            process.stdin.write(line)
            process.stdin.flush()
            answer = self._answer(process, time.monotonic() + wait_s)
        except BrokenPipeError:
            pass  # it is dead
        finally:
            if answer is None:  # also when stopped while waiting: the next question would get this one's answer
                self._end()
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        """The program of this process; one that a parent process started before it forked is left to that."""
        if self._process is None or self._owner != os.getpid():
            self._folder = folder = tempfile.mkdtemp(prefix="foundsound-forked-")
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", str(self._script)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    cwd=folder,
                    env=environment(Path(folder)),
                    start_new_session=True,
                )
            except OSError as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise StoppedError(f"cannot start {sys.executable}: {error}; install foundsound again") from error
            self._owner = os.getpid()
            atexit.register(self.close)
        return self._process

    def _answer(self, process: subprocess.Popen[bytes], deadline: float) -> bytes | None:
        """The next line the program prints; None when it ends, or prints none in time."""
        assert process.stdout is not None
        read = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not read.endswith(b"\n"):
                left_s = deadline - time.monotonic()
                chunk = os.read(process.stdout.fileno(), 1 << 20) if left_s > 0 and selector.select(left_s) else b""
                if not chunk:
                    return None
                read += chunk
        return read

    def _end(self) -> None:
        """Kill the program and its child, if they are this process's own, and forget them."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """End the program; it is started again when it is needed."""
        process = self._process
        if process is None or self._owner != os.getpid():
            return
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # on which it ends, as it does when this process is killed
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.stdin = None
        self._end()
