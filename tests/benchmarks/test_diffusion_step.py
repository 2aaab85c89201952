"""Steps that are compared: the gradient and its norm by arithmetic, draws as an objective's, unequal losses refused."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks._diffusion_step import compared, compared_compiled, drawn, flops_of, in_bins, optimised
from models.diffusion.discrete import DiscreteSchedule
from models.training.step import sample_rngs


def test_a_step_says_the_loss_before_it_and_follows_the_gradient() -> None:
    """AdamW's first step moves by its rate against the sign of the gradient, and 1e-6 of the weight decays."""
    weight = nn.Parameter(torch.tensor([3.0, -4.0]))
    step = optimised(lambda: weight.square().sum(), [weight], fused=False)
    assert step() == 25.0
    assert weight.tolist() == pytest.approx([3 - 1e-4 - 3e-6, -4 + 1e-4 + 4e-6], abs=1e-7)
    assert weight.grad is None


def test_levels_and_noise_are_drawn_clip_by_clip() -> None:
    schedule = DiscreteSchedule()
    levels, noise = drawn(schedule, sample_rngs(0, 0, 3), (2, 5))
    for row, rng in enumerate(sample_rngs(0, 0, 3)):
        assert levels[row] == schedule.draw(rng)
        assert (noise[row].numpy() == rng.standard_normal((2, 5), np.float32)).all()


def test_latents_lie_channel_by_channel() -> None:
    latents_BFD = torch.arange(2 * 3 * 16).reshape(2, 3, 16)
    bins_BZFW = in_bins(latents_BFD)
    assert bins_BZFW.shape == (2, 8, 3, 2) and bins_BZFW.is_contiguous()
    assert bins_BZFW[1, 5, 2].tolist() == latents_BFD[1, 2, 10:12].tolist()


def test_two_steps_are_compared_where_their_losses_are_the_same() -> None:
    ones = torch.ones(4, 4)

    def step() -> float:
        return float((ones @ ones).mean())

    assert flops_of(step) == 2 * 4**3
    found = compared(step, step, clips=2, rounds=1)
    assert found["gflop_a_clip"] == found["peer_gflop_a_clip"] == 4**3 / 1e9
    assert float(found["ratio"]) == pytest.approx(float(found["clips_a_second"]) / float(found["peer_clips_a_second"]))
    with pytest.raises(AssertionError, match="Not equal"):
        compared(step, lambda: 4.01, clips=2, rounds=1)
    assert float(compared_compiled(step, step, rounds=1)["compiled_ratio"]) > 0
    with pytest.raises(AssertionError, match="Not equal"):
        compared_compiled(step, lambda: 4.01, rounds=1)
