"""The one runner: feeds what is pending to workers, counts, retries, shows progress, and commits what comes back.

Only the process that runs this commits, at most every 5 s or 10,000 rows. A kill at any moment loses at most what was
not committed; running the same command again does the rest. Which row is next, and what an answer means for it, is the
feed's to say (`pipelines/feed.py`, `pipelines/routes.py`); where it is worked on is the engine's.
"""

import errno
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from curation.compact import compact_if_many
from curation.dataset import Dataset
from curation.errors import CODES, MAX_ATTEMPTS, ArgumentError, ClipError, LockedError, StoppedError
from curation.facts import fact_row
from curation.lock import writer_lock
from curation.stage import Outcome, Stage
from curation.tables import Row
from pipelines.engine import Engine, Finished, InProcess, RayActors, start_ray
from pipelines.feed import Feed, Queue, Settled
from pipelines.follow import Upstream
from pipelines.nodes import require_shared_roots, roots_of
from pipelines.progress import Progress
from pipelines.routes import Routes, Routing
from pipelines.scratch import scratch_folder

COMMIT_EVERY_S = 5.0
COMMIT_EVERY_ROWS = 10_000
"""Source: ours; 20,000 parts of 32 rows cost 2 to 3 s a query, so parts must be few."""

RETRY_AFTER_S = (1.0, 5.0)
"""Pause before the second and third try of a passing failure. Source: ours; longer pauses belong to the egress."""

TURN_S = 2.0
"""Between two looks at whether another process still writes what is waited for. Source: ours."""

TICK = timedelta(microseconds=1)
"""The least that lies between two rows of a run: what the tables can tell apart."""

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
        workers: Ray actors, of each egress where there are several; 0 works in this process, None decides by the number
            of batches.
        default_workers: How many actors None means.
        gpu: Whether a worker takes a GPU where there is one.
        address: Of a Ray cluster.
        follow: NAMEs of the stages upstream; while they run, the queue is asked again whenever it is empty.
        routing: The egresses through which rows leave this machine, each row in the line that its column `line` names.

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
    follow: tuple[str, ...] = ()
    routing: Routing | None = None

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

    def plus(self, other: "Tally") -> "Tally":
        """Two runs, one after the other, together."""
        return Tally(
            done=self.done + other.done,
            set_aside=self.set_aside + other.set_aside,
            again=self.again + other.again,
            seconds=self.seconds + other.seconds,
        )


class _Ledger:
    """Rows that are finished and not committed yet, and the order in which tables are committed."""

    def __init__(self, dataset: Dataset, job: Job) -> None:
        self._dataset = dataset
        self._stages = {**job.inner, job.stage.NAME: job.stage}
        self._clips: list[Row] = []
        self._facts: dict[str, list[Row]] = defaultdict(list)
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._last = time.monotonic()

    def add(self, name: str, outcome: Outcome, input_hash: str, attempt: int, seconds: float) -> None:
        self._clips.extend(outcome.clips)
        if outcome.recorded:
            took = seconds if outcome.seconds is None else outcome.seconds
            row = fact_row(outcome, input_hash=input_hash, attempt=attempt, seconds=took)
            self._latest = row["finished_at"] = max(row["finished_at"], self._latest + TICK)  # the last row decides
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
        compact_if_many(self._dataset)
        self._last = time.monotonic()


