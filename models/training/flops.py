"""How much arithmetic a clip takes, and how much a device could do: what the model FLOPs utilisation is made of."""

from copy import deepcopy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.training.gradients import rows_of
from models.training.step import Batch, Objective, sample_rngs

PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "B200": 2250e12,
    "RTX 4090": 165.2e12,
}
"""Part of a device's name -> dense bfloat16 products with float32 sums, FLOP/s. Source: NVIDIA's data sheets of the SXM
versions (half of what they print with sparsity); RTX 4090: the Ada white paper."""


def flops_a_clip(network: nn.Module, objective: Objective, batch: Batch, *, seed: int) -> float:
    """Floating-point operations of a training step for one clip: products and attention, forward and backward.

    What a run computes again to save memory does not count. It is counted on a copy of the network.

    Args:
        network: Not yet compiled, spread or wrapped.
        objective: Of the run; frozen encoders that run in the step count too.
        batch: Its first clip is taken.
        seed: Of the run.
    """
    device = next(network.parameters()).device.type
    copy = deepcopy(network).train()
    with FlopCounterMode(display=False) as counter, torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        objective(copy, rows_of(batch, 0, 1), sample_rngs(seed, 0, 1)).loss.backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops())


def peak_flops(device: torch.device) -> float | None:
    """What a device can do at most in bfloat16, FLOP/s; None where that is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)
