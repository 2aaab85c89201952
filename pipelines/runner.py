"""The one runner: feeds what is pending to workers, counts, retries, shows progress, and commits what comes back.

Only the process that runs this commits, at most every 5 s or 10,000 rows. A kill at any moment loses at most what was
not committed; running the same command again does the rest.
"""

import errno
import heapq
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from curation.dataset import Dataset
from curation.errors import CODES, MAX_ATTEMPTS, ArgumentError, ClipError, StoppedError
from curation.facts import fact_row
from curation.lock import writer_lock
from curation.stage import Outcome, Stage
from curation.tables import Row
from pipelines.engine import Engine, Finished, InProcess, RayActors
from pipelines.progress import Progress
from pipelines.scratch import scratch_folder

COMMIT_EVERY_S = 5.0
COMMIT_EVERY_ROWS = 10_000
"""Source: ours; 20,000 parts of 32 rows cost 2 to 3 s a query, so parts must be few."""

RETRY_AFTER_S = (1.0, 5.0)
"""Pause before the second and third try of a passing failure. Source: ours; longer pauses belong to the egress."""

HANDFUL_BATCHES = 4
"""Up to this many batches are worked on in the driver's own process: Ray takes about 4 s to start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One run of a stage.

    Args:
        stage: The stage whose requests are counted.
        queue: Gives the pending requests: the stage's columns and `attempts`.
        inner: Other stages whose facts the work brings along (`fetch` brings `segment` and `cut`), by NAME.
        batch_rows: Requests a worker gets at a time.
        workers: Ray actors; 0 works in this process, None decides by the number of batches.
        default_workers: How many actors None means.
        gpu: Whether a worker takes a GPU where there is one.
        address: Of a Ray cluster.

    Raises:
        ArgumentError: `workers` is negative or `batch_rows` below 1.
    """

    stage: Stage
    queue: Callable[[], pa.Table]
    inner: dict[str, Stage] = field(default_factory=dict)
    batch_rows: int = 1
    workers: int | None = None
    default_workers: int = 2
    gpu: bool = False
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise ArgumentError(f"--workers must be 0 (this process) or more, not {self.workers}")
        if self.batch_rows < 1:
            raise ArgumentError(f"--batch must be at least 1, not {self.batch_rows}")


@dataclass(slots=True)
class Tally:
    """What a run did: rows done, rows set aside by code, and how long it took, s."""

    done: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    again: int = 0
    seconds: float = 0.0


class _Ledger:
    """Rows that are finished and not committed yet, and the order in which tables are committed."""

    def __init__(self, dataset: Dataset, job: Job) -> None:
        self._dataset = dataset
        self._stages = {**job.inner, job.stage.NAME: job.stage}
        self._clips: list[Row] = []
        self._facts: dict[str, list[Row]] = defaultdict(list)
        self._last = time.monotonic()

    def add(self, name: str, outcome: Outcome, input_hash: str, attempt: int, seconds: float) -> None:
        self._clips.extend(outcome.clips)
        if outcome.recorded:
            took = seconds if outcome.seconds is None else outcome.seconds
            row = fact_row(outcome, input_hash=input_hash, attempt=attempt, seconds=took)
            self._facts[name].append(row)

    def is_due(self) -> bool:
        rows = len(self._clips) + sum(map(len, self._facts.values()))
        return rows >= COMMIT_EVERY_ROWS or (rows > 0 and time.monotonic() - self._last >= COMMIT_EVERY_S)

    def commit(self) -> None:
        """Clips first, then inner stages, the counted stage last: its row says that all the others are there."""
        try:
            self._dataset.append("clips", self._clips)
            for name, stage in self._stages.items():
                self._dataset.facts(stage).append(self._facts.pop(name, []))
        except OSError as error:
            raise disk_error(error, str(self._dataset.path)) from error
        self._clips = []
        self._last = time.monotonic()


