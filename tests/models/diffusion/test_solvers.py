"""Solvers against the analytic answer of a Gaussian target, and their order of convergence."""

import math

import pytest
import torch

from models.diffusion.paths import PATHS, beside
from models.diffusion.solvers import dpm_solver_2m, dpm_solver_3m_sde, euler, heun
from models.diffusion.times import exponential_times, sampling_times

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


def moments(name, times):
    """Mean and standard deviation of what the stochastic solver makes of the exact start, without drawing anything.

    All is affine in the start and in the noise of each step, so rows that have one unit of one of them show its part.
    """
    path, steps = PATHS[name], len(times) - 1
    mean, std = (float(value) for value in _normal_at(path, times[0]))
    start = torch.full((steps + 2, 1), mean, dtype=torch.float64)
    start[1] += std

    def fresh(step):
        unit = torch.zeros_like(start)
        unit[2 + step] = 1
        return unit

    end = dpm_solver_3m_sde(gaussian_velocity(path), start, times, path, fresh=fresh)[:, 0]
    return float(end[0]), float((end[1:] - end[0]).square().sum().sqrt())


@pytest.mark.parametrize("name", ["flow", "v"])
def test_the_stochastic_solver_keeps_the_marginals(name):
    """Third order but for its first two steps, which leave an error of second order."""
    errors = []
    for steps in (40, 80):
        times = torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64)
        (mean, std), (true_mean, true_std) = moments(name, times), _normal_at(PATHS[name], times[-1])
        assert mean == pytest.approx(float(true_mean), abs=1e-6)
        errors.append(abs(std - float(true_std)))
    assert errors[1] < 2e-4 and 2.4 < math.log2(errors[0] / errors[1]) < 3.2


@pytest.mark.parametrize("name", ["flow", "v"])
def test_the_stochastic_solver_reaches_the_data_from_pure_noise(name):
    mean, std = moments(name, sampling_times(100))
    assert (mean, std) == (pytest.approx(MEAN, abs=1e-5), pytest.approx(STD, rel=0.005))


def test_what_the_authors_sampling_leaves_out_is_the_last_of_the_noise():
    """From a ratio of 0.3 to the estimate in one step: the posterior mean spreads by s^2 / sqrt(s^2 + 0.3^2) = 0.32."""
    mean, std = moments("v", exponential_times(250))
    assert (mean, std) == (pytest.approx(MEAN, abs=1e-5), pytest.approx(0.32, rel=2e-4))


def test_a_step_from_pure_noise_forgets_it():
    """The estimate of the data is MEAN wherever one is: x - t v = MEAN for v = (x - MEAN) / t."""
    noise = torch.tensor([[0.3], [-2.0]])
    for start in (noise, -5 * noise):
        end = dpm_solver_3m_sde(
            lambda x, t_B: (x - MEAN) / beside(t_B, x), start, torch.tensor([1.0, 0.5]), PATHS["flow"],
            fresh=lambda step: noise,
        )  # fmt: skip
        torch.testing.assert_close(end, 0.5 * MEAN + 0.5 * noise)
