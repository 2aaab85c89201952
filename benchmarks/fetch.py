"""Videos a second from a mirror with 200 ms latency, against what that allows: sessions / (2 x latency + transfer).

yt-dlp's generic extractor asks twice for every file: once to see what it is, once to have it. Nothing is cut, and no
budget holds anybody back. The mirror is a process of its own on the loopback address; the same is measured on two local
nodes of Ray, each with the resource `egress`, as on a cluster.
"""

import csv
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import Measured
from curation.cut import Cut
from curation.dataset import Dataset
from curation.download.download import Limits
from curation.download.fetch_queue import fetch_queue
from curation.download.source import parse_source
from curation.fetch import Fetch
from curation.lists.ingest import ingest
from curation.segment import Segment
from curation.tables import Row
from pipelines.quickstart.mirror import Fault, Mirror
from pipelines.runner import Job, run
from pipelines.verbs.ways import DIRECT

LATENCY_S = 0.2
SESSIONS = 4
STEADY = (0.2, 0.95)
"""The share of the answers between which the rate is taken: Ray starts its workers one after the other."""
MEDIA = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 400
"""100 kB that begin like an MP4; nobody decodes them."""


@dataclass(frozen=True, kw_only=True)
class Uncut(Cut):
    """Leaves the clip in its video."""

    def cut(self, original: Path, span: Row, folder: Path) -> Row:
        """Nothing."""
        return {}


def _serve(folder: Path, names: list[str], delay_s: float, link: Connection) -> None:
    faults = {f"/{name}.mp4": Fault(delay_s=delay_s) for name in names}
    with Mirror(folder, faults=faults) as mirror:
        link.send(mirror.url)
        link.recv()


@contextmanager
def mirror(folder: Path, names: list[str], delay_s: float) -> Iterator[str]:
    """A mirror in a process of its own; gives its address."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(folder, names, delay_s, there), daemon=True)
    process.start()
    try:
        yield str(here.recv())
    finally:
        here.send("end")
        process.join()


@contextmanager
def nodes(count: int) -> Iterator[str]:
    """A cluster on this machine whose nodes have the resource `egress`; gives its address."""
    import ray
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(count):
        cluster.add_node(num_cpus=1, resources={"egress": 1})
    cluster.wait_for_nodes()
    try:
        yield str(cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()


def videos_a_second(folder: Path, url: str, names: list[str], address: str) -> float:
    """Fetch all of them on a cluster; the rate once all sessions are up and before the first has nothing left."""
    list_file = folder / "list.csv"
    with list_file.open("w", newline="") as file:
        csv.writer(file).writerows([("video_id", "start_s", "duration_s"), *((name, 0, 1) for name in names)])
    dataset = Dataset.create(folder / f"dataset-{time.monotonic_ns()}")
    ingest(dataset, "table", list_file)
    source = parse_source(f"{url}/{{video_id}}.mp4")
    stage = Fetch(
        sources=(source,),
        segment=Segment(),
        cut=Uncut(media=dataset.media),
        media=dataset.media,
        limits=Limits(),
    )
    job = Job(
        stage=stage,
        queue=lambda: fetch_queue(dataset, stage),
        inner={"segment": stage.segment, "cut": stage.cut},
        workers=SESSIONS,
        address=address,
        routing=DIRECT.routing(dataset, stage.sources),
    )
    tally = run(dataset, job)
    if tally.done != len(names):
        raise RuntimeError(f"{tally.done} of {len(names)} videos came: {tally.set_aside}")
    ended = dataset.sql('SELECT epoch(finished_at) AS ended FROM "fetch" ORDER BY ended')["ended"].to_pylist()
    first, last = (int(share * len(ended)) for share in STEADY)
    return float((last - first) / (ended[last] - ended[first]))


def transfer_seconds(folder: Path, name: str) -> float:
    """Time of one plain download without latency, s."""
    with mirror(folder, [name], 0.0) as url:
        best_s = float("inf")
        for _ in range(5):
            begun = time.perf_counter()
            with urllib.request.urlopen(f"{url}/{name}.mp4") as answer:
                answer.read()
            best_s = min(best_s, time.perf_counter() - begun)
    return best_s


def measure(videos: int = 200, latency_s: float = LATENCY_S, node_counts: tuple[int, ...] = (1, 2)) -> Measured:
    """Of as many videos on one node, and twice as many on two."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        names = [f"video{number:06d}" for number in range(videos * max(node_counts))]
        for name in names:
            (folder / f"{name}.mp4").write_bytes(MEDIA)
        transfer_s = transfer_seconds(folder, names[0])
        rates = {}
        with mirror(folder, names, latency_s) as url:
            for count in node_counts:
                with nodes(count) as address:
                    rates[count] = videos_a_second(folder, url, names[: videos * count], address)
    allowed = SESSIONS / (2 * latency_s + transfer_s)
    return {
        "ratio": rates[1] / allowed,
        "peer": "sessions / (2 x latency + transfer), what the mirror's latency allows",
        "videos_a_second": rates[1],
        "peer_videos_a_second": allowed,
        "two_nodes_to_one": rates.get(2, 0.0) / rates[1],
        "sessions": SESSIONS,
        "latency_s": latency_s,
        "transfer_s": transfer_s,
        "videos": videos,
    }
