"""Search and building on GPUs, where the installed FAISS has some; without any, nothing here is used.

The vectors that an index stores are copied to the GPU as float16 and compared one by one there: exact, and fast enough
up to tens of millions. With `faiss-gpu-cuvs` the links of a graph are made by CAGRA (Ootomo et al. 2024, arXiv
2308.15136) and handed to the graph that the CPU searches.
"""

from typing import Any

import numpy as np

from retrieval_index.embedder import Vectors
from retrieval_index.manifest import faiss_module
from retrieval_index.structure import LINKS, Structure

MAX_BYTES = 16 << 30
"""Vectors up to this size are held on a GPU. Source: ours; 16 million of 512 numbers, beside an encoder on a card of
24 GB."""


def gpus() -> int:
    """How many GPUs the installed FAISS can use."""
    count = getattr(faiss_module(), "get_num_gpus", lambda: 0)
    return int(count())


def has_cagra() -> bool:
    """Whether graphs can be made on a GPU."""
    return gpus() > 0 and hasattr(faiss_module(), "GpuIndexCagra")


def fits(structure: Structure) -> bool:
    """Whether there is a GPU and the vectors of an index may be held on it."""
    return 2 * structure.stored.d * structure.slots <= MAX_BYTES and gpus() > 0


def exact_on_gpu(structure: Structure, batch: int = 262_144) -> Any:
    """The vectors of an index as a FAISS index on the first GPU, by slot; searched as any FAISS index.

    Raises:
        RuntimeError: FAISS has no GPU.
    """
    faiss = faiss_module()
    if not gpus():
        raise RuntimeError("the installed FAISS has no GPU")
    options = faiss.GpuIndexFlatConfig()
    options.useFloat16 = True
    flat = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), structure.stored.d, options)
    for begin in range(0, structure.slots, batch):
        flat.add(structure.vectors(np.arange(begin, min(begin + batch, structure.slots))))
    return flat


def graph_on_gpu(unit_ND: Vectors) -> Structure:
    """A graph of all these vectors, linked on the first GPU and searched on the CPU.

    Raises:
        RuntimeError: FAISS has no GPU, or no CAGRA.
    """
    faiss = faiss_module()
    if not has_cagra():
        raise RuntimeError("the installed FAISS has no CAGRA; faiss-gpu-cuvs has")
    config = faiss.GpuIndexCagraConfig()
    config.graph_degree = 2 * LINKS
    made = faiss.GpuIndexCagra(faiss.StandardGpuResources(), unit_ND.shape[1], faiss.METRIC_INNER_PRODUCT, config)
    made.train(unit_ND)
    graph = faiss.IndexHNSWCagra(unit_ND.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.base_level_only = False  # with the upper levels, so that vectors can be added later
    made.copyTo(graph)
    return Structure("hnsw", graph)
