"""Batches made ahead of the step, by one thread. It reads nothing itself and holds no position: b is the position."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from models.training.step import Batch

BatchAt = Callable[[int], Batch]
"""Batch b of a run: a function of b (and of the run's seed), so that a run resumes at any b."""


class Prefetch:
    """Calls `batch_at(first)`, `batch_at(first + 1)`, ... in a thread, `depth` ahead.

    What goes wrong in the thread is raised by `next`. Use it as a context: leaving it ends the thread.
    """

    def __init__(self, batch_at: BatchAt, first: int, depth: int = 2) -> None:
        self._batch_at = batch_at
        self._asked = first
        self._depth = depth
        self._coming: deque[Future[Batch]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")

    def __enter__(self) -> Self:
        self._ask()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def next(self) -> Batch:
        """The next batch, in order."""
        batch = self._coming.popleft().result()
        self._ask()
        return batch

    def _ask(self) -> None:
        while len(self._coming) < self._depth:
            self._coming.append(self._thread.submit(self._batch_at, self._asked))
            self._asked += 1
