"""The optimizers of a run: AdamW for all parameters, or Muon for the matrices of the blocks and AdamW for the rest."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from models.training.execution import blocks_of


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerSettings:
    """Settings of the optimizers; the rate is the schedule's.

    Attributes:
        name: `adamw`, or `muon`: Muon for matrices inside of blocks, AdamW for all others. Source: Jordan et al. 2024;
            its updates are scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982, equation 4), so that the
            same rates do.
        weight_decay: On matrices only: not on gains, biases and single vectors.
        betas: Of AdamW.
    """

    name: Literal["adamw", "muon"] = "adamw"
    weight_decay: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)

    def __post_init__(self) -> None:
        if self.name not in ("adamw", "muon"):
            raise ValueError(f"optimizer is {self.name!r}: choose 'adamw' or 'muon'")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay is {self.weight_decay}: it cannot be negative")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}: each goes from 0 to below 1")


def optimizers_of(network: nn.Module, settings: OptimizerSettings) -> tuple[torch.optim.Optimizer, ...]:
    """The optimizers over a network's parameters that need a gradient; AdamW is fused where torch has that."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    muon: list[nn.Parameter] = []
    if settings.name == "muon":
        inside = {parameter for block in blocks_of(network) for parameter in block.parameters()}
        muon = [parameter for parameter in trained if parameter.ndim == 2 and parameter in inside]
    rest = [parameter for parameter in trained if not any(parameter is one for one in muon)]
    groups = [
        {"params": [one for one in rest if one.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [one for one in rest if one.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in rest)
    adamw = torch.optim.AdamW(groups, betas=settings.betas, fused=fused)
    if not muon:
        return (adamw,)
    return adamw, torch.optim.Muon(muon, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw")