def disk_error(error: OSError, where: str) -> Exception:
    """A full disk as a `StoppedError` that says what to do; any other error as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoppedError(f"the disk of {where} is full; free some space and run the same command again")
    return error


def _batches(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])


def _is_passing(error: ClipError | None, attempt: int) -> bool:
    return error is not None and not CODES[error.code][0] and attempt < MAX_ATTEMPTS


class _Run:
    """The state of one run, from the first batch to the last commit."""

    def __init__(self, dataset: Dataset, job: Job, engine: Engine, progress: Progress) -> None:
        self._job = job
        self._engine = engine
        self._progress = progress
        self._ledger = _Ledger(dataset, job)
        self._later: list[tuple[float, int, Row]] = []
        self._order = itertools.count()
        self.tally = Tally()

    def work(self, rows: Sequence[Row]) -> None:
        """Feed the engine until nothing is left, committing on the way and at the end, whatever happens."""
        waiting = _batches(rows, self._job.batch_rows)
        upcoming = next(waiting, None)
        try:
            while upcoming or self._later or not self._engine.is_idle():
                while self._engine.has_room() and (batch := upcoming or self._due()):
                    self._engine.start(batch)
                    upcoming = next(waiting, None) if batch is upcoming else upcoming
                for finished in self._engine.finished(timeout_s=0.2):
                    self._take(finished)
                if self._ledger.is_due():
                    self._ledger.commit()
        finally:
            self._ledger.commit()

    def _due(self) -> list[Row]:
        """The next request whose pause is over, as a batch of its own."""
        if self._later and self._later[0][0] <= time.monotonic():
            return [heapq.heappop(self._later)[2]]
        return []

    def _put_back(self, row: Row, attempt: int) -> None:
        pause_s = RETRY_AFTER_S[min(attempt, len(RETRY_AFTER_S)) - 1]
        heapq.heappush(self._later, (time.monotonic() + pause_s, next(self._order), row))
        self.tally.again += 1

    def _take(self, finished: Finished) -> None:
        if len(finished.outcomes) != len(finished.rows):
            raise StoppedError(
                f"stage {self._job.stage.NAME} gave {len(finished.outcomes)} outcomes for {len(finished.rows)} requests"
            )
        seconds = finished.seconds / max(len(finished.rows), 1)
        for row, outcome in zip(finished.rows, finished.outcomes, strict=True):
            attempt = int(row.get("attempts", 0)) + 1
            for inner in outcome.also:
                self._ledger.add(str(inner.stage), inner, str(inner.input), int(inner.attempt or 1), seconds)
            self._ledger.add(self._job.stage.NAME, outcome, row["input"], attempt, seconds)
            if outcome.again is not None:
                self._put_back(outcome.again, attempt)
            elif _is_passing(outcome.error, attempt):
                self._put_back({**row, "attempts": attempt}, attempt)
            else:
                self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        if outcome.error is None:
            self.tally.done += 1
        else:
            self.tally.set_aside[outcome.error.code.value] += 1
        self._progress.advance(set_aside=outcome.error is not None)


def _engine(job: Job, batches: int, scratch: Path) -> Engine:
    if job.workers == 0 or (job.workers is None and job.address is None and batches <= HANDFUL_BATCHES):
        return InProcess(job.stage)
    workers = max(1, min(job.workers or job.default_workers, batches))
    return RayActors.for_stage(job.stage, scratch=scratch, workers=workers, address=job.address, gpu=job.gpu)


def run(dataset: Dataset, job: Job) -> Tally:
    """Do all that is pending for a job; run again, it finds nothing to do.

    Args:
        dataset: Where rows come from and go to.
        job: What to run.

    Returns:
        What was done in this run.

    Raises:
        LockedError: Another process runs the same stage on this dataset.
        StoppedError: The disk is full or workers cannot be kept alive; what was finished is committed.
        KeyboardInterrupt: Ctrl-C; what was finished is committed.
    """
    begun = time.perf_counter()
    with ExitStack() as stack:
        for name, stage in sorted({**job.inner, job.stage.NAME: job.stage}.items()):
            lock = dataset.folder("locks") / f"{name}-{stage.folder_name}.lock"
            stack.enter_context(writer_lock(lock, f"stage {name} of {dataset.path}"))
            dataset.facts(stage).make_current(stage)
        rows = job.queue().to_pylist()
        tally = Tally()
        if rows:
            scratch = stack.enter_context(scratch_folder())
            progress = stack.enter_context(Progress(job.stage.NAME, total=len(rows)))
            engine = _engine(job, -(-len(rows) // job.batch_rows), scratch)
            stack.callback(engine.close)
            state = _Run(dataset, job, engine, progress)
            tally = state.tally
            try:
                state.work(rows)
            except OSError as error:
                raise disk_error(error, str(dataset.path)) from error
    tally.seconds = time.perf_counter() - begun
    return tally
