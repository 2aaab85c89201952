"""Features compared pair by pair: the CLAP score, and how high the right partner ranks in a search.

Shapes: N pairs, Q queries, S stored items, D features.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]


def paired_cosine(left_ND: npt.ArrayLike, right_ND: npt.ArrayLike) -> float:
    """Mean cosine of pairs, -1 to 1; of a text's and its sound's CLAP vectors this is the CLAP score.

    Source: Huang et al. 2023 (Make-An-Audio), arXiv 2301.12661. Which CLAP it was belongs beside it.

    Raises:
        ValueError: The shapes differ, or a vector has no direction.
    """
    left, right = unit(left_ND), unit(right_ND)
    if left.shape != right.shape:
        raise ValueError(f"{left.shape} and {right.shape} are not pairs")
    return float((left * right).sum(axis=1).mean())


def ranks(
    scores_QS: npt.ArrayLike, relevant: Sequence[Sequence[int] | npt.NDArray[np.integer]]
) -> list[npt.NDArray[np.int64]]:
    """Where the relevant items of each query stand, counted from 1, best first.

    Of equal scores the relevant item counts as the last: a search that cannot tell anything apart gains nothing.

    Args:
        scores_QS: Score of every stored item for every query, the higher the better.
        relevant: For each query the numbers of its relevant items; at least one.

    Raises:
        ValueError: A query without a relevant item, or a score that is not finite.
    """
    scores = np.asarray(scores_QS, np.float64)
    found: list[npt.NDArray[np.int64]] = []
    for row_S, items in zip(scores, relevant, strict=True):
        if not len(items):
            raise ValueError(f"query {len(found)} has no relevant item")
        if not np.isfinite(row_S).all():
            raise ValueError(f"query {len(found)} has a score that is not finite")
        wanted_R = np.sort(row_S[np.unique(items)])[::-1]
        as_good_R = (row_S >= wanted_R[:, None]).sum(axis=1)
        others_R = as_good_R - (wanted_R >= wanted_R[:, None]).sum(axis=1)
        found.append(others_R + np.arange(1, len(wanted_R) + 1))
    return found


def recall_at(ranks_Q: Sequence[npt.NDArray[np.int64]], k: int) -> float:
    """R@k: share of queries with a relevant item among the first k."""
    return float(np.mean([ranks[0] <= k for ranks in ranks_Q]))


def average_precision_at(ranks_Q: Sequence[npt.NDArray[np.int64]], k: int) -> float:
    """mAP@k: mean over queries of the precision at each relevant item among the first k, over min(relevant, k).

    Source: Manning et al. 2008, "Introduction to Information Retrieval", equation 8.8, cut off at k.
    """
    values = []
    for ranks in ranks_Q:
        near = ranks[ranks <= k]
        values.append(float((np.arange(1, len(near) + 1) / near).sum() / min(len(ranks), k)))
    return float(np.mean(values))


def unit(vectors_ND: npt.ArrayLike) -> Float:
    """Vectors of length 1, float64.

    Raises:
        ValueError: Not of shape (N, D), or a vector that is zero or not finite.
    """
    vectors = np.asarray(vectors_ND, np.float64)
    if vectors.ndim != 2:
        raise ValueError(f"vectors have the shape (N, D), not {vectors.shape}")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("a vector is zero or not finite, so it has no direction")
    return np.asarray(vectors / lengths, np.float64)
