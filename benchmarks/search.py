"""Queries a second through `Index.search`, against bare FAISS over the same vectors.

The index adds what bare FAISS lacks: each clip once with its best window, and its row. Both search exactly.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa

from benchmarks import Measured, best_seconds
from retrieval_index import Index

WINDOWS_A_CLIP, K = 2, 10


@dataclass(frozen=True)
class Embedded:
    """Stands where an embedder would; the vectors are there already."""

    dimension: int

    def identity(self) -> dict[str, str]:
        """None made them."""
        return {"class": "none"}


def made_rows(count: int, windows_a_clip: int = WINDOWS_A_CLIP) -> pa.Table:
    """What is known of the windows, which follow each other at 5 s."""
    clips = (np.arange(count) // windows_a_clip).astype(str)
    starts_s = np.arange(count) % windows_a_clip * 5.0
    return pa.table(
        {"clip_id": clips, "start_s": starts_s, "end_s": starts_s + 10, "caption": clips, "audio_sha256": clips}
    )


def make_index(folder: Path, vectors_ND: np.ndarray) -> Index:
    embedder, rows = Embedded(vectors_ND.shape[1]), made_rows(len(vectors_ND))
    Index.build(folder, vectors_ND, rows, embedder.identity(), {}, kind="flat")
    return Index.open(folder, embedder=embedder, gpu=False)


def measure(windows: int = 100_000, dimension: int = 512, queries: int = 64, rounds: int = 3) -> Measured:
    draw = np.random.default_rng(0)
    vectors_ND = draw.standard_normal((windows, dimension), dtype=np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    queries_BD = draw.standard_normal((queries, dimension), dtype=np.float32)
    queries_BD /= np.linalg.norm(queries_BD, axis=1, keepdims=True)
    bare = faiss.IndexFlatIP(dimension)
    bare.add(vectors_ND)
    with tempfile.TemporaryDirectory() as name:
        index = make_index(Path(name) / "index", vectors_ND)  # mapped, so that it lives on when the folder is gone
    batch_s, bare_batch_s = best_seconds(
        lambda: index.search(queries_BD, K), lambda: bare.search(queries_BD, K), rounds=rounds
    )
    single_s, bare_single_s = best_seconds(
        lambda: index.search(queries_BD[:1], K), lambda: bare.search(queries_BD[:1], K), rounds=5 * rounds
    )
    return {
        "ratio": bare_batch_s / batch_s,
        "peer": "faiss.IndexFlatIP.search",
        "queries_a_second": queries / batch_s,
        "peer_queries_a_second": queries / bare_batch_s,
        "one_query_ms": 1000 * single_s,
        "peer_one_query_ms": 1000 * bare_single_s,
        "windows": windows,
        "dimension": dimension,
        "queries_at_once": queries,
    }
