"""Where the temporary files of one run lie: folders that go with the run, however the run ends.

A worker that is killed cannot clean up after itself, so the driver does: at the end of its run, and at the beginning of
a run for earlier ones whose driver was killed too. A worker on another machine than the driver has a folder of its own;
what it leaves when it dies goes when the next one begins there.
"""

import atexit
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PREFIX = "foundsound-run-"
LOCK = "lock"
"""A file that the process which a folder belongs to holds locked; the kernel frees it when that dies."""

_held: list[IO[str]] = []
"""The locks of the folders that last as long as this process."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in which this process, and every one that calls `use_scratch`, keeps its temporary files for a while."""
    before = tempfile.tempdir
    folder, held = _locked_folder()
    with held:
        tempfile.tempdir = str(folder)
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            shutil.rmtree(folder, ignore_errors=True)  # a worker that is being killed may still write


def use_scratch(folder: Path) -> None:
    """Let this process put its temporary files into a run's folder; on another machine, which lacks it, into one of its
    own until it ends."""
    if not folder.is_dir():
        folder, held = _locked_folder()
        _held.append(held)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tempfile.tempdir = str(folder)


def _locked_folder() -> tuple[Path, IO[str]]:
    """A new folder and its lock; those of dead processes of this machine are removed."""
    root = Path(tempfile.gettempdir())
    for left in root.glob(f"{PREFIX}*"):
        _remove_unless_in_use(left)
    made = Path(tempfile.mkdtemp(prefix="foundsound-"))
    held = (made / LOCK).open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    return made.rename(root / f"{PREFIX}{made.name.removeprefix('foundsound-')}"), held  # locked before it is found


def _remove_unless_in_use(folder: Path) -> None:
    try:
        with (folder / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # in use, another user's, or gone meanwhile
        return
