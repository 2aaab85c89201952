"""Averages of which one of any width can be made when the run is over, and their snapshots on the disk.

averages/clips-000012000-width-0.050.safetensors
"""

import os
import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from models.training.ema import local
from models.training.run_folder import sync_path

WIDTHS = (0.05, 0.1)
"""Relative standard deviations of the two averages. Source: Karras et al. 2024, arXiv 2312.02696, section 3.1."""

MAX_WIDTH = 12**-0.5
"""That of the plain mean of all weights, exponent 0."""

_NAME = re.compile(r"clips-(\d+)-width-(0\.\d+)\.safetensors")


class PowerAverages:
    """Averages of a network by power functions of time, from which one of any width can be made after the run.

    The average after t clips weighs the weights of clip s by (g + 1) s^g / t^(g + 1). Source: Karras et al. 2024,
    arXiv 2312.02696, section 3.1 and appendix C: two averages and their snapshots over the run span all others.

    Args:
        network: Whose parameters are averaged.
        widths: Their relative standard deviations (sigma_rel), between 0 and 0.28.
    """

    def __init__(self, network: nn.Module, widths: Sequence[float] = WIDTHS) -> None:
        self.widths = tuple(widths)
        self.networks = tuple(deepcopy(network).eval().requires_grad_(False) for _ in self.widths)

    @torch.no_grad()
    def update(self, network: nn.Module, *, clips: int, clips_before: int) -> None:
        """Takes the weights after `clips` more clips in: average = beta average + (1 - beta) weights."""
        for width, averaged in zip(self.widths, self.networks, strict=True):
            beta = (1 - clips / (clips_before + clips)) ** (power_of(width) + 1)
            averages: list[Tensor] = [local(one) for one in averaged.parameters()]
            torch._foreach_lerp_(averages, [local(one) for one in network.parameters()], 1 - beta)
            for average, buffer in zip(averaged.buffers(), network.buffers(), strict=True):
                average.copy_(buffer)


def power_of(width: float) -> float:
    """The exponent g of the power function of relative standard deviation `width`.

    Source: the same, equation 127: g solves width^2 = (g + 1) / ((g + 2)^2 (g + 3)).

    Raises:
        ValueError: if no exponent >= 0 has it.
    """
    if not 0 < width <= MAX_WIDTH:
        raise ValueError(f"width is {width}: it goes from above 0 to {MAX_WIDTH:.4f}")
    inverse = width**-2
    roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])
    return float(roots.real.max())


def posthoc_weights(clips: Sequence[int], widths: Sequence[float], *, at: int, width: float) -> np.ndarray:
    """How snapshots are weighed so that their sum is nearest to the average of another width.

    Args:
        clips: When each snapshot was taken, clips.
        widths: Of which average each is.
        at: The time whose average is wanted, clips.
        width: Its relative standard deviation.

    Returns:
        float64, one weight a snapshot, of sum 1: the least squares between the averages' profiles over time.
        Source: the same, appendix C.2.
    """
    times, powers = np.asarray(clips, np.float64), np.array([power_of(one) for one in widths])
    among = _product(times[:, None], powers[:, None], times[None], powers[None])
    wanted = _product(times, powers, np.float64(at), np.float64(power_of(width)))
    weights = np.linalg.lstsq(among, wanted, rcond=None)[0]
    return np.asarray(weights / weights.sum())


def _product(
    t_a: np.ndarray, power_a: np.ndarray, t_b: np.ndarray | np.float64, power_b: np.ndarray | np.float64
) -> np.ndarray:
    """Integral of the product of two profiles (g + 1) s^g / t^(g + 1), s from 0 to the earlier t."""
    earlier = np.minimum(t_a, t_b)
    ratio = (earlier / t_a) ** power_a * (earlier / t_b) ** power_b * earlier / (t_a * t_b)
    return np.asarray((power_a + 1) * (power_b + 1) / (power_a + power_b + 1) * ratio)


def save_snapshots(averages: PowerAverages, folder: Path, *, clips: int, is_first: bool = True) -> None:
    """Writes the averages after `clips` clips, each whole or not at all; all processes call it, the first writes."""
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(".partial-*") if is_first else ():
        left_over.unlink()
    for width, network in zip(averages.widths, averages.networks, strict=True):
        tensors = {}
        for name, tensor in network.state_dict().items():
            whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if is_first:
                tensors[name] = whole.detach().cpu().contiguous()
        if is_first:
            final = folder / f"clips-{clips:09d}-width-{width:.3f}.safetensors"
            partial = folder / f".partial-{final.name}-{os.getpid()}"
            save_file(tensors, partial)
            sync_path(partial)
            partial.replace(final)


def posthoc_average(folder: Path, *, width: float, at: int | None = None) -> dict[str, Tensor]:
    """The state of a network, averaged with a width that may be chosen after the run.

    Args:
        folder: Of the snapshots.
        width: Relative standard deviation, within or near those of the snapshots.
        at: After so many clips; None: at the newest snapshot.

    Returns:
        float32 tensors; buffers that are not floats as in the newest snapshot.

    Raises:
        FileNotFoundError: if there are no snapshots up to then.
    """
    found = sorted(
        (int(match[1]), float(match[2]), path)
        for path in folder.glob("clips-*.safetensors")
        if (match := _NAME.fullmatch(path.name))
    )
    at = found[-1][0] if at is None and found else at
    used = [one for one in found if at is not None and one[0] <= at]
    if at is None or not used:
        raise FileNotFoundError(f"{folder} has no snapshots of averages; a run keeps them with `snapshot_every_clips`")
    weights = posthoc_weights([one[0] for one in used], [one[1] for one in used], at=at, width=width)
    average: dict[str, Tensor] = {}
    for weight, (_, _, path) in zip(weights, used, strict=True):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  -- not a mapping
                tensor = file.get_tensor(name)
                if not tensor.is_floating_point():
                    average[name] = tensor
                else:
                    average[name] = average.get(name, 0.0) + weight * tensor.double()
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in average.items()}
