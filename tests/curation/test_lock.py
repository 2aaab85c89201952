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
from curation.lock import ONLY_WRITER, READERS, STALE_S, only_writer, writer_lock


def hold(file: Path, **holder: object) -> None:
    file.write_text(json.dumps({"host": socket.gethostname(), "started": "", "heartbeat": time.time(), **holder}))


def test_a_live_holder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    twice = pytest.raises(LockedError, match=f"stage cut.*process {os.getpid()} on {socket.gethostname()};")
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


TRIES = 60

WRITER = """if True:
    import sys, time
    from pathlib import Path
    from curation.errors import LockedError
    from curation.lock import writer_lock
    folder, number = Path(sys.argv[1]), sys.argv[2]
    inside, alone = folder / f"inside-{number}", folder / "alone"
    for n in range(int(sys.argv[3])):
        try:
            with writer_lock(folder / f"stage-{number}-{n % 3}.lock", "x"):
                inside.touch()
                time.sleep(0.001)
                print("together" if alone.exists() else "in")
                inside.unlink()
        except LockedError:
            print("refused")
"""


def test_whoever_takes_down_writes_alone_whoever_begins_first(tmp_path: Path) -> None:
    """Writers with locks that come and go, and one that wants all of them: never are two inside."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(n), str(TRIES)], stdout=subprocess.PIPE)
        for n in range(2)
    ]
    taken = 0
    while any(writer.poll() is None for writer in writers) and taken < 10 * TRIES:
        try:
            with only_writer(tmp_path, "all"):
                (tmp_path / "alone").touch()
                time.sleep(0.002)
                assert not list(tmp_path.glob("inside-*"))
                (tmp_path / "alone").unlink()
                taken += 1
        except LockedError:
            pass
        time.sleep(0.003)
    said = [line for writer in writers for line in writer.communicate()[0].decode().split()]
    assert taken and len(said) == 2 * TRIES and set(said) == {"in", "refused"}
    assert not list(tmp_path.glob("*.lock"))


def test_the_only_writer_may_take_further_locks_and_a_dead_one_hinders_nobody(tmp_path: Path) -> None:
    readers = tmp_path / READERS
    readers.touch()
    hold(tmp_path / "dead.lock", pid=os.getpid(), started="1")
    with only_writer(tmp_path, "all"), writer_lock(tmp_path / "later.lock", "x"):
        held = pytest.raises(LockedError, match="dead of all is being written")
        with held, writer_lock(tmp_path / "dead.lock", "dead of all"):
            pass
    assert [path.name for path in tmp_path.glob("*.lock")] == [READERS]
    hold(tmp_path / ONLY_WRITER, pid=os.getpid(), started="1")
    with writer_lock(tmp_path / "later.lock", "x"):
        pass
    hold(tmp_path / ONLY_WRITER, pid=1, host="elsewhere")
    with (
        pytest.raises(LockedError, match=r"x cannot be written while .*elsewhere"),
        writer_lock(tmp_path / "a.lock", "x"),
    ):
        pass
    assert not (tmp_path / "a.lock").exists()


def test_nobody_is_kept_out_when_one_lock_is_held_by_another(tmp_path: Path) -> None:
    hold(tmp_path / "stage.lock", pid=1, host="elsewhere")
    with pytest.raises(LockedError, match=r"stage of all.*elsewhere"), only_writer(tmp_path, "all"):
        pass
    with writer_lock(tmp_path / "other.lock", "x"):
        pass
