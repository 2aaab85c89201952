"""Where batches are worked on: in this process, or by Ray actors on this machine or a cluster.

Both take the same `Stage` and give the same outcomes. An engine knows nothing of datasets; the runner
(`pipelines/runner.py`) feeds it and commits what comes back.
"""

import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from curation.errors import StoppedError
from curation.stage import Outcome, Stage
from curation.tables import Row
from pipelines.scratch import use_scratch


@dataclass(frozen=True, slots=True)
class Finished:
    """A batch that was worked on: its requests, their outcomes, and the time it took, s."""

    rows: Sequence[Row]
    outcomes: Sequence[Outcome]
    seconds: float


class Engine(Protocol):
    """Takes batches while it has room, and gives back finished ones."""

    def has_room(self) -> bool:
        """Whether `start` takes another batch now."""

    def start(self, rows: Sequence[Row]) -> None:
        """Begin to work on a batch."""

    def finished(self, timeout_s: float) -> list[Finished]:
        """The batches that are finished, waiting at most this long for the first."""

    def is_idle(self) -> bool:
        """Whether nothing is under way."""

    def close(self) -> None:
        """Stop the workers; what is under way is lost."""


class InProcess:
    """Works on each batch at once, in the caller's process and thread.

    Args:
        stage: What to do.
    """

    def __init__(self, stage: Stage) -> None:
        self._work = stage.open()
        self._done: deque[Finished] = deque()

    def has_room(self) -> bool:
        """One batch at a time."""
        return not self._done

    def start(self, rows: Sequence[Row]) -> None:
        """Work on the batch to its end."""
        begun = time.perf_counter()
        outcomes = self._work(rows)
        self._done.append(Finished(rows, outcomes, time.perf_counter() - begun))

    def finished(self, timeout_s: float) -> list[Finished]:
        """The batch that was started, if it was not asked for yet."""
        if not self._done:
            time.sleep(timeout_s)
        done, self._done = list(self._done), deque()
        return done

    def is_idle(self) -> bool:
        """Whether every finished batch was taken."""
        return not self._done

    def close(self) -> None:
        """Nothing runs on."""


class _Worker:
    """The Ray actor: opens the stage once, then works on batch after batch."""

    def __init__(self, stage: Stage, scratch: Path) -> None:
        use_scratch(scratch)
        self._work = stage.open()

    def work(self, rows: Sequence[Row]) -> tuple[list[Outcome], float]:
        begun = time.perf_counter()
        outcomes = self._work(rows)
        return outcomes, time.perf_counter() - begun


_own_session = False
"""Whether `start_ray` has started Ray, and not whoever uses this process."""


def start_ray(address: str | None = None) -> None:
    """Connect to Ray once in this process: to a cluster, or to one of our own on this machine.

    Ray of our own keeps to this machine: it listens on 127.0.0.1 only, reports no usage, and has no dashboard. Worker
    output stays out of the results on standard output.

    Args:
        address: Of a running cluster; None starts Ray here.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # read by `import ray`: one node, on 127.0.0.1
    import ray

    global _own_session
    if ray.is_initialized():
        return
    settings: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address is None:
        _keep_dashboard_from_starting()
        settings |= {"include_dashboard": False, "object_store_memory": 256 * 2**20}
    ray.init(address=address, **settings)
    _own_session = True


def _keep_dashboard_from_starting() -> None:
    """Let Ray start without its dashboard process.

    With `include_dashboard=False` and usage reports off that process is started all the same, serves nothing, and asks
    the addresses of three cloud providers where it runs. Source: ray 2.60, `dashboard/modules/usage_stats`; measured.
    """
    from ray._private.node import Node

    Node.start_api_server = lambda self, **settings: None


class RayActors:
    """A fixed number of Ray actors, each with one batch under way and one waiting.

    A dead worker is restarted by Ray and its batch worked on again; results are keyed, so twice is harmless.

    Args:
        stage: What to do; pickled to every actor.
        scratch: Folder of the run for temporary files.
        workers: Number of actors.
        num_cpus: Share of a CPU that an actor asks Ray for; a fraction leaves room for everything else.
        num_gpus: Share of a GPU that an actor asks for.
        address: Of a running cluster.
    """

    DEPTH = 2
    """Batches in hand of a worker, so that it never waits for the driver. Source: ours."""
    RETRIES = 3
    """How often a batch is worked on again whose worker died, since a batch that kills every worker would go on for
    ever. Source: ours."""

    def __init__(
        self,
        stage: Stage,
        *,
        scratch: Path,
        workers: int,
        num_cpus: float = 0.5,
        num_gpus: float = 0.0,
        address: str | None = None,
    ) -> None:
        start_ray(address)
        import ray

        self._ray = ray
        actor = ray.remote(_Worker).options(
            num_cpus=num_cpus, num_gpus=num_gpus, max_restarts=-1, max_task_retries=self.RETRIES
        )
        self._actors = [actor.remote(stage, scratch) for _ in range(workers)]
        self._load = [0] * workers
        self._under_way: dict[Any, tuple[int, Sequence[Row]]] = {}

    @classmethod
    def for_stage(
        cls, stage: Stage, *, scratch: Path, workers: int, address: str | None = None, gpu: bool = False
    ) -> Self:
        """Actors for one stage; `gpu` gives each a whole GPU where there is one."""
        start_ray(address)
        import ray

        has_gpu = gpu and ray.cluster_resources().get("GPU", 0) >= 1
        return cls(stage, scratch=scratch, workers=workers, num_gpus=1.0 if has_gpu else 0.0, address=address)

    def has_room(self) -> bool:
        """Whether some worker has fewer than `DEPTH` batches."""
        return min(self._load) < self.DEPTH

    def start(self, rows: Sequence[Row]) -> None:
        """Give the batch to the worker with the least to do."""
        worker = self._load.index(min(self._load))
        self._load[worker] += 1
        self._under_way[self._actors[worker].work.remote(list(rows))] = (worker, rows)

    def finished(self, timeout_s: float) -> list[Finished]:
        """Finished batches.

        Raises:
            StoppedError: A worker cannot be kept alive.
            Exception: Whatever the work itself raised, apart from a `ClipError`, which is an outcome.
        """
        if not self._under_way:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(self._under_way), num_returns=1, timeout=timeout_s)
        done = []
        for reference in ready:
            worker, rows = self._under_way.pop(reference)
            self._load[worker] -= 1
            try:
                outcomes, seconds = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except self._ray.exceptions.RayActorError as error:
                keys = ", ".join(str(row["key"]) for row in rows[:4])
                raise StoppedError(
                    f"a worker died again and again at a batch that begins with {keys}: {error}"
                ) from error
            done.append(Finished(rows, outcomes, seconds))
        return done

    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._under_way

    def close(self) -> None:
        """Kill the actors; in the middle of work Ray is left instead, since it would complain of every task."""
        if self._under_way and _own_session:
            self._ray.shutdown()
            return
        for actor in self._actors:
            self._ray.kill(actor)
