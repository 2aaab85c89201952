"""Batches are a function of their number; no clip is dropped or seen twice in an epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.shards.batches import BatchPlan

PLANS = st.builds(BatchPlan, n_samples=st.integers(1, 40), batch_size=st.integers(1, 100), seed=st.integers(0, 2**40))


@settings(max_examples=60, deadline=None)
@given(PLANS)
def test_every_epoch_has_every_sample_once(plan: BatchPlan) -> None:
    batches = -(-3 * plan.n_samples // plan.batch_size)
    seen = np.concatenate([plan.indices(b) for b in range(batches)])[: 3 * plan.n_samples]
    for epoch in seen.reshape(3, plan.n_samples):
        assert sorted(epoch.tolist()) == list(range(plan.n_samples))


@settings(max_examples=60, deadline=None)
@given(PLANS, st.integers(0, 50), st.integers(1, 7))
def test_a_batch_depends_on_its_number_alone_and_ranks_share_it(plan: BatchPlan, batch: int, world: int) -> None:
    alone = plan.indices(batch)
    for before in (batch + 3, 0, batch):
        plan.indices(before)
    assert alone.dtype == np.int64 and alone.shape == (plan.batch_size,)
    np.testing.assert_array_equal(plan.indices(batch), alone)
    shared = np.full(plan.batch_size, -1)
    for rank in range(world):
        shared[rank::world] = plan.indices(batch)[rank::world]
    np.testing.assert_array_equal(shared, alone)


def test_the_batch_size_does_not_change_the_order() -> None:
    small = BatchPlan(n_samples=10, batch_size=3, seed=5)
    large = BatchPlan(n_samples=10, batch_size=30, seed=5)
    np.testing.assert_array_equal(np.concatenate([small.indices(b) for b in range(10)]), large.indices(0))
    assert (small.epoch(0), small.epoch(10)) == (0.0, 3.0)


def test_seeds_and_epochs_differ() -> None:
    plan = BatchPlan(n_samples=1000, batch_size=1000, seed=1)
    assert (plan.indices(0) != plan.indices(1)).any()
    assert (plan.indices(0) != BatchPlan(n_samples=1000, batch_size=1000, seed=2).indices(0)).any()
    with pytest.raises(ValueError, match="counted from 0"):
        plan.indices(-1)


@pytest.mark.parametrize("wrong", [{"n_samples": 0}, {"batch_size": 0}, {"seed": -1}])
def test_values_out_of_range_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*not {next(iter(wrong.values()))}"):
        BatchPlan(**{"n_samples": 1, "batch_size": 1, "seed": 0, **wrong})
