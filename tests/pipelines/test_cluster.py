"""Clusters of two nodes on this machine: workers and nodes that die, storage that is not shared, and submitted jobs."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builds.made_media import write_video

from pipelines.quickstart.corpus import write_corpus
from pipelines.quickstart.mirror import Fault, Mirror
from pipelines.quickstart.world import CLIP_S, World, make_world

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("curation", "captioning", "retrieval_index", "models", "pipelines")

SEED, VIDEOS = 9, 8
DEAD = "deadvideo00"
LONG = ("longvideo00", "longvideo01")
"""Long enough for clips of 10 s."""

ANSWER_AFTER_S = 0.5
"""A mirror slow enough that a node dies among downloads."""

LIMIT_S = 90.0
"""What takes longer hangs."""

SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # read by `import ray`: this machine is called 127.0.0.1
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
}
"""Everything stays on the loopback address, and Ray sees within 2 s that a node is gone, which refuses its calls; one
that is only slow to answer is not taken for dead. On a network Ray's own 15 s are right."""


@dataclass(frozen=True, slots=True)
class Served:
    """A mirror, and a list of its videos and one that it does not have."""

    mirror: Mirror
    list_file: Path

    def listed(self, dataset: Path) -> Path:
        """A new dataset of the list."""
        program("manifest", "table", str(self.list_file), "--out", str(dataset))
        return dataset

    def fetch(self, dataset: Path) -> list[str]:
        return ["fetch", str(dataset), "--from", f"{self.mirror.url}/{{video_id}}.mp4", "--workers", "2"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("mirror")
    good = tuple(clip for clip in make_world(SEED).good if clip.split == "train")[:VIDEOS]
    write_corpus(World(seed=SEED, clips=good), folder)
    rows = [f"{clip.video_id},{clip.start_s:g},{CLIP_S:g}" for clip in good]
    (folder / "list.csv").write_text("\n".join(["video_id,start_s,duration_s", *rows, f"{DEAD},0,{CLIP_S:g}", ""]))
    slow = {f"/{clip.video_id}.mp4": Fault(delay_s=ANSWER_AFTER_S) for clip in good}
    for video in LONG:
        write_video(folder, video, 12)
    with Mirror(folder, faults=slow) as mirror:
        yield Served(mirror, folder / "list.csv")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def start(*words: str) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "pipelines.main", *words], cwd=ROOT, env=environment(), **pipes)


def end(process: subprocess.Popen[str]) -> str:
    """What a program printed that must come to its end."""
    try:
        printed, said = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"it hangs: {process.communicate()[1][-3000:]}") from None
    assert process.returncode == 0, f"it ended with {process.returncode}: {said[-3000:]}"
    return printed


def program(*words: str) -> str:
    return end(start(*words))


def check_all_done(dataset: Path) -> None:
    """Every row has its end: `done + set aside + pending == requested` with nothing pending."""
    counts = json.loads(program("status", str(dataset), "--json"))
    one = {"done": VIDEOS, "set_aside": {"NOT_FOUND": 1}, "pending": 0, "requested": VIDEOS + 1}
    for stage in ("fetch", "cut"):
        assert {name: counts[stage][name] for name in one} == one, stage


