"""What a run reports between two lines of its log. Times and means only; it decides nothing."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from models.training.step import StepResult


class Meter:
    """Gathers steps until `report`, which empties it."""

    def __init__(self) -> None:
        self._start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as time in which the step waited for its batch."""
        begun = time.perf_counter()
        yield
        self._waited_s += time.perf_counter() - begun

    def add(self, result: StepResult, *, loss: float, gradient_norm: float, clips: int) -> None:
        """Counts one step."""
        self._steps += 1
        self._clips += clips
        self._loss += loss * clips
        self._gradient_norm += gradient_norm
        for name, tally in result.tallies.items():
            self._tallies[name].append(tally)

    def report(self) -> dict[str, float]:
        """Means since the last report: loss, gradient norm, named tallies, clips a second, share of waiting."""
        seconds = max(time.perf_counter() - self._begun, 1e-9)
        report = {
            "loss": self._loss / max(1, self._clips),
            "gradient_norm": self._gradient_norm / max(1, self._steps),
            "clips_per_s": self._clips / seconds,
            "data_wait_fraction": self._waited_s / seconds,
        }
        for name, tallies in self._tallies.items():
            total, count = torch.stack(tallies).double().sum(0).tolist()
            if count:
                report[name] = total / count
        self._start()
        return report

    def _start(self) -> None:
        self._begun = time.perf_counter()
        self._waited_s = self._loss = self._gradient_norm = 0.0
        self._steps = self._clips = 0
        self._tallies: defaultdict[str, list[Tensor]] = defaultdict(list)
