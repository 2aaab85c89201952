"""Sounds whose vectors lie near each other in an embedder's space: near-duplicates that no fingerprint shows.

The vectors are made elsewhere (`embed`, `tag`); this file joins a clip's windows into one vector and finds its nearest.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.duplicates.matching import Pairs
from curation.errors import ArgumentError

Vectors = npt.NDArray[np.float32]

EXACT_CLIPS = 200_000
"""Up to so many clips every vector is compared with every other. Source: ours; 200,000 x 512 take minutes on two
cores."""

NEIGHBOURS = 32
"""Nearest vectors that are looked at for each clip. Source: ours; a larger group still joins up, since the nearest of
different copies differ."""

PROBES = 32
"""Cells that are searched of an inverted file. Source: ours; a near-duplicate lies in the same cell or a neighbouring
one, unlike a merely similar sound."""

BATCH_CLIPS = 16_384
"""Clips that are searched at a time, which bounds memory. Source: ours."""


def faiss_module() -> Any:
    """The installed FAISS.

    Raises:
        ArgumentError: There is none; the text has the install line.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ArgumentError(
            "the layer `vectors` needs FAISS: pip install 'foundsound[cpu]' (or [gpu] or [cuvs]; exactly one), or "
            "leave the layer out with --layers samples,print"
        ) from error
    return faiss


def clip_vector(windows_WD: npt.NDArray[Any]) -> Vectors:
    """One unit vector for a clip: the mean of its windows' vectors; zero where they cancel.

    Args:
        windows_WD: (windows, D) or (D,), any float type.
    """
    mean_D = np.atleast_2d(windows_WD).astype(np.float32).mean(axis=0)
    length = float(np.linalg.norm(mean_D))
    unit_D: Vectors = mean_D / length if length > 0 else mean_D
    return unit_D


def near_pairs(vectors_ND: Vectors, min_cosine: float) -> Pairs:
    """Pairs of clips whose vectors have at least this cosine.

    Args:
        vectors_ND: Unit vectors, (N, D); a zero vector is near nothing.
        min_cosine: In (0, 1].

    Returns:
        Pairs ordered by first and second; the distance is 1 - cosine, at least 0.

    Raises:
        ArgumentError: FAISS is not installed.
    """
    if not 0 < min_cosine <= 1:
        raise ArgumentError(f"the least cosine of near-duplicates must be in (0, 1], not {min_cosine}")
    if len(vectors_ND) < 2:
        return joined_pairs([])
    index = _index(np.ascontiguousarray(vectors_ND, np.float32))
    found = []
    for begin in range(0, len(vectors_ND), BATCH_CLIPS):
        batch = np.ascontiguousarray(vectors_ND[begin : begin + BATCH_CLIPS], np.float32)
        cosines, others = index.search(batch, min(NEIGHBOURS, len(vectors_ND)))
        ones = np.repeat(np.arange(begin, begin + len(batch)), cosines.shape[1])
        keep = (cosines.ravel() >= min_cosine) & (others.ravel() >= 0) & (others.ravel() != ones)
        ones, other = ones[keep], others.ravel()[keep]
        distance = np.maximum(1.0 - cosines.ravel()[keep].astype(np.float64), 0.0)
        found.append(Pairs(np.minimum(ones, other), np.maximum(ones, other), distance))
    return joined_pairs(found)


def joined_pairs(found: Sequence[Pairs]) -> Pairs:
    """All pairs, each once with its least distance, ordered by first and second."""
    first = np.concatenate([np.zeros(0, np.int64), *(pairs.first for pairs in found)])
    second = np.concatenate([np.zeros(0, np.int64), *(pairs.second for pairs in found)])
    distance = np.concatenate([np.zeros(0), *(pairs.distance for pairs in found)])
    order = np.lexsort((distance, second, first))
    first, second, distance = first[order], second[order], distance[order]
    is_best = np.ones(len(first), bool)
    is_best[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return Pairs(first[is_best], second[is_best], distance[is_best])


def _index(vectors_ND: Vectors) -> Any:
    """Exact for few vectors, an inverted file of half-precision vectors for many."""
    faiss = faiss_module()
    count, dimension = vectors_ND.shape
    if count <= EXACT_CLIPS:
        index = faiss.IndexFlatIP(dimension)
    else:
        cells = 1 << round(np.log2(4 * np.sqrt(count)))
        index = faiss.index_factory(dimension, f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
        index.train(vectors_ND[:: max(1, count // (64 * cells))])
        index.nprobe = PROBES
    index.add(vectors_ND)
    return index
