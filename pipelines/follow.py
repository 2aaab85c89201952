"""Following an upstream stage: what it commits while this one runs is asked for again and again.

So captions and vectors are made while a fetch takes its weeks, and models stay loaded.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from curation.dataset import Dataset
from curation.lock import is_held
from curation.status import status

OF_CLIPS = ("fetch", "segment", "cut")
"""The stages that a stage of cut clips waits for."""


def variant(stage: str, facts: Path) -> str:
    """Name of what one variant of a stage commits, to follow it and no other.

    Args:
        stage: NAME of the stage.
        facts: Folder of the variant's facts.
    """
    return f"{stage}-{facts.name}"


LOOK_EVERY_S = 5.0
"""How often new rows are asked for at most. Source: ours; the runner commits as often."""

LOOKING_SHARE = 0.2
"""Most of the time that is spent on asking, where the tables are large. Source: ours."""


@dataclass(slots=True)
class Upstream:
    """The stages that rows come from.

    Args:
        dataset: The dataset.
        names: Their NAMEs, or those of variants, as `variant` gives them.
        queue: Gives what is pending now.
    """

    dataset: Dataset
    names: Sequence[str]
    queue: Callable[[], pa.Table]
    _look_at: float = field(default=float("-inf"), init=False)
    _is_over: bool = field(default=False, init=False)

    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        return time.monotonic() >= self._look_at

    def more(self) -> pa.Table | None:
        """New requests, perhaps none of them yet; None once there will be none."""
        if self._is_over:
            return None
        begun = time.monotonic()
        runs = self._runs()  # before the queue is read, or its last rows were missed
        rows = self.queue()
        if not runs and not rows.num_rows:
            self._is_over = True
            if pending := self._pending():
                print(
                    f"nothing is left to follow: {pending} rows before this stage are pending and no process works on "
                    f"them; run `foundsound fetch`, and this command again",
                    file=sys.stderr,
                )
            return None
        took_s = time.monotonic() - begun
        self._look_at = time.monotonic() + max(LOOK_EVERY_S, took_s / LOOKING_SHARE)
        return rows

    def first(self) -> pa.Table | None:
        """Wait for the first requests; None where there will be none."""
        rows = self.more()
        if rows is not None and not rows.num_rows:
            print(f"waiting for what {', '.join(self.names)} commit", file=sys.stderr, flush=True)
        while rows is not None and not rows.num_rows:
            time.sleep(max(self._look_at - time.monotonic(), 0.0))
            rows = self.more()
        return rows

    def _runs(self) -> bool:
        locks = self.dataset.folder("locks")
        files = [file for name in self.names for file in (locks / f"{name}.lock", *locks.glob(f"{name}-*.lock"))]
        return any(is_held(file) for file in files)

    def _pending(self) -> int:
        counts = status(self.dataset)
        return max((counts[name].pending for name in self.names if name in counts), default=0)
