"""Where batches are worked on: in this process, or by Ray actors on this machine or a cluster.

Both take the same `Stage` and give the same outcomes. An engine knows nothing of datasets; the runner
(`pipelines/runner.py`) feeds it and commits what comes back.
"""

import math
import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from curation.errors import ArgumentError, StoppedError
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

    @property
    def egresses(self) -> tuple[str, ...]:
        """Names of the egresses that have workers; empty where nobody asked for any."""

    def has_room(self, egress: str | None = None) -> bool:
        """Whether `start` takes another batch now, for a worker of this egress where one is named."""

    def start(self, rows: Sequence[Row], egress: str | None = None) -> None:
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
        egresses: Names of the egresses; this process goes out through all of them.
    """

    def __init__(self, stage: Stage, egresses: Sequence[str] = ()) -> None:
        self.egresses = tuple(egresses)
        self._work = stage.open()
        self._done: deque[Finished] = deque()

    def has_room(self, egress: str | None = None) -> bool:
        """One batch at a time."""
        return not self._done

    def start(self, rows: Sequence[Row], egress: str | None = None) -> None:
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


_own_session: str | None = None
"""Address of the Ray that `start_ray` has connected to, `local` for one it started; None where another has, or none."""


def start_ray(address: str | None = None) -> None:
    """Connect to Ray once in this process: to a cluster, or to one of our own on this machine.

    Ray of our own keeps to this machine: it listens on 127.0.0.1 only, reports no usage, and has no dashboard. Worker
    output stays out of the results on standard output.

    Args:
        address: Of a running cluster, for which one of our own is left; None takes what this process is connected to,
            or starts Ray here.

    Raises:
        ArgumentError: The caller has connected this process to another cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # read by `import ray`: one node, on 127.0.0.1
    import ray

    global _own_session
    if ray.is_initialized():
        if address in (None, "auto", _own_session, ray.get_runtime_context().gcs_address):
            return
        if _own_session is None:
            raise ArgumentError(
                f"this process uses Ray at {ray.get_runtime_context().gcs_address}, and --address is {address}: "
                "call ray.shutdown() first, or leave --address out"
            )
        ray.shutdown()
    settings: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address is None:
        settings |= {"include_dashboard": False, "object_store_memory": 256 * 2**20}
    with nullcontext() if address is not None else _without_dashboard():
        ray.init(address=address or "local", **settings)  # never a cluster that happens to run here
    _own_session = address or "local"


