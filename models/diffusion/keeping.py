"""Known data in a sample: where they are known, the sample follows the path that leads to them; elsewhere the network.

So a gap in a sound is filled, or a sound goes on, with any solver: it sees at every time what the known part would be
then, and comes out at the known data.

Shapes: B batch, F latent frames, D latent channels.
"""

import torch
from torch import Tensor

from models.diffusion.paths import Path, beside
from models.diffusion.solvers import Velocity


def keeping(velocity: Velocity, path: Path, *, known_BFD: Tensor, is_known_BF: Tensor) -> Velocity:
    """A velocity that leads to the known data where they are known.

    Source: the replacement of Lugmayr et al. 2022, arXiv 2201.09865 (without its resampling), along the path that the
    known data and the noise that is in the sample at the time fix: every solver's estimate of the known data is exact,
    also that of one that draws noise anew.

    Args:
        velocity: What the network predicts.
        path: Of the network.
        known_BFD: Data; of any value where they are not known.
        is_known_BF: bool.
    """

    def kept(x_BFD: Tensor, t_B: Tensor) -> Tensor:
        alpha_B, sigma_B = path.weights(t_B)
        noise_BFD = (x_BFD - beside(alpha_B, x_BFD) * known_BFD) / beside(sigma_B, x_BFD)
        target_BFD = path.target(known_BFD, noise_BFD, t_B)
        return torch.where(is_known_BF[..., None], target_BFD, velocity(x_BFD, t_B))

    return kept
