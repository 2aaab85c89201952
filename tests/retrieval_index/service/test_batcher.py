"""Batches: results are those of one by one, a bad item fails alone, and work is really done together."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from curation.errors import ArgumentError, StoppedError
from retrieval_index.service.batcher import Batcher
from retrieval_index.service.sharing import SharedEmbedder, shared_searches
from tests.retrieval_index.tones import RATE_HZ
from tests.retrieval_index.toy_embedder import Pitches, tone


def test_each_gets_its_own_result_and_work_is_shared() -> None:
    sizes: list[int] = []

    def work(items: list[int]) -> list[int]:
        sizes.append(len(items))
        time.sleep(0.01)
        return [item * item for item in items]

    batcher = Batcher(work, wait_s=0.02, most=16)
    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(lambda item: batcher([item])[0], range(200))) == [item * item for item in range(200)]
    assert sum(sizes) == 200 == batcher.items and max(sizes) <= 16 and len(sizes) == batcher.batches < 60
    assert batcher([3, 1, 2]) == [9, 1, 4] and batcher([]) == []
    batcher.close()
    with pytest.raises(StoppedError, match="is ending"):
        batcher([1])


def test_a_bad_item_fails_alone() -> None:
    together = threading.Barrier(3)

    def work(items: list[int]) -> list[float]:
        if 0 in items:
            raise ArgumentError("nothing is divided by 0")
        return [1 / item for item in items]

    def ask(item: int) -> float | str:
        together.wait()
        try:
            return batcher([item])[0]
        except ArgumentError as error:
            return str(error)

    batcher = Batcher(work, wait_s=0.05)
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(ask, [1, 0, 2])) == [1.0, "nothing is divided by 0", 0.5]
    batcher.close()


def test_items_of_one_kind_are_worked_on_together() -> None:
    seen: list[set[int]] = []

    def work(items: list[str]) -> list[str]:
        seen.append({len(item) for item in items})
        return items

    batcher = Batcher(work, kind=len, wait_s=0.02)
    assert batcher(["a", "bb", "c", "dd"]) == ["a", "bb", "c", "dd"]
    assert all(len(lengths) == 1 for lengths in seen)
    batcher.close()


def test_a_shared_embedder_says_what_the_embedder_says() -> None:
    plain, shared = Pitches(), SharedEmbedder(Pitches())
    sounds = np.stack([tone(pitch, 1, RATE_HZ) for pitch in (220, 440, 880)])
    np.testing.assert_array_equal(shared.embed_sound(sounds), plain.embed_sound(sounds))
    np.testing.assert_array_equal(shared.embed_text(["440", "220"]), plain.embed_text(["440", "220"]))
    assert shared.identity() == plain.identity() and shared.dimension == 4
    with pytest.raises(ValueError):
        shared.embed_text(["no pitch"])
    shared.close()
    shared_searches().close()


@pytest.mark.parametrize("wrong", [{"wait_s": -1}, {"most": 0}])
def test_bounds(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        Batcher(list, **wrong)
