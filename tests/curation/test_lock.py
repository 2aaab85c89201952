"""One writer: a live one is respected, a dead one is replaced."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curation.errors import LockedError
from curation.lock import STALE_S, writer_lock


def hold(file: Path, **holder: object) -> None:
    file.write_text(json.dumps({"host": socket.gethostname(), "started": "", "heartbeat": time.time(), **holder}))


def test_a_live_holder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    twice = pytest.raises(LockedError, match=f"stage cut.*{os.getpid()}")
    with writer_lock(file, "stage cut"), twice, writer_lock(file, "stage cut"):
        pass
    assert not file.exists()


def test_the_lock_of_a_dead_process_is_taken_at_once(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    file = tmp_path / "a.lock"
    hold(file, pid=dead.pid)
    with writer_lock(file, "x"):
        assert json.loads(file.read_text())["pid"] == os.getpid()


def test_a_reused_pid_is_not_the_holder(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    hold(file, pid=os.getpid(), started="1")
    with writer_lock(file, "x"):
        assert json.loads(file.read_text())["started"] != "1"


def test_another_host_is_trusted_as_long_as_its_heart_beats(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    hold(file, pid=1, host="elsewhere")
    with pytest.raises(LockedError, match="elsewhere"), writer_lock(file, "x"):
        pass
    hold(file, pid=1, host="elsewhere", heartbeat=time.time() - STALE_S - 1)
    with writer_lock(file, "x"):
        assert json.loads(file.read_text())["host"] == socket.gethostname()
