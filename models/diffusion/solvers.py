"""Solvers that follow a path from noise back to data.

A solver knows no network: it takes any `velocity(x, t_B)` (what the network predicts), a start x, and falling times.
`euler` and `heun` integrate dx/dt = v, which holds on `RectifiedFlow`. `dpm_solver_2m` works on any path.

Shapes: x (B, ...); t_B (B,); times (S + 1,) from 1 to 0.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from models.diffusion.paths import Path

Velocity = Callable[[Tensor, Tensor], Tensor]
OnStep = Callable[[int, int], None]


def euler(velocity: Velocity, x: Tensor, times: Tensor, path: Path, on_step: OnStep | None = None) -> Tensor:
    """First order, one call of the velocity a step: x' = x + (t' - t) v(x, t).

    Args:
        velocity: Predicts dx/dt.
        x: The start at `times[0]`, (B, ...).
        times: Falling times, (S + 1,).
        path: Unused; every solver takes the same arguments.
        on_step: Called with (steps done, steps in all).

    Returns:
        x at `times[-1]`.
    """
    for step, (t, t_next) in enumerate(pairwise(times.tolist())):
        x = x + (t_next - t) * velocity(x, _of_batch(t, x))
        _tell(on_step, step + 1, times)
    return x


def heun(velocity: Velocity, x: Tensor, times: Tensor, path: Path, on_step: OnStep | None = None) -> Tensor:
    """Second order, two calls a step but one in the last: the mean of the slopes at both ends (trapezoid rule).

    Source: Karras et al. 2022, arXiv 2206.00364, algorithm 1, whose last step is Euler's too. Arguments as in `euler`.
    """
    for step, (t, t_next) in enumerate(pairwise(times.tolist())):
        slope = velocity(x, _of_batch(t, x))
        ahead = x + (t_next - t) * slope
        if t_next > 0:
            slope = (slope + velocity(ahead, _of_batch(t_next, x))) / 2
            ahead = x + (t_next - t) * slope
        x = ahead
        _tell(on_step, step + 1, times)
    return x


def dpm_solver_2m(velocity: Velocity, x: Tensor, times: Tensor, path: Path, on_step: OnStep | None = None) -> Tensor:
    """DPM-Solver++(2M): second order with one call a step, by remembering the last estimate of the data.

    Source: Lu et al. 2022, arXiv 2211.01095, algorithm 2. With lambda = log(alpha / sigma), h its step and
    r = h_last / h: D = (1 + 1/(2r)) D_i - 1/(2r) D_(i-1) and x' = (sigma'/sigma) x - alpha' (exp(-h) - 1) D.
    The steps that touch either end, where h is infinite, are of first order, and so is the one after a step from t = 1.
    Arguments as in `euler`.
    """
    last_data: Tensor | None = None
    last_h = torch.inf
    for step, (t, t_next) in enumerate(pairwise(times.double())):
        alpha, sigma = path.weights(t)
        alpha_next, sigma_next = path.weights(t_next)
        h = float(torch.log(alpha_next / sigma_next) - torch.log(alpha / sigma)) if t_next > 0 and t < 1 else torch.inf
        t_B = _of_batch(float(t), x)
        data = path.data(x, velocity(x, t_B), t_B)
        ahead = data
        if last_data is not None and h < torch.inf and last_h < torch.inf:
            ahead = data + (data - last_data) * (h / (2 * last_h))
        # alpha' (1 - exp(-h)), written so that it holds at both ends.
        shrink = float(sigma_next / sigma)
        x = shrink * x + float(alpha_next - alpha * shrink) * ahead
        last_data, last_h = data, h
        _tell(on_step, step + 1, times)
    return x


SOLVERS = {"euler": euler, "heun": heun, "dpm_solver_2m": dpm_solver_2m}


def _of_batch(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.float32, device=x.device)


def _tell(on_step: OnStep | None, done: int, times: Tensor) -> None:
    if on_step is not None:
        on_step(done, len(times) - 1)
