"""Runs a verb and dies in it, by SIGKILL: `python dying.py ROOT FOLDER MOMENT COUNTS verb ...`.

The moment is a number of file operations that change something below ROOT/FOLDER, counted from 1; at 0 it lives, and
the file COUNTS says, as JSON, how many there were below each folder of ROOT. So a test can die before each single
write, rename or deletion.
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.link", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR


class Moment:
    """Counts changes below a folder's folders, and ends the process before one of them."""

    def __init__(self, root: str, folder: str, last: int) -> None:
        self.root, self.folder, self.last = f"{root}/", folder, last
        self.counts: Counter[str] = Counter()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        is_change = event in CHANGES or (event == "open" and arguments[2] & WRITING)
        path = str(arguments[0]) if is_change else ""
        if path.startswith(self.root):
            folder = path.removeprefix(self.root).partition("/")[0]
            self.counts[folder] += 1
            if folder == self.folder and self.counts[folder] == self.last:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    from pipelines.main import main

    root, folder, number, counts_file, *words = sys.argv[1:]
    moment = Moment(root, folder, int(number))
    sys.addaudithook(moment)
    code = main(words)
    Path(counts_file).write_text(json.dumps(moment.counts))
    sys.exit(code)
