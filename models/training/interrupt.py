"""A wish to stop, asked for by Ctrl-C or by a scheduler's SIGTERM, that waits for the end of a step."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class StopWish:
    """While it is entered, the first SIGINT or SIGTERM only sets `asked`; a second one acts as it did before.

    In a thread other than the main one, where signals cannot be caught, it is never asked.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
