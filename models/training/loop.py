"""The training loop: evaluate, save, stop?, step, log, in this order, for any network and any objective.

It knows no system, no data format and no command line. A run is determined by its settings and its batches: batch b and
the numbers that step b draws are functions of the seed and b, so that a run that was stopped, or killed, goes on by
being started again, and on a CPU comes to the same bits as one that never stopped. Progress is counted in clips seen.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.training.checkpoint import TrainingState, restore_newest, save_checkpoint
from models.training.ema import Ema, EmaSettings
from models.training.interrupt import StopWish
from models.training.meter import Meter
from models.training.prefetch import BatchAt, Prefetch
from models.training.run_folder import ReportLog
from models.training.schedule import Schedule
from models.training.step import Batch, Objective, StepResult, sample_rngs


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSettings:
    """Settings of a run.

    Attributes:
        seed: Of every number that is drawn.
        total_clips: The run ends once so many clips were seen.
        schedule: Of the learning rate.
        ema: Of the average of the weights.
        weight_decay: Of AdamW, on matrices only: not on gains, biases and single vectors.
        betas: Of AdamW.
        clip_norm: Gradients are scaled down to this norm over all parameters.
        report_every_clips: How often a line is logged.
        save_every_clips: How often a checkpoint is written (and always at the end).
        evaluate_every_clips: How often `on_evaluate` is called, and at the end.
        keep: Checkpoints kept.
    """

    seed: int
    total_clips: int
    schedule: Schedule
    ema: EmaSettings
    weight_decay: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0
    report_every_clips: int = 1_000
    save_every_clips: int = 100_000
    evaluate_every_clips: int = 100_000
    keep: int = 2

    def __post_init__(self) -> None:
        for name in ("total_clips", "report_every_clips", "save_every_clips", "evaluate_every_clips", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: it cannot be negative")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay is {self.weight_decay}: it cannot be negative")
        if not self.clip_norm > 0:
            raise ValueError(f"clip_norm is {self.clip_norm}: it must be above 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}: each goes from 0 to below 1")


Report = Mapping[str, float]
OnReport = Callable[[Report], None]
OnEvaluate = Callable[[TrainingState], Report]


def train(
    network: nn.Module,
    objective: Objective,
    batch_at: BatchAt,
    settings: TrainSettings,
    *,
    folder: Path,
    on_report: OnReport | None = None,
    on_evaluate: OnEvaluate | None = None,
) -> TrainingState:
    """Trains a network on the device it is on, from its newest checkpoint if it has one.

    Args:
        network: Its parameters that need a gradient are trained.
        objective: Called once a step.
        batch_at: Batch b, a mapping with `keys`; called in a thread, ahead of the steps.
        settings: Of the run.
        folder: Of the run: `checkpoints/` and `log.jsonl` are written there.
        on_report: Called with each line of the log.
        on_evaluate: Called with the state; what it returns goes into the log. It draws no global random numbers.

    Returns:
        The state at the end, or where Ctrl-C or SIGTERM stopped the run; `clips_seen` tells which.

    Raises:
        FloatingPointError: if a loss or a gradient is not finite; says which samples. The weights are then as
            before that step, and are not saved.
    """
    state = starting_state(network, settings)
    restore_newest(state, folder / "checkpoints")
    folder.mkdir(parents=True, exist_ok=True)
    log = ReportLog(folder / "log.jsonl", after_step=state.step)
    device = next(network.parameters()).device
    meter, before = Meter(), state.clips_seen
    with StopWish() as stop, Prefetch(batch_at, first=state.step) as batches:
        while True:
            done, moved = state.clips_seen >= settings.total_clips, state.clips_seen > before
            if on_evaluate and _due(before, state.clips_seen, settings.evaluate_every_clips, done and moved):
                _log({**_place(state), **on_evaluate(state)}, log, on_report)
            if _due(before, state.clips_seen, settings.save_every_clips, done or stop.asked):
                save_checkpoint(state, folder / "checkpoints", keep=settings.keep)
            if done or stop.asked:
                return state
            begun, before = time.perf_counter(), state.clips_seen
            with meter.waiting():
                batch = on_device(batches.next(), device)
            take_step(state, objective, batch, settings, meter)
            state.seconds += time.perf_counter() - begun
            last = state.clips_seen >= settings.total_clips
            if _due(before, state.clips_seen, settings.report_every_clips, last):
                _log({**_place(state), **meter.report(), "learning_rate": _rate(state, settings)}, log, on_report)


def starting_state(network: nn.Module, settings: TrainSettings) -> TrainingState:
    """The state of a run before its first step: AdamW (fused where torch has it) and the average, over the network."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    vectors = [parameter for parameter in trained if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in trained)
    optimizer = torch.optim.AdamW(groups, lr=settings.schedule.peak, betas=settings.betas, fused=fused)
    return TrainingState(network=network, ema=Ema(network), optimizer=optimizer)


def take_step(
    state: TrainingState, objective: Objective, batch: Batch, settings: TrainSettings, meter: Meter
) -> StepResult:
    """One step: loss, gradients, the optimizer, the average. Steps and clips are counted last."""
    clips = len(batch["keys"])
    # What modules draw themselves (dropout) comes from torch's own generator: set by the step, a resume repeats it.
    torch.manual_seed(settings.seed * 1_000_003 + state.step)
    device = next(state.network.parameters()).device
    state.network.train()
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        result = objective(state.network, batch, sample_rngs(settings.seed, state.clips_seen, clips))
    result.loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip_norm)
    loss, gradient_norm = torch.stack([result.loss.detach().float(), norm.float()]).tolist()
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        state.optimizer.zero_grad()
        raise FloatingPointError(
            f"step {state.step + 1}: loss {loss}, gradient norm {gradient_norm}; nothing was changed. "
            f"Look at its samples: {', '.join(batch['keys'])}"
        )
    for group in state.optimizer.param_groups:
        group["lr"] = settings.schedule.rate(state.clips_seen + clips, settings.total_clips)
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.ema.update(state.network, settings.ema.decay(clips, state.clips_seen))
    state.step += 1
    state.clips_seen += clips
    meter.add(result, loss=loss, gradient_norm=gradient_norm, clips=clips)
    return result


def on_device(batch: Batch, device: torch.device) -> dict[str, Any]:
    """A batch with its tensors on a device."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }


def _due(before: int, now: int, every: int, last: bool) -> bool:
    """Whether a multiple of `every` was passed by the step from `before` to `now`, or this is the last chance."""
    return last or before // every != now // every


def _place(state: TrainingState) -> dict[str, float]:
    return {"step": state.step, "clips_seen": state.clips_seen, "seconds": round(state.seconds, 3)}


def _rate(state: TrainingState, settings: TrainSettings) -> float:
    return settings.schedule.rate(state.clips_seen, settings.total_clips)


def _log(report: Report, log: ReportLog, on_report: OnReport | None) -> None:
    log.add(report)
    if on_report is not None:
        on_report(report)
