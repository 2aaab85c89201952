"""The nearest vectors by matrix products, against sorting everything."""

import numpy as np
import pytest

from retrieval_index.exact import QUERIES_AT_ONCE, nearest


def blocks_of(vectors_ND: np.ndarray, slots_N: np.ndarray, sizes: list[int]):
    ends = np.cumsum(sizes)
    assert ends[-1] == len(slots_N)
    return [(slots_N[end - size : end], vectors_ND[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


@pytest.mark.parametrize("k", [1, 7, 40, 120])
@pytest.mark.parametrize("sizes", [[100], [30, 1, 69], [5] * 20])
def test_equals_sorting_everything(k: int, sizes: list[int]) -> None:
    draw = np.random.default_rng(0)
    vectors_ND = draw.integers(-2, 3, (100, 4)).astype(np.float32)  # whole numbers: many scores are equal, and exact
    queries_BD = draw.integers(-2, 3, (QUERIES_AT_ONCE + 3, 4)).astype(np.float32)
    slots_N = np.sort(draw.choice(1_000, 100, replace=False))
    scores, slots = nearest(queries_BD, blocks_of(vectors_ND, slots_N, sizes), k)
    whole_BN = queries_BD @ vectors_ND.T
    order = np.argsort(-whole_BN, axis=1, kind="stable")[:, :k]
    few = min(k, 100)
    np.testing.assert_array_equal(slots[:, :few], slots_N[order])
    np.testing.assert_array_equal(scores[:, :few], np.take_along_axis(whole_BN, order, axis=1))
    assert (slots[:, few:] == -1).all() and (scores[:, few:] == -np.inf).all()


def test_nothing_to_search_finds_nothing() -> None:
    scores, slots = nearest(np.ones((2, 3), np.float32), [], 4)
    assert scores.shape == slots.shape == (2, 4) and (slots == -1).all()