@contextmanager
def _without_dashboard() -> Iterator[None]:
    """Let Ray start without its dashboard process.

    With `include_dashboard=False` and usage reports off that process is started all the same, serves nothing, and asks
    the addresses of three cloud providers where it runs. Source: ray 2.60, `dashboard/modules/usage_stats`; measured.
    """
    from ray._private.node import Node

    usual = Node.start_api_server
    Node.start_api_server = lambda self, **settings: None
    try:
        yield
    finally:
        Node.start_api_server = usual


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a worker is to be.

    Args:
        egress: The egress that it serves; None where there are none.
        node: Id of the node that it must run on; None leaves it to Ray.
        resources: Shares of Ray's resources that it takes.
    """

    egress: str | None = None
    node: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)


CPU_SHARES = (0.5, 0.25, 0.1, 0.01)
"""Shares of a CPU that a worker may ask Ray for: the first with which all fit, since one that does not fit would wait
for ever and its batch with it. Source: ours; fractions leave room for everything else."""


def places_for(
    nodes: Sequence[Mapping[str, Any]],
    workers: int,
    *,
    gpu: bool = False,
    egresses: Sequence[str] = (),
    by_node: bool = False,
) -> list[Place]:
    """Where the workers of a stage are to be.

    Args:
        nodes: As `ray.nodes()` gives them.
        workers: How many, of each egress where there are any; of those that take a GPU no more than there are GPUs.
        gpu: Each takes a whole GPU where there is one.
        egresses: Names of the egresses; empty for a stage that asks nobody outside.
        by_node: Let every node that has the resource `egress` be an egress instead, where there is such a node.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    able = egress_nodes(nodes) if by_node else {}
    if able:
        shares = {"CPU": CPU_SHARES[-1], "egress": math.floor(1e4 / workers) / 1e4}
        return [Place(egress=name, node=node, resources=shares) for name, node in able.items() for _ in range(workers)]
    gpus = sum(int(resources.get("GPU", 0)) for resources in alive) if gpu else 0
    count = min(workers, gpus) if gpus else workers * max(len(egresses), 1)
    cpus = [resources.get("CPU", 0) for resources in alive]
    fitting = (share for share in CPU_SHARES if sum(math.floor(cpu / share + 1e-9) for cpu in cpus) >= count)
    resources = {"CPU": next(fitting, 0.0), **({"GPU": 1.0} if gpus else {})}
    names = egresses or (None,)
    return [Place(egress=name, resources=resources) for name in names for _ in range(count // len(names))]


class RayActors:
    """A fixed number of Ray actors, each with one batch under way and, unless it serves an egress, one waiting.

    A dead worker is restarted by Ray and its batch worked on again; results are keyed, so twice is harmless. A worker
    that is bound to a node goes with it, and its batch to another.

    Args:
        stage: What to do; pickled to every actor.
        scratch: Folder of the run for temporary files.
        places: Where the actors are to be, one each.
        address: Of a running cluster.
    """

    DEPTH = 2
    """Batches in hand of a worker, so that it never waits for the driver. Source: ours. One that serves an egress has
    one, since what waits in a worker would still be asked after a refusal."""
    RETRIES = 3
    """How often a batch is worked on again whose worker died, since a batch that kills every worker would go on for
    ever. Source: ours."""

    def __init__(self, stage: Stage, *, scratch: Path, places: Sequence[Place], address: str | None = None) -> None:
        start_ray(address)
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray = ray
        self._places = list(places)
        self._actors = []
        for place in places:
            shares = {name: share for name, share in place.resources.items() if name not in ("CPU", "GPU")}
            where = NodeAffinitySchedulingStrategy(place.node, soft=False) if place.node else "DEFAULT"
            actor = ray.remote(_Worker).options(
                num_cpus=place.resources.get("CPU", 0.0),
                num_gpus=place.resources.get("GPU", 0.0),
                resources=shares,
                max_restarts=-1,
                max_task_retries=self.RETRIES,
                scheduling_strategy=where,
            )
            self._actors.append(actor.remote(stage, scratch))
        self._load = [0] * len(places)
        self._gone: set[int] = set()
        self._under_way: dict[Any, tuple[int, Sequence[Row]]] = {}

    @classmethod
    def for_stage(
        cls,
        stage: Stage,
        *,
        scratch: Path,
        workers: int,
        address: str | None = None,
        gpu: bool = False,
        egresses: Sequence[str] = (),
        by_node: bool = False,
    ) -> Self:
        """Actors for one stage; `places_for` says what the arguments mean."""
        start_ray(address)
        import ray

        is_placed = by_node and address is not None
        places = places_for(ray.nodes(), workers, gpu=gpu, egresses=egresses, by_node=is_placed)
        return cls(stage, scratch=scratch, places=places, address=address)

    @property
    def egresses(self) -> tuple[str, ...]:
        """Names of the egresses that have workers, in their order."""
        named = (place.egress for number, place in enumerate(self._places) if number not in self._gone)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def _free(self, egress: str | None) -> int | None:
        """The worker with the least to do, of an egress where one is named; None where all have enough."""
        ours = [
            number
            for number, place in enumerate(self._places)
            if number not in self._gone and egress in (None, place.egress)
        ]
        number = min(ours, key=self._load.__getitem__, default=None)
        depth = self.DEPTH if egress is None else 1
        return number if number is not None and self._load[number] < depth else None

    def has_room(self, egress: str | None = None) -> bool:
        """Whether some worker, of the egress where one is named, takes another batch."""
        return self._free(egress) is not None

    def start(self, rows: Sequence[Row], egress: str | None = None) -> None:
        """Give the batch to the worker with the least to do."""
        worker = self._free(egress)
        if worker is None:
            raise ValueError(f"no worker {f'of {egress} ' if egress else ''}has room; ask has_room first")
        self._give(rows, worker)

    def _give(self, rows: Sequence[Row], worker: int) -> None:
        self._load[worker] += 1
        self._under_way[self._actors[worker].work.remote(list(rows))] = (worker, rows)

    def finished(self, timeout_s: float) -> list[Finished]:
        """Finished batches.

        Raises:
            StoppedError: A worker cannot be kept alive, or the last node that workers were bound to is gone.
            Exception: Whatever the work itself raised, apart from a `ClipError`, which is an outcome.
        """
        if not self._under_way:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(self._under_way), num_returns=1, timeout=timeout_s)
        errors = self._ray.exceptions
        done = []
        for reference in ready:
            worker, rows = self._under_way.pop(reference)
            self._load[worker] -= 1
            try:
                outcomes, seconds = self._ray.get(reference)
            except errors.RayTaskError as error:
                raise error.cause from error
            except (errors.RayActorError, errors.ActorUnschedulableError) as error:
                self._move(rows, worker, error)
                continue
            done.append(Finished(rows, outcomes, seconds))
        return done

    def _move(self, rows: Sequence[Row], worker: int, error: Exception) -> None:
        """Give the batch of a worker whose node is gone to another."""
        node = self._places[worker].node
        is_there = any(found["NodeID"] == node and found["Alive"] for found in self._ray.nodes())
        if node is None or is_there:
            keys = ", ".join(str(row["key"]) for row in rows[:4])
            raise StoppedError(f"a worker died again and again at a batch that begins with {keys}: {error}") from error
        self._gone.update(number for number, place in enumerate(self._places) if place.node == node)
        left = [number for number in range(len(self._places)) if number not in self._gone]
        if not left:
            raise StoppedError("no node with the resource `egress` is left; start one and run the same command again")
        self._give(rows, min(left, key=self._load.__getitem__))

    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._under_way

    def close(self) -> None:
        """Kill the actors; in the middle of work Ray is left instead, since it would complain of every task."""
        if self._under_way and _own_session is not None:
            self._ray.shutdown()
            return
        for actor in self._actors:
            self._ray.kill(actor)


def egress_nodes(nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The nodes of a cluster that may download: name -> id.

    Args:
        nodes: As `ray.nodes()` gives them.

    Returns:
        Every living node that has the resource `egress`, by the name of its host; nodes that share one get their id
        behind it.
    """
    able = [node for node in nodes if node["Alive"] and node["Resources"].get("egress", 0) >= 1]
    hosts = Counter(node["NodeManagerHostname"] for node in able)
    named = {
        node["NodeManagerHostname"]
        if hosts[node["NodeManagerHostname"]] == 1
        else f"{node['NodeManagerHostname']}/{node['NodeID'][:8]}": node["NodeID"]
        for node in able
    }
    return dict(sorted(named.items()))
