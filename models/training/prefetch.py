"""Batches made ahead of the step, by threads. It reads nothing itself and holds no position: b is the position."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from models.training.step import Batch

BatchAt = Callable[[int], Batch]
"""Batch b of a run, or a process's rows of it: a function of b (and of the run's seed), so that a run resumes at any
b. It is called in several threads at once where a run has several."""


class Prefetch:
    """Calls `batch_at(first)`, `batch_at(first + 1)`, ... in threads, and gives the results in order.

    What goes wrong in a thread is raised by `next`. Use it as a context: leaving it ends the threads.
    """

    def __init__(self, batch_at: BatchAt, first: int, *, threads: int = 1) -> None:
        self._batch_at = batch_at
        self._asked = first
        self._depth = threads + 1
        self._coming: deque[Future[Batch]] = deque()
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="batches")

    def __enter__(self) -> Self:
        self._ask()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)

    def next(self) -> Batch:
        """The next batch, in order."""
        batch = self._coming.popleft().result()
        self._ask()
        return batch

    def _ask(self) -> None:
        while len(self._coming) < self._depth:
            self._coming.append(self._threads.submit(self._batch_at, self._asked))
            self._asked += 1