DASHBOARD = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((DASHBOARD, 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head and one more node, each with one egress; where a job is submitted, a dashboard takes it."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "resources": {"egress": 1}, "node_ip_address": "127.0.0.1"}
    takes_jobs = "submitted" in request.node.name
    dashboard = {"include_dashboard": takes_jobs, "dashboard_host": DASHBOARD, "dashboard_port": free_port()}
    # Jobs go through the agent of the head, which cannot listen where that of another Ray on this machine does.
    agent = {"dashboard_agent_listen_port": free_port()}
    made = Cluster(initialize_head=True, head_node_args={**node, **dashboard, **agent})
    made.second = made.add_node(**node)
    made.jobs = f"http://{DASHBOARD}:{dashboard['dashboard_port']}"
    yield made
    made.shutdown()


def workers_of(node: Any) -> list[int]:
    """The processes on a node that work on a stage."""
    raylets = {str(info[0].process.pid) for name, info in node.all_processes.items() if name == "raylet"}
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            title, parent = (stat.parent / "cmdline").read_bytes(), stat.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended meanwhile
            continue
        if parent in raylets and title.startswith(b"ray::_Worker"):
            found.append(int(stat.parent.name))
    return found


def await_requests(mirror: Mirror, count: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + LIMIT_S
    while len(mirror.requests) < count and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[1]


def test_a_dead_worker_and_a_dead_node_do_not_stop_a_run(cluster: Any, served: Served, tmp_path: Path) -> None:
    dataset = served.listed(tmp_path / "dataset")
    asked = len(served.mirror.requests)
    process = start(*served.fetch(dataset), "--address", cluster.address)
    await_requests(served.mirror, asked + 3, process)
    os.kill(workers_of(cluster.second)[0], signal.SIGKILL)
    await_requests(served.mirror, asked + 8, process)
    cluster.remove_node(cluster.second, allow_graceful=False)
    end(process)
    check_all_done(dataset)


ASK = """
import sys
from pipelines.engine import start_ray
from pipelines.nodes import alive_nodes, require_shared_roots
start_ray(sys.argv[1])
print(len(alive_nodes()))
require_shared_roots({"media": sys.argv[2]})
print("shared")
require_shared_roots({"media": sys.argv[2], "shards": "memory://not-shared"})
"""


def test_storage_that_a_node_does_not_see_is_refused(cluster: Any, tmp_path: Path) -> None:
    """Two nodes on one machine share its disks, and not the memory of a process."""
    command = [sys.executable, "-c", ASK, cluster.address, str(tmp_path / "media")]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout.split() == ["2", "shared"], done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(r"StoppedError: node .*127\.0\.0\.1.* does not see the storage root 'shards'", last), last
    assert list((tmp_path / "media").iterdir()) == []


NOT_READY = ("No available agent", "Failed to connect to Ray")
"""What Ray says of a job while its dashboard or the agents of its nodes are still starting."""


def submitted(job: list[str]) -> subprocess.CompletedProcess[str]:
    """A job that has come to its end, submitted as soon as the cluster takes any."""
    until = time.monotonic() + LIMIT_S
    while True:
        done = subprocess.run(job, capture_output=True, text=True, timeout=LIMIT_S, env=environment())
        if not any(said in done.stderr for said in NOT_READY) or time.monotonic() > until:
            return done
        time.sleep(1.0)


def test_submitted_jobs_build_to_the_end(cluster: Any, served: Served, tmp_path: Path) -> None:
    """With the packages that the nodes have; and again, into another dataset, with those that are sent along."""
    sent = tmp_path / "sent"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, sent / package, ignore=shutil.ignore_patterns("__pycache__"))
    (sent / "job.py").write_text("import sys, pipelines.main\nsys.exit(pipelines.main.main())\n")
    (tmp_path / "list.csv").write_text("".join(f"{video},1,rain,train\n" for video in LONG))
    submit = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", cluster.jobs]
    ways = {"preinstalled": ([], ["-m", "pipelines.main"]), "sent": (["--working-dir", str(sent)], ["job.py"])}
    for way, (how, entry) in ways.items():
        out = tmp_path / f"built-{way}"
        build = ["build", "vggsound", "--out", str(out), "--list", str(tmp_path / "list.csv"), "--until", "pack"]
        build += ["--from", f"{served.mirror.url}/{{video_id}}.mp4", "--workers", "1", "--address", "auto"]
        build += ["--unguarded", "audiocaps-val", "--unguarded", "audiocaps-test"]
        job = [*submit, *how, "--", sys.executable, *entry, *build]
        done = submitted(job)
        if done.returncode != 0:
            pytest.fail(f"the job whose packages are {way} failed:\n{done.stdout[-3000:]}\n{done.stderr[-1000:]}")
        counts = json.loads(program("status", str(out), "--json"))
        assert counts["measure"]["done"] == len(LONG)
        assert (out / "shards" / "train" / "index.json").is_file()
