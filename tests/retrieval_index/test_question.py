"""What is asked of an index beside vectors: copies folded, and clips that may not be found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval_index import question
from retrieval_index.index import Index
from retrieval_index.question import DEEPEST_FOLD, Wanted, answer
from tests.retrieval_index.test_index import EMBEDDER, build, unit

CLIPS = [f"c{number:03d}" for number in range(300)]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """300 clips in almost one direction, in the order of their numbers."""
    monkeypatch.setattr(question, "_groups", lambda dataset, clip_ids: {})
    vectors = np.ones((300, 4), np.float32) / 2 + np.outer(np.arange(300), [1e-4, 0, 0, 0]).astype(np.float32)
    build(tmp_path / "i", vectors / np.linalg.norm(vectors, axis=1, keepdims=True), CLIPS)
    return Index.open(tmp_path / "i", embedder=EMBEDDER)


def asked_for(index: Index, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many clips the index is asked for from now on."""
    depths = []
    query_windows = index.query_windows

    def counted(vectors_WD: Any, k: int, **options: Any) -> Any:
        depths.append(k)
        return query_windows(vectors_WD, k, **options)

    monkeypatch.setattr(index, "query_windows", counted)
    return depths


def test_a_cosine_that_folds_everything_does_not_read_the_whole_index(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    depths = asked_for(index, monkeypatch)
    found = answer(None, index, unit(1, 0) * 0 + 0.5, Wanted(clips=2, min_cosine=1e-6))
    assert [hit.clip_id for hit in found.hits] == ["c000"] and len(found.folded["c000"]) == 2 * DEEPEST_FOLD - 1
    assert depths == [2 << step for step in range(7)]


def test_it_looks_deeper_while_copies_take_places(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    depths = asked_for(index, monkeypatch)
    first, last = index.clip_vectors("c000")[0], index.clip_vectors("c299")[0]
    found = answer(None, index, first[None], Wanted(clips=5, min_cosine=float(first @ last) + 1e-7))
    assert len(found.hits) == 2 and depths[-1] == 320, "after all 300 there is nothing more"


def test_what_may_not_be_found_hides_nothing(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    depths = asked_for(index, monkeypatch)
    gone = frozenset({"c000", "c002"})
    query = index.clip_vectors("c000")
    found = answer(None, index, query, Wanted(clips=3, gone=gone))
    assert [hit.clip_id for hit in found.hits] == ["c001", "c003", "c004"] and depths == [5]
    folded = answer(None, index, query, Wanted(clips=2, gone=gone, without="c003", min_cosine=1e-6))
    assert folded.hits[0].clip_id == "c001" and not {"c000", "c002", "c003"} & set(folded.folded["c001"])
    monkeypatch.setattr(question, "MOST_GONE", 1)
    found = answer(None, index, query, Wanted(clips=3, gone=frozenset(CLIPS[:100])))
    assert [hit.clip_id for hit in found.hits] == CLIPS[100:103]
