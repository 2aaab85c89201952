"""Runs a verb in a process of its own that dies in it, by SIGKILL, before the change of a file that it is told.

The moment is a number of file operations that change something below a folder, counted from 1; at 0 it lives. So a test
can die before each single write, rename or deletion. The processes are forked from a server that has imported what the
verbs need and nothing else, so that each begins at once.
"""

import json
import multiprocessing
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.link", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR
LIMIT_S = 240.0
"""A command that takes longer hangs."""

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    ["pipelines.program", "pipelines.runner", "curation.fetch", "curation.download.youtube", "curation.shards.pack"]
)


class Moment:
    """Counts changes below a folder, and ends the process before one of them.

    `changes` says how many there were in each folder of it.
    """

    def __init__(self, root: Path, last: int) -> None:
        self.root, self.last = f"{root}/", last
        self.changes: Counter[str] = Counter()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        is_change = event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITING)
        path = str(arguments[0]) if is_change else ""
        if path.startswith(self.root) and not path.startswith(f"{self.root}locks/"):
            self.changes[path.removeprefix(self.root).partition("/")[0]] += 1
            if self.changes.total() == self.last:
                os.kill(os.getpid(), signal.SIGKILL)


def _live_or_die(words: list[str], root: Path, last: int, said: Path) -> None:
    """In the forked process: every finished row is committed at once, so that there are many moments."""
    from pipelines import runner
    from pipelines.main import main

    assert isinstance(runner.COMMIT_EVERY_S, float)
    runner.COMMIT_EVERY_S = 0.0
    with said.open("w") as messages:
        sys.stdout = sys.stderr = messages
        moment = Moment(root, last)
        sys.addaudithook(moment)
        code = main(words)
        said.with_suffix(".json").write_text(json.dumps(moment.changes))
    sys.exit(code)


def live(words: list[str], root: Path, said: Path, *, last: int = 0) -> dict[str, int] | None:
    """Run a verb to its end, or to its death before a change.

    Args:
        words: The command line.
        root: Folder whose changes count.
        said: A file for what it says.
        last: The change before which it dies; 0 for none.

    Returns:
        How many changes there were in each folder of `root`, or None if it died.
    """
    process = _forks.Process(target=_live_or_die, args=(words, root, last, said))
    process.start()
    process.join(LIMIT_S)
    if process.is_alive():
        process.kill()
        raise AssertionError(f"foundsound {' '.join(words)} hangs: {said.read_text()}")
    if process.exitcode == -signal.SIGKILL:
        return None
    assert process.exitcode == 0, f"foundsound {' '.join(words)} ended with {process.exitcode}: {said.read_text()}"
    changes: dict[str, int] = json.loads(said.with_suffix(".json").read_text())
    return changes