def disk_error(error: OSError, where: str) -> Exception:
    """A full disk as a `StoppedError` that says what to do; any other error as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoppedError(f"the disk of {where} is full; free some space and run the same command again")
    return error


def _is_passing(error: ClipError | None, attempt: int) -> bool:
    return error is not None and not CODES[error.code][0] and attempt < MAX_ATTEMPTS


class _Run:
    """The state of one run, from the first batch to the last commit."""

    def __init__(
        self,
        dataset: Dataset,
        job: Job,
        engine: Engine,
        feed: Feed,
        progress: Progress,
        upstream: Upstream | None,
    ) -> None:
        self._job = job
        self._engine = engine
        self._feed = feed
        self._progress = progress
        self._upstream = upstream
        self._ledger = _Ledger(dataset, job)
        self._in_hand: set[str] = set()
        self.tally = Tally()

    def work(self) -> None:
        """Feed the engine until nothing is left, committing on the way and at the end, whatever happens."""
        is_over = False
        try:
            while not is_over:
                while batch := self._feed.next(self._engine.has_room):
                    self._in_hand.update(row["key"] for row in batch.rows)
                    self._engine.start(batch.rows, batch.egress)
                for finished in self._engine.finished(timeout_s=0.2):
                    self._take(finished)
                for settled in self._feed.review():
                    self._record(settled)
                if self._ledger.is_due():
                    self._ledger.commit()
                self._feed.save(at_end=False)
                self._progress.note(self._feed.note())
                is_over = self._feed.is_empty() and not self._more() and self._engine.is_idle()
        finally:
            self._ledger.commit()
            self._feed.save(at_end=True)

    def _more(self) -> bool:
        """Whether rows may still come; those that have come are added."""
        follows, forgot = self._upstream is not None, self._feed.has_forgotten()
        if not follows and not forgot:
            return False
        if (forgot and not self._engine.is_idle()) or (self._upstream is not None and not self._upstream.is_due()):
            return True
        self._ledger.commit()  # neither what is finished nor what is in hand may be fed again
        rows = self._upstream.more() if self._upstream is not None else self._job.queue()
        if rows is None or (not follows and not rows.num_rows):
            return False
        if self._in_hand:
            rows = rows.filter(pc.invert(pc.is_in(rows["key"], pa.array(sorted(self._in_hand), pa.string()))))
        if rows.num_rows:
            self._progress.expect(rows.num_rows, again=forgot)
            self._feed.add(rows)
        return True

    def _put_back(self, row: Row, attempt: int) -> None:
        self._feed.put_back(row, RETRY_AFTER_S[min(attempt, len(RETRY_AFTER_S)) - 1])
        self.tally.again += 1

    def _take(self, finished: Finished) -> None:
        if len(finished.outcomes) != len(finished.rows):
            raise StoppedError(
                f"stage {self._job.stage.NAME} gave {len(finished.outcomes)} outcomes for {len(finished.rows)} requests"
            )
        seconds = finished.seconds / max(len(finished.rows), 1)
        for row, outcome in zip(finished.rows, finished.outcomes, strict=True):
            self._in_hand.discard(row["key"])
            for settled in self._feed.settle(row, outcome, seconds):
                self._record(settled)

    def _record(self, settled: Settled) -> None:
        """Write an answer down, and put back or count its row."""
        row, outcome, seconds = settled.row, settled.outcome, settled.seconds
        attempt = int(row.get("attempts", 0)) + settled.is_attempt
        self._ledger.add(self._job.stage.NAME, outcome, row["input"], attempt, seconds)
        if not settled.is_attempt:  # the feed has put it back
            self.tally.again += 1
            return
        for inner in outcome.also:
            self._ledger.add(str(inner.stage), inner, str(inner.input), int(inner.attempt or 0), seconds)
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


def _routes(dataset: Dataset, routing: Routing, engine: Engine) -> Routes:
    return Routes(dataset, routing, engine.egresses, is_there=lambda egress: egress in engine.egresses)


def _engine(job: Job, batches: int, scratch: Path) -> Engine:
    names = job.routing.names if job.routing is not None else ()
    is_handful = batches <= HANDFUL_BATCHES and not job.follow
    if job.workers == 0 or (job.workers is None and job.address is None and is_handful):
        return InProcess(job.stage, egresses=names)
    workers = job.workers or job.default_workers
    return RayActors.for_stage(
        job.stage,
        scratch=scratch,
        workers=workers if job.follow else max(1, min(workers, batches)),
        address=job.address,
        gpu=job.gpu,
        egresses=names,
        by_node=job.routing is not None and not job.routing.is_placed,
    )


def run(dataset: Dataset, job: Job) -> Tally:
    """Do all that is pending for a job; run again, it finds nothing to do.

    Args:
        dataset: Where rows come from and go to.
        job: What to run.

    Returns:
        What was done in this run.

    Raises:
        LockedError: Another process runs the same stage on this dataset.
        StoppedError: The disk is full, workers cannot be kept alive, or no source can be asked any more; what was
            finished is committed.
        KeyboardInterrupt: Ctrl-C; what was finished is committed.
    """
    begun = time.perf_counter()
    with ExitStack() as stack:
        for name, stage in sorted({**job.inner, job.stage.NAME: job.stage}.items()):
            lock = dataset.folder("locks") / f"{name}-{stage.folder_name}.lock"
            stack.enter_context(writer_lock(lock, f"stage {name} of {dataset.path}"))
        for stage in (job.stage, *job.inner.values()):  # its own first: the requests of the others read its facts
            dataset.facts(stage).make_current(stage)
        compact_if_many(dataset)
        upstream = Upstream(dataset, job.follow, job.queue) if job.follow else None
        rows = job.queue() if upstream is None else upstream.first()
        tally = Tally()
        if rows is not None and rows.num_rows:
            if job.address is not None:
                start_ray(job.address)
                require_shared_roots(roots_of(dataset))
            scratch = stack.enter_context(scratch_folder())
            progress = stack.enter_context(Progress(job.stage.NAME, total=rows.num_rows))
            engine = _engine(job, -(-rows.num_rows // job.batch_rows), scratch)
            stack.callback(engine.close)
            feed = Queue(job.batch_rows) if job.routing is None else _routes(dataset, job.routing, engine)
            feed.add(rows)
            state = _Run(dataset, job, engine, feed, progress, upstream)
            tally = state.tally
            try:
                state.work()
            except OSError as error:
                raise disk_error(error, str(dataset.path)) from error
    tally.seconds = time.perf_counter() - begun
    return tally


def run_in_turn(dataset: Dataset, job: Job) -> Tally:
    """As `run`, for a verb that needs what a stage leaves: while another process writes it, it waits and says so.

    What the other leaves pending is done then. Two trainings that begin together on one dataset so encode once.

    Raises:
        StoppedError: As `run` does.
        KeyboardInterrupt: Ctrl-C, also while it waits.
    """
    is_told = False
    while True:
        try:
            return run(dataset, job)
        except LockedError as error:
            if not is_told:
                print(f"{job.stage.NAME}: {error}; this one waits", file=sys.stderr, flush=True)
            is_told = True
            time.sleep(TURN_S)
