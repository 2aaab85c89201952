"""Paths: ends, targets that are the slope, data read back."""

import math

import pytest
import torch

from models.diffusion.paths import PATHS, mixed, squared_error


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(5, 7, 3, generator=generator, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("name", ["flow", "v"])
def test_a_path_runs_from_data_to_noise(name, pair):
    data, noise = pair
    path = PATHS[name]
    torch.testing.assert_close(mixed(path, data, noise, torch.zeros(5, dtype=torch.float64)), data)
    torch.testing.assert_close(mixed(path, data, noise, torch.ones(5, dtype=torch.float64)), noise)


@pytest.mark.parametrize("name", ["flow", "v"])
def test_data_are_read_back_from_the_true_target(name, pair):
    data, noise = pair
    path = PATHS[name]
    t_B = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0], dtype=torch.float64)
    found = path.data(mixed(path, data, noise, t_B), path.target(data, noise, t_B), t_B)
    torch.testing.assert_close(found, data)


@pytest.mark.parametrize(("name", "per_time"), [("flow", 1.0), ("v", math.pi / 2)])
def test_the_target_is_the_slope_of_the_path(name, per_time, pair):
    data, noise = pair
    path = PATHS[name]
    t_B, step = torch.full((5,), 0.3, dtype=torch.float64), 1e-6
    slope = (mixed(path, data, noise, t_B + step) - mixed(path, data, noise, t_B - step)) / (2 * step)
    torch.testing.assert_close(slope, per_time * path.target(data, noise, t_B), atol=1e-6, rtol=1e-6)


def test_v_prediction_keeps_unit_variance_and_flow_does_not():
    half = torch.tensor(0.5, dtype=torch.float64)
    alpha, sigma = PATHS["v"].weights(half)
    assert float(alpha**2 + sigma**2) == pytest.approx(1.0)
    alpha, sigma = PATHS["flow"].weights(half)
    assert float(alpha**2 + sigma**2) == pytest.approx(0.5)


def test_the_error_is_a_mean_over_each_sample():
    predicted = torch.zeros(2, 3, 4)
    target = torch.stack([torch.full((3, 4), 2.0), torch.full((3, 4), -3.0)])
    assert squared_error(predicted, target).tolist() == [4.0, 9.0]
