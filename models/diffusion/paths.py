"""Paths between data and noise, and what a network is asked to predict along them.

Time runs from 0 (data) to 1 (noise). A path says how the two are mixed, what the target is, and how data are read back
from a prediction. It is not a network, not a draw of the time (`times.py`) and not a solver (`solvers.py`).

Key: x data, e noise of unit variance, z_t their mixture at time t, alpha_t and sigma_t its two weights.
Shapes: (B, ...) for x, e, z; (B,) for t.
"""

import math
from typing import Protocol

import torch
from torch import Tensor


class Path(Protocol):
    """z_t = alpha_t x + sigma_t e, and the quantity v that a network predicts from z_t and t."""

    def weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t, each of the shape of t."""

    def target(self, data: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
        """What the network should predict."""

    def data(self, mixed: Tensor, predicted: Tensor, t_B: Tensor) -> Tensor:
        """The data that a prediction at z_t stands for."""


class RectifiedFlow:
    """A straight line: z_t = (1 - t) x + t e, and v = dz/dt = e - x.

    Source: Liu et al. 2022, arXiv 2209.03003, equation 1, with time turned round so that 1 is noise, as in
    Esser et al. 2024, arXiv 2403.03206, equation 13.
    """

    def weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t = 1 - t, sigma_t = t."""
        return 1 - t, t

    def target(self, data: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
        """v = e - x."""
        return noise - data

    def data(self, mixed: Tensor, predicted: Tensor, t_B: Tensor) -> Tensor:
        """x = z_t - t v."""
        return mixed - beside(t_B, mixed) * predicted


class VPrediction:
    """A quarter of a circle: z_t = cos(t pi/2) x + sin(t pi/2) e, and v = cos(t pi/2) e - sin(t pi/2) x.

    Source: Salimans and Ho 2022, arXiv 2202.00512, section 4 and appendix D, with phi = t pi/2.
    """

    def weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t = cos(t pi/2), sigma_t = sin(t pi/2)."""
        angle = t * (math.pi / 2)
        return torch.cos(angle), torch.sin(angle)

    def target(self, data: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
        """v = alpha_t e - sigma_t x."""
        alpha_B, sigma_B = self.weights(t_B)
        return beside(alpha_B, noise) * noise - beside(sigma_B, data) * data

    def data(self, mixed: Tensor, predicted: Tensor, t_B: Tensor) -> Tensor:
        """x = alpha_t z_t - sigma_t v."""
        alpha_B, sigma_B = self.weights(t_B)
        return beside(alpha_B, mixed) * mixed - beside(sigma_B, mixed) * predicted


PATHS: dict[str, Path] = {"flow": RectifiedFlow(), "v": VPrediction()}


def mixed(path: Path, data: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
    """z_t = alpha_t x + sigma_t e."""
    alpha_B, sigma_B = path.weights(t_B)
    return beside(alpha_B, data) * data + beside(sigma_B, noise) * noise


def squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample, in float32: (B, ...) twice to (B,)."""
    return (predicted.float() - target.float()).square().flatten(1).mean(1)


def beside(value_B: Tensor, like: Tensor) -> Tensor:
    """One value a sample, shaped to multiply a tensor of samples: (B,) to (B, 1, ...)."""
    return value_B.reshape(-1, *[1] * (like.ndim - 1))
