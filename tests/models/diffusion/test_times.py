"""Times: drawn in range with the published distribution, laid out evenly."""

import math

import numpy as np
import pytest
import torch

from models.diffusion.times import TimeDraw, exponential_times, sampling_times


@pytest.mark.parametrize("kind", ["uniform", "logit_normal"])
def test_times_are_between_data_and_noise_and_repeat(kind):
    draw = TimeDraw(kind=kind)
    first = [draw.draw(np.random.default_rng([3, n])) for n in range(200)]
    assert first == [draw.draw(np.random.default_rng([3, n])) for n in range(200)]
    assert min(first) >= 0
    assert max(first) <= 1


def test_the_logit_normal_has_its_mean_and_spread():
    rng = np.random.default_rng(0)
    times = np.array([TimeDraw(mean=0.5, std=0.8).draw(rng) for _ in range(20_000)])
    logits = np.log(times / (1 - times))
    assert logits.mean() == pytest.approx(0.5, abs=0.03)
    assert logits.std() == pytest.approx(0.8, abs=0.03)


def test_sampling_times_fall_from_one_to_zero():
    assert sampling_times(4).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize("make", [lambda: sampling_times(0), lambda: TimeDraw(std=0), lambda: TimeDraw(kind="cubic")])
def test_numbers_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"0|cubic"):
        make()


def test_exponential_times_fall_by_equal_factors_of_noise_to_data():
    times = exponential_times(5, sigma_least=0.5, sigma_most=8.0)
    sigmas = torch.tan(times[:-1].double() * math.pi / 2)
    assert sigmas.tolist() == pytest.approx([8, 4, 2, 1, 0.5], rel=1e-4)
    assert times[-1] == 0
    assert (times[1:] < times[:-1]).all()
    assert float(exponential_times(1)[0]) == pytest.approx(math.atan(500) * 2 / math.pi)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"steps": 3, "sigma_least": 9.0, "sigma_most": 8.0}])
def test_exponential_times_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match=r"steps is 0|from 8\.0 to 9\.0"):
        exponential_times(**bad)
