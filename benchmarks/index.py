"""Building an index that is not exact: seconds, memory, recall, search beside bare FAISS, and a plan for more vectors.

    python -m benchmarks.index [--windows 1000000] [--dimension 512] [--kind ivfpq]

Vectors are made: 24 numbers each from 2,000 clusters, mapped to the full length, with noise, as embeddings of sounds
fill few of their dimensions; one window a clip, as clips of 10 s have with CLAP. Built are a quarter of them and all;
from the two the slopes of the plan are measured. The peer is FAISS itself, searching the same file with the same
effort; beyond it the index gives each clip once with its best window and what is known of it.
"""

import argparse
import math
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from benchmarks import Measured, best_seconds
from benchmarks.search import Embedded, K, made_rows
from retrieval_index import Index
from retrieval_index.structure import Effort, Kind, memory_bytes

LATENT, CLUSTERS, NOISE = 24, 2_000, 0.05
PLANNED = (10_000_000, 100_000_000)


def made_vectors(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """(count, dimension) float16, the same for the same seed; queries take another seed and the same clusters."""
    world, draw = np.random.default_rng(0), np.random.default_rng(seed)
    centres = world.standard_normal((CLUSTERS, LATENT), dtype=np.float32)
    up = world.standard_normal((LATENT, dimension), dtype=np.float32) / math.sqrt(LATENT)
    vectors = np.empty((count, dimension), np.float16)
    for begin in range(0, count, 50_000):
        size = min(50_000, count - begin)
        latent = centres[draw.integers(0, CLUSTERS, size)] + 0.5 * draw.standard_normal(
            (size, LATENT), dtype=np.float32
        )
        block = latent @ up + NOISE * draw.standard_normal((size, dimension), dtype=np.float32)
        vectors[begin : begin + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def built(folder: Path, vectors: np.ndarray, rows: pa.Table, kind: Kind) -> tuple[float, float]:
    """Seconds of building and tuning, and by how much the largest memory of the process grew, GB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    Index.build(folder, vectors, rows, {"class": "none"}, {}, kind=kind)
    seconds = time.perf_counter() - begun
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6


def bare_parameters(kind: Kind, effort: Effort) -> Any:
    """An effort as FAISS's own caller would write it, once."""
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=max(effort.nodes, K))
    inner = faiss.SearchParametersIVF(nprobe=effort.cells)
    return faiss.IndexRefineSearchParameters(k_factor=float(effort.refine), base_index_params=inner)


def resident_mb() -> dict[str, float]:
    """Memory of this process that is its own, and that is mapped from files, MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    held = {line.partition(":")[0]: int(line.split()[1]) / 1e3 for line in lines if line.startswith("Rss")}
    return {"own": held["RssAnon"], "mapped": held["RssFile"]}


def measure(
    windows: int = 1_000_000, dimension: int = 512, kind: Kind = "ivfpq", queries: int = 256, rounds: int = 20
) -> Measured:
    quarter = windows // 4
    vectors, rows = made_vectors(windows, dimension), made_rows(windows, 1)
    queries_BD = made_vectors(queries, dimension, seed=1).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        few_s, _ = built(Path(name) / "few", vectors[:quarter], rows.slice(0, quarter), kind)
        build_s, build_gb = built(Path(name) / "all", vectors, rows, kind)
        before, begun = resident_mb(), time.perf_counter()
        index = Index.open(Path(name) / "all", embedder=Embedded(dimension), gpu=False)
        open_s = time.perf_counter() - begun
        opened = {what: value - before[what] for what, value in resident_mb().items()}
        manifest = index.manifest
        file = Path(name) / "all" / manifest["files"]["vectors"]["name"]
        bare = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
        asked = bare_parameters(kind, Effort(**manifest["effort"]))
        ours_s, bare_s = best_seconds(
            lambda: index.search(queries_BD, K), lambda: bare.search(queries_BD, K, params=asked), rounds=rounds
        )
        disk_gb = sum(path.stat().st_size for path in (Path(name) / "all").iterdir()) / 1e9
    slope = math.log(build_s / few_s) / math.log(windows / quarter)
    plan = {
        f"plan_{planned // 1_000_000}M_{what}": value
        for planned in PLANNED
        for what, value in (
            ("hours", build_s * (planned / windows) ** slope / 3600),
            ("search_gb", memory_bytes(kind, planned, dimension) / 1e9),
            ("disk_gb", disk_gb * planned / windows),
        )
    }
    return {
        "ratio": bare_s / ours_s,
        "peer": f"faiss, the same {manifest['factory']} and effort",
        "queries_a_second": queries / ours_s,
        "peer_queries_a_second": queries / bare_s,
        "recall_at_10": manifest["measured"]["recall_at_10"]["sounds"],
        "one_query_ms": manifest["measured"]["one_query_ms"],
        **{f"effort_{name}": value for name, value in manifest["effort"].items()},
        "build_s": build_s,
        "build_quarter_s": few_s,
        "build_slope": slope,
        "build_peak_gb": build_gb,
        "search_gb": memory_bytes(kind, windows, dimension) / 1e9,
        "disk_gb": disk_gb,
        "open_s": open_s,
        "open_own_mb": opened["own"],
        "open_mapped_mb": opened["mapped"],
        **plan,
        "windows": windows,
        "dimension": dimension,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--kind", default="ivfpq", choices=("hnsw", "ivfpq"))
    given = parser.parse_args()
    for key, value in measure(given.windows, given.dimension, given.kind).items():
        print(key, value)
