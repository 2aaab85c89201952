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
        self._noted = ""
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

    def expect(self, count: int, *, again: bool = False) -> None:
        """More items have come; with `again` they are what is left of those that were expected before."""
        self._total = self._done + count if again else self._total + count
        if self._bars:
            self._bars.update(self._task, total=self._total)

    def note(self, text: str) -> None:
        """Say why nothing moves; the same text is said once."""
        if text == self._noted:
            return
        self._noted = text
        if self._bars:
            self._bars.update(self._task, note=text)
        elif text:
            print(f"{self._what}: {text}", file=sys.stderr, flush=True)

    def _say(self, note: str = "") -> None:
        self._said = time.monotonic()
        tail = f", {note or f'{self._set_aside} set aside'}" if note or self._set_aside else ""
        rate = rate_text(self._done, self._said - self._began, self._total - self._done)
        print(f"{self._what}: {self._done}/{self._total} {self._unit}{rate}{tail}", file=sys.stderr, flush=True)


def rate_text(done: int, took_s: float, left: int) -> str:
    """`, 3.2/s, 5 min left`: by the second, or by the hour where that is below 1; empty before anything is done."""
    if not done or took_s <= 0:
        return ""
    rate = done / took_s
    shown = f"{rate:.1f}/s" if rate >= 1 else f"{rate * 3600:.0f}/h"
    return f", {shown}" + (f", {duration_text(left / rate)} left" if left > 0 else "")


def duration_text(seconds: float) -> str:
    """A time span in its largest fitting unit: `40 s`, `12 min`, `5.3 h`, `28 days`."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.{1 if unit == 3600 else 0}f} {name}"
    return f"{seconds / 86_400:.0f} days"
