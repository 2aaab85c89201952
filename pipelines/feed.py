"""What a run has still to do, and in which order: the queue of the runner.

The queue is an Arrow table; rows become dictionaries a batch at a time, so that millions of them fit. A feed also says
what the answer to a row means for the row, since where an egress is between (`pipelines/routes.py`) a refusal is no
attempt of the video.
"""

import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from curation.stage import Outcome
from curation.tables import Row

HasRoom = Callable[[str | None], bool]
"""Whether a worker is free; of an egress where one is named."""

AT_ONCE = 256
"""Rows that become dictionaries at a time. Source: ours; about 1 MB."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that a worker gets together, and the egress whose worker it must be."""

    rows: Sequence[Row]
    egress: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """An answer that is to be written down.

    Args:
        row: The request.
        outcome: What became of it.
        seconds: Time it took, s.
        is_attempt: False for an answer to the egress and not to the row: it is recorded and not counted.
    """

    row: Row
    outcome: Outcome
    seconds: float
    is_attempt: bool = True


class Feed(Protocol):
    """Gives batches while a worker is free, and takes answers."""

    def add(self, rows: pa.Table) -> None:
        """More requests."""

    def put_back(self, row: Row, pause_s: float) -> None:
        """A request that is tried again after a pause, s."""

    def next(self, has_room: HasRoom) -> Batch | None:
        """The next batch, if there is one now and a worker for it."""

    def settle(self, row: Row, outcome: Outcome, seconds: float) -> list[Settled]:
        """What is to be written down after an answer: it, others that waited for it, or nothing yet."""

    def review(self) -> list[Settled]:
        """What is to be written down because of time that has passed.

        Raises:
            StoppedError: Nothing that is left can be done now.
        """

    def is_empty(self) -> bool:
        """Whether no request is left but those under way."""

    def has_forgotten(self) -> bool:
        """Whether it left out requests for want of room, so that the dataset has to be asked for them again."""

    def save(self, *, at_end: bool) -> None:
        """Keep on the disk what must survive this run; called all the time, it does so now and then."""

    def note(self) -> str:
        """What a person who waits should know; empty when all is well."""


def batches(rows: pa.Table, size: int) -> Iterator[list[Row]]:
    """A table as batches of dictionaries, made from slices as they are asked for."""
    step = max(AT_ONCE // size, 1) * size
    for start in range(0, rows.num_rows, step):
        part = rows.slice(start, step).to_pylist()
        for first in range(0, len(part), size):
            yield part[first : first + size]


class Later:
    """Requests whose pause is not over yet."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, int, Row]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Row, pause_s: float) -> None:
        """Wait for this long, s."""
        heapq.heappush(self._rows, (time.monotonic() + pause_s, next(self._order), row))

    def due(self) -> Row | None:
        """One whose pause is over."""
        return heapq.heappop(self._rows)[2] if self._rows and self._rows[0][0] <= time.monotonic() else None


class Queue:
    """The feed of a stage that asks nobody outside: rows in order, what failed in passing at the end.

    Args:
        batch_rows: Requests of a batch.
    """

    def __init__(self, batch_rows: int) -> None:
        self._batch_rows = batch_rows
        self._waiting: Iterator[list[Row]] = iter(())
        self._upcoming: list[Row] | None = None
        self._later = Later()

    def add(self, rows: pa.Table) -> None:
        """Append a table; the rows that wait are read from it as they are needed."""
        self._waiting = itertools.chain(self._waiting, batches(rows, self._batch_rows))
        self._upcoming = self._upcoming or next(self._waiting, None)

    def put_back(self, row: Row, pause_s: float) -> None:
        """Behind all others, after its pause, as a batch of its own."""
        self._later.add(row, pause_s)

    def next(self, has_room: HasRoom) -> Batch | None:
        """The next rows of the table, then what was put back."""
        if not has_room(None):
            return None
        if self._upcoming:
            batch, self._upcoming = self._upcoming, next(self._waiting, None)
            return Batch(batch)
        row = self._later.due()
        return Batch([row]) if row else None

    def settle(self, row: Row, outcome: Outcome, seconds: float) -> list[Settled]:
        """Every answer is an attempt."""
        return [Settled(row, outcome, seconds)]

    def review(self) -> list[Settled]:
        """Nothing waits for a verdict."""
        return []

    def is_empty(self) -> bool:
        """Whether all batches were given out."""
        return not self._upcoming and not self._later

    def has_forgotten(self) -> bool:
        """Nothing is left out."""
        return False

    def save(self, *, at_end: bool) -> None:
        """Nothing to keep."""

    def note(self) -> str:
        """Nothing to say."""
        return ""
