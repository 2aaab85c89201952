"""Known data in a sample: where they are known, the sample follows the path that leads to them; elsewhere the network.

So a gap in a sound is filled, or a sound goes on, with any solver: it sees at every time what the known part would be
then, from the same noise, and comes out at the known data.

Shapes: B batch, F latent frames, D latent channels.
"""

import torch
from torch import Tensor

from models.diffusion.paths import Path
from models.diffusion.solvers import Velocity


def keeping(velocity: Velocity, path: Path, *, known_BFD: Tensor, noise_BFD: Tensor, is_known_BF: Tensor) -> Velocity:
    """A velocity that leads to the known data where they are known.

    Source: the replacement of Lugmayr et al. 2022, arXiv 2201.09865 (without its resampling), along the path that the
    noise and the data fix; on a straight path the known part then is exact at every time and with any number of steps.

    Args:
        velocity: What the network predicts.
        path: Of the network.
        known_BFD: Data; of any value where they are not known.
        noise_BFD: What the solver starts from.
        is_known_BF: bool.
    """

    def kept(x_BFD: Tensor, t_B: Tensor) -> Tensor:
        target_BFD = path.target(known_BFD, noise_BFD, t_B)
        return torch.where(is_known_BF[..., None], target_BFD, velocity(x_BFD, t_B))

    return kept
