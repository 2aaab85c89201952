"""Work of many threads done together: what they ask within a few milliseconds becomes one call."""

import queue
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from curation.errors import StoppedError

Item = TypeVar("Item")
Result = TypeVar("Result")

WAIT_S = 0.002
"""How long the first item waits for others, s. Source: ours; a tenth of what CLAP takes for one text on a CPU. While a
batch is worked on the next one gathers without any waiting."""

WAIT_SHARE, MOST_WAIT_S = 0.1, 0.01
"""Where batches take long it waits for so much of the time of the last one, but no longer than this, s: those who were
answered by it ask again in a moment. Source: ours; without it 32 clients fall into two halves that take turns."""

MOST = 64
"""Items of one batch at most. Source: ours; above it a batch takes no less time an item."""


class Batcher(Generic[Item, Result]):
    """Gathers items of many threads into batches, and hands each its result.

    Args:
        work: Maps a batch to as many results, each as if its item had come alone. Never called twice at once.
        kind: Items of one batch are of one kind, as sounds of one length; None: all are.
        wait_s: How long the first item waits for others at least, s, 0 or more.
        most: Items of one batch at most, at least 1.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Sequence[Result]],
        *,
        kind: Callable[[Item], Hashable] | None = None,
        wait_s: float = WAIT_S,
        most: int = MOST,
    ) -> None:
        if wait_s < 0 or most < 1:
            raise ValueError(f"wait_s must be at least 0 and most at least 1, not {wait_s} and {most}")
        self._work, self._kind, self._wait_s, self._most = work, kind or (lambda item: None), wait_s, most
        self._asked: queue.SimpleQueue[tuple[Item, Future[Result]] | None] = queue.SimpleQueue()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._gatherer = threading.Thread(target=self._gather, daemon=True, name="batcher")
        self.batches = self.items = 0
        self._worked_s = 0.0
        self._gatherer.start()

    def __call__(self, items: Sequence[Item]) -> list[Result]:
        """The results of some items, in their order.

        Raises:
            BaseException: What `work` raises for one of them alone.
        """
        futures = [self.ask(item) for item in items]
        return [future.result() for future in futures]

    def ask(self, item: Item) -> "Future[Result]":
        """The result of an item, when it has come.

        Raises:
            StoppedError: It was closed.
        """
        if not self._gatherer.is_alive():
            raise StoppedError("the service is ending and takes nothing more")
        future: Future[Result] = Future()
        self._asked.put((item, future))
        return future

    def close(self) -> None:
        """End what was asked and take nothing more."""
        self._asked.put(None)
        self._gatherer.join()
        self._worker.shutdown()

    def _gather(self) -> None:
        is_open = True
        while is_open:
            first = self._asked.get()
            if first is None:
                return
            wait_s = max(self._wait_s, min(WAIT_SHARE * self._worked_s, MOST_WAIT_S))
            batch, until = [first], time.monotonic() + wait_s
            while len(batch) < self._most:
                try:
                    entry = self._asked.get(timeout=max(until - time.monotonic(), 0))
                except queue.Empty:
                    break
                if entry is None:
                    is_open = False
                    break
                batch.append(entry)
            kinds: dict[Hashable, list[tuple[Item, Future[Result]]]] = {}
            for item, future in batch:
                kinds.setdefault(self._kind(item), []).append((item, future))
            for alike in kinds.values():
                self._answer(alike)

    def _answer(self, batch: list[tuple[Item, "Future[Result]"]]) -> None:
        """Work on a batch; where it fails each item alone, so that a bad one fails no other."""
        self.batches += 1
        self.items += len(batch)
        begun = time.monotonic()
        done = self._worker.submit(self._work, [item for item, _ in batch])
        error = done.exception()
        self._worked_s = time.monotonic() - begun
        if error is None:
            for (_, future), result in zip(batch, done.result(), strict=True):
                future.set_result(result)
        elif len(batch) == 1:
            batch[0][1].set_exception(error)
        else:
            for one in batch:
                self._answer([one])
