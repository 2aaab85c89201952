"""Solvers against the analytic answer of a Gaussian target, and their order of convergence."""

import math

import pytest
import torch

from models.diffusion.paths import PATHS, beside
from models.diffusion.solvers import dpm_solver_2m, euler, heun
from models.diffusion.times import sampling_times

MEAN, STD = 1.5, 0.4


def gaussian_velocity(path):
    """What a perfect network predicts where data are normal with MEAN and STD: from the posterior mean of the data.

    E[x | z] = m + a s^2 (z - a m) / (a^2 s^2 + b^2), a and b the path's weights; the noise follows from z = a x + b e.
    """

    def velocity(z, t_B):
        t_B = t_B.double()
        alpha, sigma = (beside(weight, z) for weight in path.weights(t_B))
        data = MEAN + alpha * STD**2 * (z - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)
        noise = (z - alpha * data) / sigma
        return path.target(data, noise, t_B)

    return velocity


def error(solver, name, times):
    """Largest distance from the exact end: along the flow (z - a m) / sqrt(a^2 s^2 + b^2) does not change."""
    path = PATHS[name]
    (start_mean, start_std), (end_mean, end_std) = (_normal_at(path, t) for t in (times[0], times[-1]))
    c = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(9, 1, 1)
    end = solver(gaussian_velocity(path), start_mean + start_std * c, times, path)
    return float((end - (end_mean + end_std * c)).abs().max())


def _normal_at(path, t):
    alpha, sigma = path.weights(t.double())
    return alpha * MEAN, torch.sqrt(alpha**2 * STD**2 + sigma**2)


SOLVED = [(euler, "flow", 1), (heun, "flow", 2), (dpm_solver_2m, "v", 2), (dpm_solver_2m, "flow", 2)]


@pytest.mark.parametrize(("solver", "name", "order"), SOLVED)
def test_a_solver_has_its_order_away_from_the_ends(solver, name, order):
    coarse, fine = (error(solver, name, torch.linspace(0.9, 0.1, steps + 1)) for steps in (80, 160))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize(("solver", "name", "order"), SOLVED)
def test_a_solver_reaches_the_data_from_the_noise(solver, name, order):
    # An error of a 40th of the target's spread; first order needs more steps for it.
    assert error(solver, name, sampling_times(60 if order == 2 else 400)) < STD / 40


def test_euler_is_exact_on_straight_lines():
    start = torch.randn(3, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slope = torch.arange(24, dtype=torch.float64).reshape(3, 4, 2)
    for steps in (1, 7):
        end = euler(lambda x, t_B: slope, start, sampling_times(steps), PATHS["flow"])
        torch.testing.assert_close(end, start - slope)


def test_one_step_of_dpm_solver_is_the_estimate_of_the_data():
    path, start = PATHS["v"], torch.ones(2, 3, 1, dtype=torch.float64)
    end = dpm_solver_2m(gaussian_velocity(path), start, sampling_times(1), path)
    torch.testing.assert_close(end, torch.full_like(end, MEAN), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("solver", "calls"), [(euler, 5), (heun, 9), (dpm_solver_2m, 5)])
def test_calls_are_counted_and_progress_is_told(solver, calls):
    times, told = [], []

    def velocity(x, t_B):
        times.append(t_B.tolist())
        return torch.zeros_like(x)

    solver(
        velocity, torch.zeros(2, 1, 1), sampling_times(5), PATHS["flow"], lambda done, total: told.append((done, total))
    )
    assert len(times) == calls
    assert times[0] == [1.0, 1.0]
    assert told == [(n, 5) for n in range(1, 6)]
