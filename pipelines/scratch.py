"""Where the temporary files of one run lie: one folder that goes with the run, however the run ends.

A worker that is killed cannot clean up after itself, so the driver does: at the end of its run, and at the beginning of
a run for earlier ones whose driver was killed too.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "foundsound-run-"
LOCK = "lock"
"""A file that the driver of the run holds locked; the kernel frees it when the driver dies."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in which this process, and every one that calls `use_scratch`, keeps its temporary files for a while."""
    root, before = Path(tempfile.gettempdir()), tempfile.tempdir
    for left in root.glob(f"{PREFIX}*"):
        _remove_unless_in_use(left)
    made = Path(tempfile.mkdtemp(prefix="foundsound-"))
    with (made / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        folder = made.rename(root / f"{PREFIX}{made.name.removeprefix('foundsound-')}")  # locked before it can be found
        use_scratch(folder)
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            shutil.rmtree(folder, ignore_errors=True)  # a worker that is being killed may still write


def use_scratch(folder: Path) -> None:
    """Let this process put its temporary files into a run's folder; on another machine, which lacks it, do nothing."""
    if folder.is_dir():
        tempfile.tempdir = str(folder)


def _remove_unless_in_use(folder: Path) -> None:
    try:
        with (folder / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # in use, another user's, or gone meanwhile
        return
