"""Similarities and ranks with answers known by counting."""

import numpy as np
import pytest

from models.metrics.similarity import average_precision_at, paired_cosine, ranks, recall_at


def test_cosine_of_pairs() -> None:
    assert paired_cosine([[2.0, 0.0], [0.0, 3.0]], [[1.0, 0.0], [1.0, 0.0]]) == pytest.approx(0.5)


@pytest.mark.parametrize("vectors", [[[0.0, 0.0]], [[np.nan, 1.0]], [1.0, 2.0]])
def test_vectors_without_a_direction_are_refused(vectors: list) -> None:
    with pytest.raises(ValueError, match=r"shape|direction"):
        paired_cosine(vectors, vectors)


def test_recall_and_precision_by_hand() -> None:
    scores = [[0.9, 0.8, 0.1, 0.0], [0.1, 0.2, 0.3, 0.4]]
    found = ranks(scores, [[1, 3], [3]])
    assert [list(row) for row in found] == [[2, 4], [1]]
    assert recall_at(found, 1) == 0.5
    assert recall_at(found, 2) == 1.0
    assert average_precision_at(found, 10) == pytest.approx(((1 / 2 + 2 / 4) / 2 + 1.0) / 2)
    assert average_precision_at(found, 2) == pytest.approx((1 / 2 / 2 + 1.0) / 2)


def test_a_search_that_tells_nothing_apart_gains_nothing() -> None:
    (found,) = ranks(np.zeros((1, 5)), [[2]])
    assert list(found) == [5]


def test_a_query_without_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="no relevant item"):
        ranks(np.zeros((1, 3)), [[]])
