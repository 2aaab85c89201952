"""Seconds and peak memory of every step on a manifest of 6,000,000 clips, starting from 20,000 small part files.

    python -m benchmarks scale                                              all steps, in a temporary folder, 5 GB
    python -m benchmarks.scale make FOLDER [--clips 6000000] [--parts 20000]     only the made dataset, for other uses
    python -m benchmarks.scale run FOLDER [--clips 6000000] [--parts 20000]      all steps; what is made there is used

`make_dataset(folder, clips, parts=20_000)` is the first in Python; see there for what it writes. A made dataset is read
by many: copy it (`cp -rl` will do for tables, whose parts are never changed in place) before writing to it.

Each step is a process of its own on two cores, and its bound is `BOUND_S` and `BOUND_MB`. The peer is a bare DuckDB
query over the 20,000 parts that gives the answer of `status` for the stage with most rows.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import Measured
from benchmarks._made_dataset import make_dataset

BOUND_S, BOUND_MB = 180.0, 4000.0
CORES = 2
SAMPLE_EVERY_S = 0.1

_VERB = "import sys; from pipelines.main import main; sys.exit(main(sys.argv[1:]))"

_PLAN = """
import sys
from curation.dataset import Dataset
from curation.selections.selection import selection_path
from curation.shards.plan import plan_generation
dataset = Dataset(sys.argv[1])
selection = selection_path(dataset, "train")
with plan_generation(selection, clips_per_shard=500, shards=dataset.root("shards")) as plan:
    print(f"{len(plan.shards):,} shards, {sum(rows.num_rows for _, rows in plan.written()):,} rows")
"""

_BARE = """
import glob, sys
import duckdb
folder = sys.argv[1]
parts = {name: glob.glob(f"{folder}/{place}/part-*.parquet") for name, place in
    (("clips", "clips"), ("cut", "facts/cut/*"), ("videos", "facts/fetch/*"))}
connection = duckdb.connect()
connection.execute("SET threads = 2; SET memory_limit = '2500MB'; SET enable_progress_bar = false")
last = "SELECT * FROM read_parquet({}) QUALIFY row_number() OVER (PARTITION BY key ORDER BY finished_at DESC) = 1"
print(connection.sql(f'''
    SELECT coalesce(fetched.code, cut.code) AS code, cut.key IS NULL AS is_pending, count(*)
    FROM (SELECT DISTINCT clip_id, video_key FROM read_parquet({parts["clips"]})) AS clips
    LEFT JOIN ({last.format(parts["videos"])}) AS fetched ON fetched.key = clips.video_key
    LEFT JOIN ({last.format(parts["cut"])}) AS cut ON cut.key = clips.clip_id
    GROUP BY ALL''').fetchall())
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one child process took.

    Args:
        name: What it did.
        seconds: From its start to its end, s.
        peak_mb: Largest sum of the resident memory of it and its children, MB of 2^20 bytes.
    """

    name: str
    seconds: float
    peak_mb: float

    @property
    def is_within(self) -> bool:
        """Whether it kept to both bounds."""
        return self.seconds <= BOUND_S and self.peak_mb <= BOUND_MB

    def __str__(self) -> str:
        bounds = f"{'within' if self.is_within else 'OVER'} {BOUND_S:.0f} s, {BOUND_MB:.0f} MB"
        return f"{self.name:<34} {self.seconds:7.1f} s {self.peak_mb:7.0f} MB  {bounds}"


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process and all below it, bytes; 0 when it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0
    return pages * resource.getpagesize() + sum(_resident_bytes(int(child)) for child in children)


def run_step(name: str, program: str, *arguments: object) -> Step:
    """Run Python code in a process of its own; its output goes to standard error.

    Raises:
        RuntimeError: It failed.
    """
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        stdout=sys.stderr,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    peak_bytes = 0
    while process.poll() is None:
        peak_bytes = max(peak_bytes, _resident_bytes(process.pid))
        time.sleep(SAMPLE_EVERY_S)
    step = Step(name=name, seconds=time.perf_counter() - begun, peak_mb=peak_bytes / 2**20)
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}")
    print(step, file=sys.stderr, flush=True)
    return step


def run_steps(made: Path, scratch: Path) -> Iterator[Step]:
    """All steps, in the order in which a person takes them.

    Args:
        made: What `make_dataset` made; it is not changed.
        scratch: Folder on the same disk for copies.
    """
    shutil.copytree(made / "dataset", scratch / "dataset", copy_function=os.link)
    shutil.copy(made / "dataset" / "dataset.json", scratch / "config")
    (scratch / "config").replace(scratch / "dataset" / "dataset.json")
    dataset = scratch / "dataset"
    yield run_step("bare DuckDB, 20,000 parts", _BARE, dataset)
    yield run_step("status, 20,000 parts", _VERB, "status", dataset)
    yield run_step("ingest, vggsound, new", _VERB, "manifest", "vggsound", made / "list.csv", "--out", scratch / "new")
    yield run_step("compact", _VERB, "compact", dataset)
    yield run_step("ingest, v2m, beside it", _VERB, "manifest", "v2m", made / "v2m.txt", "--out", dataset)
    yield run_step("status", _VERB, "status", dataset)
    guard = f"evaluation={made / 'evaluation.csv'}"
    yield run_step("leak guard", _VERB, "guard", dataset, "--kind", "vggsound", "--add", guard)
    yield run_step("duplicates by hash", _VERB, "dedupe", dataset, "--layers", "samples")
    chosen = ("--guard", "evaluation", "--duplicates", "duplicates")
    yield run_step("select", _VERB, "select", dataset, *chosen)
    yield run_step("packing plan", _PLAN, dataset)


def measure(clips: int = 6_000_000, parts: int = 20_000, folder: Path | None = None) -> Measured:
    """Make the dataset, or take the one that is in `folder`, and run all steps."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="scale-") as scratch:
        made = folder or Path(scratch) / "made"
        make_dataset(made, clips, parts=parts)
        steps = list(run_steps(made, Path(scratch)))
    bare, ours = steps[0], steps[1]
    measured: Measured = {
        "ratio": bare.seconds / ours.seconds,
        "peer": "bare DuckDB, one of the three counts of status",
    }
    for step in steps:
        measured[f"{step.name} s"] = step.seconds
        measured[f"{step.name} MB"] = step.peak_mb
    return {**measured, "clips": clips, "parts": parts, "within_bounds": sum(step.is_within for step in steps)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("what", choices=("make", "run"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=6_000_000)
    parser.add_argument("--parts", type=int, default=20_000)
    given = parser.parse_args()
    if given.what == "make":
        make_dataset(given.folder, given.clips, parts=given.parts)
    else:
        measure(given.clips, given.parts, given.folder)


if __name__ == "__main__":
    main()
