"""The temporary files of a run go with it, and what a killed run left goes with the next one."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipelines.scratch import PREFIX, scratch_folder

KILLED = """
import os, signal, tempfile
from pipelines.scratch import scratch_folder
with scratch_folder():
    tempfile.mkstemp()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_temporary_files_lie_in_the_folder_and_go_with_it(temporary: Path) -> None:
    with pytest.raises(KeyboardInterrupt), scratch_folder() as folder:
        assert folder.parent == temporary and Path(tempfile.mkdtemp()).parent == folder
        raise KeyboardInterrupt
    assert tempfile.gettempdir() == str(temporary) and not list(temporary.iterdir())


def test_what_a_killed_run_left_is_removed_and_a_running_one_is_left_alone(temporary: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], env={"TMPDIR": str(temporary), "PYTHONPATH": "."})
    left = list(temporary.iterdir())
    assert (
        killed.returncode == -9
        and len(left) == 1
        and left[0].name.startswith(PREFIX)
        and len(list(left[0].iterdir())) == 2
    )
    with scratch_folder() as running:
        tempfile.tempdir = str(temporary)
        with scratch_folder():
            assert running.is_dir() and not left[0].exists()


WORKER = """
import sys, tempfile, time
from pathlib import Path
from pipelines.scratch import use_scratch
use_scratch(Path("/folder/of/a/driver/elsewhere"))
Path(tempfile.mkdtemp(), "cookies.txt").touch()
print(tempfile.gettempdir(), flush=True)
sys.stdin.read()
"""


def worker(temporary: Path) -> tuple["subprocess.Popen[str]", Path]:
    """A worker on a machine that does not have the driver's folder, and its own folder there."""
    environment = {"TMPDIR": str(temporary), "PYTHONPATH": "."}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", WORKER], env=environment, **pipes)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_worker_left_elsewhere_goes_when_the_next_one_begins_there(temporary: Path) -> None:
    (killed, left), (living, kept) = worker(temporary), worker(temporary)
    assert {left.parent, kept.parent} == {temporary} and list(left.rglob("cookies.txt"))
    killed.kill()
    killed.communicate()
    assert list(left.rglob("cookies.txt"))
    next_one, own = worker(temporary)
    assert not left.exists() and list(kept.rglob("cookies.txt")) and list(own.rglob("cookies.txt"))
    for process in (living, next_one):
        process.communicate("")
        assert process.returncode == 0
    assert not list(temporary.iterdir())
