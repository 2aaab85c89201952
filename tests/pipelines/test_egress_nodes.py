"""On a cluster every node with the resource `egress` is a way out of its own, and one that goes away stops nothing."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from curation.dataset import Dataset
from curation.download.egress import MIRROR
from curation.schema import column, table
from curation.stage import Stage, Work, each, how
from curation.status import status
from pipelines.engine import egress_nodes, places_for
from pipelines.routes import Routing
from pipelines.runner import Job, run

ROWS = 40


def node(name: str, number: str, egress: float = 1.0, alive: bool = True) -> dict[str, Any]:
    return {"NodeManagerHostname": name, "NodeID": number, "Alive": alive, "Resources": {"egress": egress}}


def test_nodes_are_named_by_their_hosts() -> None:
    nodes = [
        node("b", "2" * 16),
        node("a", "1" * 16),
        node("c", "3" * 16, egress=0.0),
        node("d", "4" * 16, alive=False),
        {"NodeManagerHostname": "e", "NodeID": "5", "Alive": True, "Resources": {}},
    ]
    assert egress_nodes(nodes) == {"a": "1" * 16, "b": "2" * 16}
    assert egress_nodes([node("a", "1" * 16), node("a", "2" * 16)]) == {"a/11111111": "1" * 16, "a/22222222": "2" * 16}


def machine(cpus: float, gpus: float = 0.0) -> dict[str, Any]:
    return {"NodeManagerHostname": "a", "NodeID": "1", "Alive": True, "Resources": {"CPU": cpus, "GPU": gpus}}


@pytest.mark.parametrize(
    ("cpus", "workers", "share"),
    [((2,), 4, 0.5), ((2,), 5, 0.25), ((1, 1), 5, 0.25), ((1.4, 1.4), 5, 0.25), ((0,), 1, 0.0)],
)
def test_workers_ask_for_no_more_of_a_processor_than_there_is(
    cpus: tuple[float, ...], workers: int, share: float
) -> None:
    places = places_for([machine(cpu) for cpu in cpus], workers)
    assert [place.resources["CPU"] for place in places] == [share] * workers


def test_no_more_workers_ask_for_a_gpu_than_there_are() -> None:
    assert [place.resources["GPU"] for place in places_for([machine(4, 1)], 2, gpu=True)] == [1.0]
    assert len(places_for([machine(4, 1), machine(4, 2)], 2, gpu=True)) == 2
    assert [place.resources.get("GPU") for place in places_for([machine(4)], 2, gpu=True)] == [None, None]


def test_every_egress_has_its_workers() -> None:
    places = places_for([machine(2)], 4, egresses=["one", "two"])
    assert [place.egress for place in places] == ["one"] * 4 + ["two"] * 4
    by_node = places_for([node("a", "1" * 16), node("b", "2" * 16)], 3, egresses=["here"], by_node=True)
    assert [(place.egress, place.node) for place in by_node] == [("a", "1" * 16)] * 3 + [("b", "2" * 16)] * 3
    assert sum(place.resources["egress"] for place in by_node[:3]) <= 1
    assert [place.egress for place in places_for([machine(2)], 2, egresses=["here"], by_node=True)] == ["here"] * 2


@dataclass(frozen=True, kw_only=True)
class Visit(Stage):
    """Says through which egress and on which node a row was worked on."""

    NAME: ClassVar[str] = "visit"
    VERSION: ClassVar[int] = 1
    RESULTS: ClassVar[pa.Schema] = table(
        "Visits.", column("egress", pa.string(), "as told"), column("node", pa.string(), "as it is")
    )

    seen: Path = how()
    rest_s: float = how(default=0.05)

    def requests(self) -> str:
        return "SELECT clip_id AS key, clip_id AS input, 'mirror' AS line FROM clips"

    def open(self) -> Work:
        import ray

        here = ray.get_runtime_context().get_node_id()

        def work(row: Mapping[str, Any]) -> dict[str, Any]:
            with (self.seen / here).open("a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(self.rest_s)
            return {"egress": row["egress"], "node": here}

        return each(work)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = Dataset.create(tmp_path / "dataset")
    rows = [
        {"clip_id": f"{n:020d}", "video_key": "v", "start_ms": n, "duration_ms": 1000, "origin": "segment"}
        for n in range(ROWS)
    ]
    made.append("clips", rows)
    (tmp_path / "seen").mkdir()
    return made


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without the resource and two nodes with it."""
    import ray
    from ray.cluster_utils import Cluster

    for name, value in (
        ("initial_delay_ms", "0"),
        ("period_ms", "500"),
        ("timeout_ms", "10000"),
        ("failure_threshold", "3"),
    ):
        monkeypatch.setenv(f"RAY_health_check_{name}", value)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def go(dataset: Dataset, cluster: Any, seen: Path, rest_s: float = 0.05) -> None:
    stage = Visit(seen=seen, rest_s=rest_s)
    routing = Routing(names=("here",), paces={"mirror": MIRROR})
    job = Job(
        stage=stage,
        queue=lambda: dataset.pending(stage),
        workers=2,
        address=cluster.address,
        routing=routing,
    )
    run(dataset, job)


@pytest.mark.slow
def test_every_egress_node_gets_its_workers_and_a_node_that_goes_away_stops_nothing(
    dataset: Dataset, cluster: Any, tmp_path: Path
) -> None:
    from threading import Timer

    seen = tmp_path / "seen"
    first, second = (cluster.add_node(num_cpus=1, resources={"egress": 1}) for _ in range(2))
    cluster.wait_for_nodes()
    removing = Timer(0.0, lambda: None)

    def remove_once_it_has_worked() -> None:
        until = time.monotonic() + 60
        while not (seen / second.node_id).exists() and time.monotonic() < until:
            time.sleep(0.05)
        cluster.remove_node(second)

    removing = Timer(0.0, remove_once_it_has_worked)
    removing.start()
    go(dataset, cluster, seen, rest_s=0.25)
    removing.join()
    assert status(dataset)["visit"].as_dict() == {"requested": ROWS, "done": ROWS, "set_aside": {}, "pending": 0}
    visits = dataset.sql("SELECT egress, node FROM visit").to_pylist()
    on = Counter(visit["node"] for visit in visits)
    assert set(on) <= {first.node_id, second.node_id}
    assert on[first.node_id] > ROWS // 2
    assert {visit["egress"][-8:] for visit in visits} <= {first.node_id[:8], second.node_id[:8]}
    assert len(set((seen / first.node_id).read_text().split())) == 2, "two workers a node"
