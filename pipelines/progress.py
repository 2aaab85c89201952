"""Progress on standard error: a bar on a terminal, a line now and then in a log file."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

LINE_EVERY_S = 15.0
"""In a log file a line at most this often."""


class Progress:
    """Shows how far a piece of work is.

    Args:
        what: Name of the work, as `fetch`.
        total: How many items there are.
        unit: What an item is.
    """

    def __init__(self, what: str, *, total: int, unit: str = "rows") -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = self._set_aside = 0
        self._began = self._said = time.monotonic()
        console = Console(stderr=True)
        self._bars = (
            Bars(
                TextColumn("{task.description:>12}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
            self._task = self._bars.add_task(self._what, total=self._total, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()
        else:
            self._say()

    def advance(self, count: int = 1, *, set_aside: bool = False, note: str = "") -> None:
        """Count items as finished; `note` is shown behind the bar."""
        self._done += count
        self._set_aside += count if set_aside else 0
        shown = note or (f"{self._set_aside} set aside" if self._set_aside else "")
        if self._bars:
            self._bars.update(self._task, completed=self._done, note=shown)
        elif time.monotonic() - self._said > LINE_EVERY_S:
            self._say(shown)

    def _say(self, note: str = "") -> None:
        self._said = time.monotonic()
        rate = self._done / max(self._said - self._began, 1e-9)
        tail = f", {note or f'{self._set_aside} set aside'}" if note or self._set_aside else ""
        print(f"{self._what}: {self._done}/{self._total} {self._unit}, {rate:.1f}/s{tail}", file=sys.stderr, flush=True)
