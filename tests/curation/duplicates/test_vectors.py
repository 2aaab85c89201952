"""Near vectors are found as comparing every pair finds them."""

import sys

import numpy as np
import pytest

from curation.duplicates import vectors
from curation.duplicates.vectors import clip_vector, near_pairs
from curation.errors import ArgumentError


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((count // 2, 16))
    return unit(np.concatenate([centres, centres + 0.1 * random.standard_normal(centres.shape)]))


def brute(rows: np.ndarray, least: float) -> set[tuple[int, int]]:
    first, second = np.nonzero(np.triu(rows @ rows.T >= least, 1))
    return set(zip(first.tolist(), second.tolist(), strict=True))


def test_pairs_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = clustered(300)
    expected = brute(rows, 0.95)
    assert len(expected) > 100
    for batch in (vectors.BATCH_CLIPS, 7):
        monkeypatch.setattr(vectors, "BATCH_CLIPS", batch)
        found = near_pairs(rows, 0.95)
        assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
    assert np.allclose(1 - found.distance, (rows[found.first] * rows[found.second]).sum(axis=1), atol=1e-5)


def test_an_inverted_file_finds_the_same_near_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = clustered(4000)
    monkeypatch.setattr(vectors, "EXACT_CLIPS", 100)
    found = near_pairs(rows, 0.97)
    expected = brute(rows, 0.97)
    got = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert len(got & expected) >= 0.99 * len(expected) and len(expected) > 500


def test_a_bound_is_in_and_nothing_is_near_a_zero_vector() -> None:
    rows = np.array([[1, 0], [0.6, 0.8], [0, 0]], np.float32)
    assert len(near_pairs(rows, 0.59)) == 1
    assert len(near_pairs(rows, 0.61)) == 0
    assert len(near_pairs(rows[:1], 0.5)) == len(near_pairs(np.zeros((0, 1), np.float32), 0.5)) == 0
    with pytest.raises(ArgumentError, match="must be in"):
        near_pairs(rows, 0.0)


def test_the_windows_of_a_clip_become_one_direction() -> None:
    assert clip_vector(np.array([[2, 0], [0, 2]], np.float16)) == pytest.approx(np.full(2, 0.5**0.5))
    assert clip_vector(np.array([3.0, 4.0])) == pytest.approx([0.6, 0.8])
    assert clip_vector(np.array([[1.0, 0], [-1, 0]])).tolist() == [0, 0]


def test_without_faiss_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ArgumentError, match=r"pip install 'foundsound\[cpu\]'"):
        near_pairs(clustered(4), 0.9)
