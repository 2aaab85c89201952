"""What a run reports between two lines of its log. Times and means only; it decides nothing."""

import resource
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from models.training.step import StepResult
from models.training.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Yardstick:
    """By what clips are measured.

    Attributes:
        clip_seconds: Length of a clip, s, where its batch does not say it; None where a clip is no sound.
        flops_a_clip: See `flops.py`; by the length that a clip's batch says it has, None where it says none.
        peak_flops: What all devices can do together, FLOP/s; None where that is not known.
    """

    clip_seconds: float | None = None
    flops_a_clip: Mapping[float | None, float] = field(default_factory=dict)
    peak_flops: float | None = None


class Meter:
    """Gathers steps until `report`, which empties it.

    Args:
        world: The processes; clips and losses are of all of them, times are this one's.
        yardstick: By what clips are measured.
        gathered: What an earlier start of the run gathered and did not report.
    """

    def __init__(
        self,
        world: World | None = None,
        yardstick: Yardstick | None = None,
        gathered: Mapping[str, Any] | None = None,
    ) -> None:
        self._world = world or World(device=torch.device("cpu"))
        self._yardstick = yardstick or Yardstick()
        self._sound_s: float | None = 0.0
        self._flops: float | None = 0.0
        self._start()
        if gathered:
            self._restore(gathered)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as time in which the step waited for its batch."""
        begun = time.perf_counter()
        yield
        self._waited_s += time.perf_counter() - begun

    def took(self, seconds: float) -> None:
        """Counts time that steps took; evaluating and saving are none of it."""
        self._seconds += seconds

    def add(
        self, result: StepResult, *, loss: float, gradient_norm: float, clips: int, clip_seconds: float | None = None
    ) -> None:
        """Counts one step: `loss` and `clips` of all processes, `result.tallies` of this one.

        Args:
            result: What it came to.
            loss: Its mean.
            gradient_norm: Its gradient's.
            clips: How many clips it saw.
            clip_seconds: Their length, s, where their batch says it.
        """
        length_s = self._yardstick.clip_seconds if clip_seconds is None else clip_seconds
        self._sound_s = _sum(self._sound_s, length_s, clips)
        self._flops = _sum(self._flops, self._yardstick.flops_a_clip.get(clip_seconds), clips)
        self._steps += 1
        self._clips += clips
        self._loss += loss * clips
        self._gradient_norm += gradient_norm
        for name, tally in result.tallies.items():
            self._tallies[name].append(tally)

    def report(self) -> dict[str, float]:
        """Since the last report: means of loss, gradient norm and named tallies; rates; waiting; memory at most."""
        seconds = max(self._seconds, 1e-9)
        clips_per_s = self._clips / seconds
        report = {
            "loss": self._loss / max(1, self._clips),
            "gradient_norm": self._gradient_norm / max(1, self._steps),
            "clips_per_s": clips_per_s,
            "data_wait_fraction": self._waited_s / seconds,
            "memory_gb": self._memory_gb(),
        }
        if self._sound_s is not None:
            report["audio_s_per_s"] = self._sound_s / seconds
        if self._flops is not None:
            report["tflop_per_s"] = self._flops / seconds / 1e12
            if self._yardstick.peak_flops is not None:
                report["mfu"] = self._flops / seconds / self._yardstick.peak_flops
        for name, (total, count) in self._summed().items():
            if count:
                report[name] = total / count
        self._start()
        return report

    def gathered(self) -> dict[str, Any]:
        """What was gathered since the last report, as JSON, so that a run that goes on reports whole intervals."""
        numbers = (self._steps, self._clips, self._loss, self._gradient_norm, self._seconds, self._waited_s)
        return {"numbers": numbers, "tallies": self._summed(), "sound_s": self._sound_s, "flops": self._flops}

    def _restore(self, gathered: Mapping[str, Any]) -> None:
        """The tallies of all processes are put into the first."""
        self._steps, self._clips, self._loss, self._gradient_norm, self._seconds, self._waited_s = gathered["numbers"]
        self._sound_s, self._flops = gathered.get("sound_s"), gathered.get("flops")  # older checkpoints have neither
        if self._world.is_first:
            device = self._world.device
            for name, sums in gathered["tallies"].items():
                self._tallies[name].append(torch.tensor(sums, dtype=torch.float64, device=device))

    def _summed(self) -> dict[str, list[float]]:
        """Sum and count of every tally, over all processes."""
        return {
            name: self._world.summed(torch.stack([one.double() for one in tallies]).sum(0)).tolist()
            for name, tallies in sorted(self._tallies.items())
        }

    def _memory_gb(self) -> float:
        """The most that was in use: on the GPU since the last report; on a CPU the process's, since its start."""
        device = self._world.device
        if device.type != "cuda":
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        used = torch.cuda.max_memory_allocated(device) / 1024**3
        torch.cuda.reset_peak_memory_stats(device)
        return used

    def _start(self) -> None:
        self._seconds = self._waited_s = self._loss = self._gradient_norm = 0.0
        self._steps = self._clips = 0
        self._sound_s = 0.0
        self._flops = 0.0
        self._tallies: defaultdict[str, list[Tensor]] = defaultdict(list)


def _sum(total: float | None, each: float | None, clips: int) -> float | None:
    """A sum over clips; None from where one is not known."""
    return None if total is None or each is None else total + each * clips
