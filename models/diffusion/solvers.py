"""Solvers that follow a path from noise back to data.

A solver knows no network: it takes any `velocity(x, t_B)` (what the network predicts), a start x, and falling times.
`euler` and `heun` integrate dx/dt = v, which holds on `RectifiedFlow`. `dpm_solver_2m` and
`dpm_solver_3m_sde`, which draws noise on its way, work on any path.

Shapes: x (B, ...); t_B (B,); times (S + 1,) from 1 to 0.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from models.diffusion.paths import Path

Velocity = Callable[[Tensor, Tensor], Tensor]
OnStep = Callable[[int, int], None]
Fresh = Callable[[int], Tensor]


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


def dpm_solver_3m_sde(
    velocity: Velocity, x: Tensor, times: Tensor, path: Path, on_step: OnStep | None = None, *, fresh: Fresh
) -> Tensor:
    """SDE-DPM-Solver++(3M): third order with one call a step; each step also forgets noise and draws as much anew.

    Source: the stochastic form is Lu et al. 2022, arXiv 2211.01095, equation 14 (there of first and second order); its
    third order is Crowson's `sample_dpmpp_3m_sde` (k-diffusion, 2023), here derived anew. With y = x / alpha,
    s = sigma / alpha, lambda = -log s and D the estimate of the data, the equation dy = 2 (y - D) dlambda + noise has
    the solution y' = q y + (integral of 2 exp(-2 (lambda' - l)) D(l) dl) + s' sqrt(1 - q) n, q = (s'/s)^2, for normal
    n. D is taken as the parabola in lambda through the last three estimates, as a line through two after the first
    step, and as one value at the start and wherever s or s' is at an end, 0 or infinite.

    Args:
        velocity: What the network predicts.
        x: The start at `times[0]`, (B, ...).
        times: Falling times, (S + 1,).
        path: Of the network.
        on_step: Called with (steps done, steps in all).
        fresh: Standard normal noise like x for a step, counted from 0.

    Returns:
        x at `times[-1]`.
    """
    past: list[tuple[float, Tensor]] = []  # lambda and estimate, the last one first
    for step, (t, t_next) in enumerate(pairwise(times.double())):
        alpha, sigma = (float(weight) for weight in path.weights(t))
        alpha_next, sigma_next = (float(weight) for weight in path.weights(t_next))
        t_B = _of_batch(float(t), x)
        data = path.data(x, velocity(x, t_B), t_B)
        if t_next <= 0:  # all noise goes: what is left is the estimate
            x = alpha_next * data
        else:
            at = -math.inf if t >= 1 else math.log(alpha / sigma)
            h = math.log(alpha_next / sigma_next) - at
            kept = math.exp(-2 * h)  # q, the share of the noise's variance that stays
            # alpha' q x / alpha, written so that it holds where alpha is 0.
            x = (sigma_next / sigma) ** 2 * (alpha / alpha_next) * x + alpha_next * (1 - kept) * data
            if past and h < math.inf:
                x = x + alpha_next * _bent(data, past, at, h)
            x = x + sigma_next * math.sqrt(1 - kept) * fresh(step)
            past = [(at, data), *past[:1]] if at > -math.inf else []
        _tell(on_step, step + 1, times)
    return x


def _bent(data: Tensor, past: Sequence[tuple[float, Tensor]], at: float, h: float) -> Tensor:
    """What the slope of the data's estimate, and its curvature where it is known, add to a step of the SDE.

    With u = l - lambda, D = data + slope u + curve u^2. The weight is 2 exp(-2 (h - u)) on 0 <= u <= h; its integrals
    times u and u^2 are w1 = h - (1 - exp(-2 h)) / 2 and w2 = h^2 - w1. k-diffusion adds w2 / 2 in place of w2; on a
    normal target the error of the spread is then twice as large.
    """
    w1 = h + math.expm1(-2 * h) / 2
    before, last = past[0]
    slope = (data - last) / (at - before)
    if len(past) < 2:
        return w1 * slope
    (earlier, first), reach = past[1], at - past[1][0]
    curve = (slope - (last - first) / (before - earlier)) / reach  # Newton's divided differences
    return w1 * (slope + curve * (at - before)) + (h * h - w1) * curve


SOLVERS = {"euler": euler, "heun": heun, "dpm_solver_2m": dpm_solver_2m}
STOCHASTIC = {"dpm_solver_3m_sde": dpm_solver_3m_sde}
"""Solvers that draw noise on their way."""


def _of_batch(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.float32, device=x.device)


def _tell(on_step: OnStep | None, done: int, times: Tensor) -> None:
    if on_step is not None:
        on_step(done, len(times) - 1)
