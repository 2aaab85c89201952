"""A network, an objective and batches that know nothing of sound, for the training loop."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from models.training.ema import EmaSettings
from models.training.loop import TrainSettings
from models.training.schedule import Schedule
from models.training.step import StepResult

SETTINGS = TrainSettings(
    seed=3,
    total_clips=80,
    schedule=Schedule(peak=1e-2, warmup_clips=16, decay="cosine"),
    ema=EmaSettings(halflife_clips=40, rampup_ratio=0.5),
    report_every_clips=8,
    save_every_clips=8,
)


RANK_SETTINGS = replace(SETTINGS, schedule=Schedule(peak=1e-2, warmup_clips=16), save_every_clips=16)
"""With a rate that does not depend on the length of the run, so that a run may be cut anywhere."""


class Line(nn.Module):
    """Two layers with a buffer and a dropout, so that a resume has everything to get wrong."""

    def __init__(self):
        super().__init__()
        self.enter, self.leave, self.drop = nn.Linear(3, 8), nn.Linear(8, 1), nn.Dropout(0.2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x_B3):
        if self.training:
            self.calls += 1
        return self.leave(self.drop(torch.tanh(self.enter(x_B3))))[:, 0]


def make_line():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Line()


class Blocks(nn.Module):
    """Two blocks between two layers, without dropout; one layer is only used for some batches."""

    def __init__(self):
        super().__init__()
        self.enter, self.leave, self.sometimes = nn.Linear(3, 8), nn.Linear(8, 1), nn.Linear(8, 1)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)) for _ in range(2))

    def forward(self, x_B3):
        h_B8 = self.enter(x_B3)
        for block in self.blocks:
            h_B8 = h_B8 + block(h_B8)
        y_B = self.leave(h_B8)[:, 0]
        is_large_B = x_B3[:, 2] > 1
        return y_B + is_large_B * self.sometimes(h_B8)[:, 0] if bool(is_large_B.any()) else y_B


def make_blocks():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Blocks()


def batch_at(number):
    """Batch of 4 samples of y = x0 - 2 x1."""
    x_B3 = torch.from_numpy(np.random.default_rng([9, number]).standard_normal((4, 3), dtype=np.float32))
    return {"x": x_B3, "y": x_B3[:, 0] - 2 * x_B3[:, 1], "keys": [f"{number}-{row}" for row in range(4)]}


def noisy_square(network, batch, rngs):
    """Squared error with a little noise on the input, drawn for each sample."""
    noise = torch.tensor(np.stack([rng.standard_normal(3, dtype=np.float32) for rng in rngs]))
    loss_B = (network(batch["x"] + 0.1 * noise) - batch["y"]).square()
    return StepResult(loss=loss_B.mean(), tallies={"first": torch.stack([loss_B[0].detach(), torch.ones(())])})


@dataclass(frozen=True)
class Toy:
    settings: TrainSettings = SETTINGS
    make = staticmethod(make_line)
    batch_at = staticmethod(batch_at)
    objective = staticmethod(noisy_square)

    def with_settings(self, **changes):
        return replace(self, settings=replace(self.settings, **changes))
