"""Batches are a function of their number; no clip is dropped or seen twice in an epoch; mixtures keep their weights."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.shards.batches import BLOCK, BatchPlan, Indices, Interleave


def one_source(clips: int, batch_size: int, seed: int) -> BatchPlan:
    return BatchPlan(sizes=((clips,),), batch_size=batch_size, seed=seed)


def indices(plan: BatchPlan, batch: int) -> Indices:
    return plan.batch(batch).clips


PLANS = st.builds(one_source, st.integers(1, 40), st.integers(1, 100), st.integers(0, 2**40))
MIXED = st.builds(
    lambda sizes, batch_size, seed: BatchPlan(sizes=tuple(sizes), batch_size=batch_size, seed=seed, weights=(3.0, 1.0)),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 30)), min_size=1, max_size=3),
    st.integers(1, 50),
    st.integers(0, 2**40),
)


@settings(max_examples=60, deadline=None)
@given(PLANS)
def test_every_epoch_has_every_sample_once(plan: BatchPlan) -> None:
    clips = plan.sizes[0][0]
    batches = -(-3 * clips // plan.batch_size)
    seen = np.concatenate([indices(plan, b) for b in range(batches)])[: 3 * clips]
    for epoch in seen.reshape(3, clips):
        assert sorted(epoch.tolist()) == list(range(clips))


@settings(max_examples=60, deadline=None)
@given(st.one_of(PLANS, MIXED), st.integers(0, 50))
def test_a_batch_depends_on_its_number_alone(plan: BatchPlan, batch: int) -> None:
    alone = plan.batch(batch)
    for before in (batch + 3, 0, batch):
        plan.batch(before)
    again = plan.batch(batch)
    assert alone.clips.dtype == np.int64 and alone.clips.shape == alone.sources.shape == (plan.batch_size,)
    assert again.bucket == alone.bucket
    np.testing.assert_array_equal(again.sources, alone.sources)
    np.testing.assert_array_equal(again.clips, alone.clips)


@settings(max_examples=30, deadline=None)
@given(MIXED)
def test_in_a_mixture_no_clip_of_a_bucket_comes_twice_before_all_came_once(plan: BatchPlan) -> None:
    seen: dict[tuple[int, int], list[int]] = {}
    for number in range(40):
        places = plan.batch(number)
        for source, clip in zip(places.sources.tolist(), places.clips.tolist(), strict=True):
            seen.setdefault((places.bucket, source), []).append(clip)
    for (bucket, source), clips in seen.items():
        size = plan.sizes[bucket][source]
        for begin in range(0, len(clips) - size + 1, size):
            assert sorted(clips[begin : begin + size]) == list(range(size))


def test_a_mixture_keeps_its_weights_whatever_the_sizes() -> None:
    """Two sources of 10 and 1,000,000 clips, 0.3 to 0.7: exactly so in every block of draws."""
    plan = BatchPlan(sizes=((10, 1_000_000),), batch_size=BLOCK // 10, seed=4, weights=(0.3, 0.7))
    for block in range(3):
        drawn = np.concatenate([plan.batch(10 * block + b).sources for b in range(10)])
        assert Counter(drawn.tolist()) == {0: 3 * BLOCK // 10, 1: 7 * BLOCK // 10}
    assert (plan.batch(0).sources != plan.batch(10).sources).any(), "in another order"


def test_without_weights_shares_are_by_clips() -> None:
    plan = BatchPlan(sizes=((250, 750),), batch_size=BLOCK, seed=0)
    assert Counter(plan.batch(0).sources.tolist()) == {0: BLOCK // 4, 1: 3 * BLOCK // 4}


def test_a_batch_is_of_one_bucket_and_buckets_come_as_often_as_they_have_clips() -> None:
    """Of 400 clips 300 are in the second bucket; a source with half the weight has its half in the bucket it has."""
    plan = BatchPlan(sizes=((100,), (300,)), batch_size=5, seed=2)
    assert Counter(plan.batch(b).bucket for b in range(BLOCK)) == {0: BLOCK // 4, 1: 3 * BLOCK // 4}
    mixed = BatchPlan(sizes=((100, 0), (0, 300)), batch_size=5, seed=2, weights=(1.0, 1.0))
    assert Counter(mixed.batch(b).bucket for b in range(BLOCK)) == {0: BLOCK // 2, 1: BLOCK // 2}
    assert set(mixed.batch(0).sources.tolist()) == {mixed.batch(0).bucket}


def test_small_shares_are_not_lost_and_too_many_are_refused() -> None:
    counts = Interleave((0.99999, 0.00001), (0,)).counts
    assert counts.tolist() == [BLOCK - 1, 1]
    with pytest.raises(ValueError, match="do not fit"):
        _ = Interleave(tuple([1 / (2 * BLOCK)] * (2 * BLOCK)), (0,)).counts


def test_the_batch_size_does_not_change_the_order() -> None:
    small, large = one_source(10, 3, 5), one_source(10, 30, 5)
    np.testing.assert_array_equal(np.concatenate([indices(small, b) for b in range(10)]), indices(large, 0))


def test_seeds_and_epochs_differ() -> None:
    plan = one_source(1000, 1000, 1)
    assert (indices(plan, 0) != indices(plan, 1)).any()
    assert (indices(plan, 0) != indices(one_source(1000, 1000, 2), 0)).any()
    with pytest.raises(ValueError, match="counted from 0"):
        plan.batch(-1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"batch_size": 0}, "batch_size.*not 0"),
        ({"seed": -1}, "seed.*not -1"),
        ({"sizes": ()}, "clip in every bucket"),
        ({"sizes": ((0,),)}, "clip in every bucket"),
        ({"sizes": ((1,), (1, 2))}, "as many sources"),
        ({"weights": (1.0, 2.0)}, "as many sources"),
        ({"weights": (0.0,)}, "above 0"),
        ({"weights": (float("inf"),)}, "above 0"),
    ],
)
def test_values_out_of_range_are_named(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        BatchPlan(**{"sizes": ((1,),), "batch_size": 1, "seed": 0, **wrong})  # type: ignore[arg-type]
