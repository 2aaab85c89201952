"""The training loop: evaluate, save, stop?, step, log, in this order, for any network and any objective.

It knows no system, no data format and no command line. A run is determined by its settings and its batches: batch b and
the numbers that step b draws are functions of the seed and b, so that a run that was stopped, or killed, goes on by
being started again, on any number of processes, and on one CPU comes to the same bits as one that never stopped.
Progress is counted in clips seen. The same function trains on one device, under `torchrun` and under Ray Train.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from models.training.checkpoint import Checkpoints, TrainingState, read_progress
from models.training.checkpoint import checkpoints as checkpoints_in
from models.training.ema import Ema, EmaSettings
from models.training.execution import Execution, gather, prepare_blocks, shard
from models.training.flops import flops_a_clip, peak_flops
from models.training.gradients import Gradients, Notice
from models.training.interrupt import StopWish
from models.training.meter import Meter, Yardstick
from models.training.optimizers import OptimizerSettings, optimizers_of
from models.training.posthoc import PowerAverages, save_snapshots
from models.training.prefetch import BatchAt, Prefetch
from models.training.run_folder import ReportLog, only_run
from models.training.schedule import Schedule
from models.training.step import Batch, Objective
from models.training.world import World

_MEASURED_BATCHES = 8
"""Batches among which every length of clips is looked for. Ours; a rarer length is left out of the report of work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSettings:
    """Settings of a run.

    Attributes:
        seed: Of every number that is drawn.
        total_clips: The run ends once so many clips were seen.
        schedule: Of the learning rate.
        ema: Of the average of the weights.
        optimizer: Of the optimizers.
        clip_norm: Gradients are scaled down to this norm over all parameters.
        snapshot_every_clips: How often averages are kept, of which one of any width can be made after the run
            (`posthoc.py`); None: never.
        clip_seconds: Length of a clip, s, for the report, where batches do not say it; None where a clip is no sound.
        report_every_clips: How often a line is logged.
        save_every_clips: How often a checkpoint is written (and always at the end).
        evaluate_every_clips: How often `on_evaluate` is called, and at the end.
        keep: Checkpoints kept.
    """

    seed: int
    total_clips: int
    schedule: Schedule
    ema: EmaSettings
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    clip_norm: float = 1.0
    snapshot_every_clips: int | None = None
    clip_seconds: float | None = None
    report_every_clips: int = 1_000
    save_every_clips: int = 100_000
    evaluate_every_clips: int = 100_000
    keep: int = 2

    def __post_init__(self) -> None:
        counts = ("total_clips", "report_every_clips", "save_every_clips", "evaluate_every_clips", "keep")
        for name in (*counts, "snapshot_every_clips"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: it cannot be negative")
        if not self.clip_norm > 0:
            raise ValueError(f"clip_norm is {self.clip_norm}: it must be above 0")
        if self.clip_seconds is not None and not self.clip_seconds > 0:
            raise ValueError(f"clip_seconds is {self.clip_seconds}: it must be above 0")


Report = Mapping[str, float]
OnReport = Callable[[Report], None]
OnEvaluate = Callable[[TrainingState], Report]


@dataclass(frozen=True, kw_only=True, slots=True)
class Watchers:
    """Who is told what; all but `evaluate` by the first process alone.

    Attributes:
        report: Each line of the log.
        evaluate: The state, as often as the settings say; what it returns goes into the log. Every process calls it,
            the average is whole in the first alone where the network is sharded, and it draws no global random numbers.
        notice: What a person should know, as that the memory did not suffice.
    """

    report: OnReport | None = None
    evaluate: OnEvaluate | None = None
    notice: Notice | None = None


def train(
    network: nn.Module,
    objective: Objective,
    batch_at: BatchAt,
    settings: TrainSettings,
    *,
    folder: Path,
    world: World | None = None,
    execution: Execution | None = None,
    watchers: Watchers | None = None,
) -> TrainingState:
    """Trains a network on the device it is on, from its newest checkpoint if it has one.

    Args:
        network: Its parameters that need a gradient are trained.
        objective: Called once a micro-batch.
        batch_at: This process's rows of batch b (`World.rows`), a mapping with `keys`, whose values have an entry a
            clip or are None; called in threads, ahead of the steps.
        settings: Of the run.
        folder: Of the run: `checkpoints/`, `averages/` and `log.jsonl` are written there.
        world: The processes; None: this one alone.
        execution: How the run is executed.
        watchers: Who is told what.

    Returns:
        The state at the end, or where Ctrl-C or SIGTERM stopped the run; `clips_seen` tells which. The average of a
        sharded network is whole in the first process.

    Raises:
        BlockingIOError: another process trains in the folder.
        FloatingPointError: if a loss or a gradient is not finite; says which samples. The weights are then as
            before that step, and are not saved.
    """
    world = world or World(device=next(network.parameters()).device)
    execution, watchers = execution or Execution(), watchers or Watchers()
    yardstick = _yardstick(network, objective, batch_at, settings, folder, world)
    is_sharded = world.size > 1 and execution.spread == "shards"
    whole = deepcopy(network).eval().requires_grad_(False).cpu() if is_sharded and world.is_first else None
    state = starting_state(network, settings, world=world, execution=execution)
    with ExitStack() as stack:
        if world.is_first:
            stack.enter_context(only_run(folder))
        checkpoints = stack.enter_context(Checkpoints(folder / "checkpoints", keep=settings.keep, world=world))
        unreported = checkpoints.restore(state)
        prepare_blocks(network, execution)
        run = _Run(
            state=state,
            settings=settings,
            gradients=Gradients(network, objective, world, execution, seed=settings.seed, notice=watchers.notice),
            world=world,
            meter=Meter(world, yardstick, unreported),
            log=ReportLog(folder / "log.jsonl", after_step=state.step) if world.is_first else None,
            watchers=watchers,
            folder=folder,
            whole=whole,
        )
        stop = stack.enter_context(StopWish())
        run.go(stack.enter_context(Prefetch(batch_at, state.step, threads=execution.loader_threads)), checkpoints, stop)
    run.gather()
    return state


def _yardstick(
    network: nn.Module, objective: Objective, batch_at: BatchAt, settings: TrainSettings, folder: Path, world: World
) -> Yardstick:
    """By what the clips of a run are measured; the work of one is only counted where any is left to do."""
    newest = checkpoints_in(folder / "checkpoints")[-1:]
    is_over = any(read_progress(path)["clips_seen"] >= settings.total_clips for path in newest)
    peak = peak_flops(world.device)
    return Yardstick(
        clip_seconds=settings.clip_seconds,
        flops_a_clip={} if is_over else _work(network, objective, batch_at, settings, world),
        peak_flops=peak * world.size if peak is not None else None,
    )


def _work(
    network: nn.Module, objective: Objective, batch_at: BatchAt, settings: TrainSettings, world: World
) -> dict[float | None, float]:
    """FLOPs of a clip, by the length that its batch says it has; of lengths that the first batches have."""
    found: dict[float | None, float] = {}
    for number in range(_MEASURED_BATCHES):
        batch = batch_at(number)
        length_s = length_of(batch)
        if length_s not in found:
            found[length_s] = flops_a_clip(network, objective, on_device(batch, world.device), seed=settings.seed)
        if length_s is None:
            break
    return found


def length_of(batch: Batch) -> float | None:
    """How long the clips of a batch are, s, all alike, where the batch says it."""
    seconds = batch.get("seconds")
    return None if seconds is None else float(seconds[0])


def starting_state(
    network: nn.Module, settings: TrainSettings, *, world: World | None = None, execution: Execution | None = None
) -> TrainingState:
    """The state of a run before its first step: the averages, and the optimizers over the network, spread if asked."""
    ema = Ema(network)
    powers = PowerAverages(network) if settings.snapshot_every_clips is not None else None
    if world is not None and world.size > 1 and execution is not None and execution.spread == "shards":
        for one in (network, ema.network, *(powers.networks if powers else ())):
            shard(one, world)
    return TrainingState(network=network, ema=ema, powers=powers, optimizers=optimizers_of(network, settings.optimizer))


@dataclass(kw_only=True, slots=True)
class _Run:
    """One start of a run."""

    state: TrainingState
    settings: TrainSettings
    gradients: Gradients
    world: World
    meter: Meter
    log: ReportLog | None
    watchers: Watchers
    folder: Path
    whole: nn.Module | None

    def go(self, batches: Prefetch, checkpoints: Checkpoints, stop: StopWish) -> None:
        """Steps until the end, or until a process is asked to stop."""
        state, settings = self.state, self.settings
        before, stops = state.clips_seen, self._any_asks(stop)
        while True:
            stops = stops or (self.world.size == 1 and stop.asked)  # several agree within a step
            done, moved = state.clips_seen >= settings.total_clips, state.clips_seen > before
            if stops and not done:  # whoever asked may not wait for an evaluation
                checkpoints.save(state, self.meter.gathered())
                return
            if _due(before, state.clips_seen, settings.evaluate_every_clips, done and moved):
                self._evaluate()
            if self._snapshot_is_due(before, done and moved):
                self._snapshot()
            if _due(before, state.clips_seen, settings.save_every_clips, done):
                checkpoints.save(state, self.meter.gathered())
            if done:
                return
            begun, before = time.perf_counter(), state.clips_seen
            with self.meter.waiting():
                batch = on_device(batches.next(), self.world.device)
            stops = self.step(batch, stop)
            took = time.perf_counter() - begun
            state.seconds += took
            self.meter.took(took)
            last = state.clips_seen >= settings.total_clips
            if _due(before, state.clips_seen, settings.report_every_clips, last):
                self._tell({**self.meter.report(), "learning_rate": self._rate(state.clips_seen)})

    def step(self, batch: Batch, stop: StopWish) -> bool:
        """One step: gradients, the optimizers, the averages. Returns whether a process asks to stop."""
        state = self.state
        clips = len(batch["keys"]) * self.world.size
        state.network.train()
        result = self.gradients.of(batch, step=state.step, first_clip=state.clips_seen)
        norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), self.settings.clip_norm)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        own = torch.stack([result.loss.float(), torch.tensor(float(stop.asked), device=result.loss.device)])
        is_own_finite = bool(own[0].isfinite())
        loss_sum, asked = self.world.summed(own.clone()).tolist()
        loss, gradient_norm = loss_sum / self.world.size, float(norm)
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            state.network.zero_grad()
            keys = ", ".join(batch["keys"]) if not is_own_finite or math.isfinite(loss) else "another process's"
            raise FloatingPointError(
                f"step {state.step + 1}: loss {loss}, gradient norm {gradient_norm}; nothing was changed. "
                f"Look at its samples: {keys}"
            )
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._rate(state.clips_seen + clips)
            optimizer.step()
        state.network.zero_grad()
        state.ema.update(state.network, self.settings.ema.decay(clips, state.clips_seen))
        if state.powers is not None:
            state.powers.update(state.network, clips=clips, clips_before=state.clips_seen)
        state.step += 1
        state.clips_seen += clips
        self.meter.add(result, loss=loss, gradient_norm=gradient_norm, clips=clips, clip_seconds=length_of(batch))
        return bool(asked > 0)

    def _any_asks(self, stop: StopWish) -> bool:
        asked = torch.tensor(float(stop.asked), device=self.world.device)
        return bool(self.world.summed(asked).item())

    def _rate(self, clips: int) -> float:
        return self.settings.schedule.rate(clips, self.settings.total_clips)

    def _evaluate(self) -> None:
        if self.watchers.evaluate is None:
            return
        sharded = self.gather()
        try:
            self._tell(self.watchers.evaluate(self.state))
        finally:
            self.state.ema.network = sharded
        self.world.wait()

    def gather(self) -> nn.Module:
        """Has the first process's average be a whole network where it was a sharded one; returns what it was."""
        sharded = self.state.ema.network
        if self.gradients.is_sharded:
            gather(sharded, self.whole)
            self.state.ema.network = self.whole.to(self.world.device) if self.whole is not None else sharded
        return sharded

    def _snapshot_is_due(self, before: int, last: bool) -> bool:
        every = self.settings.snapshot_every_clips
        return every is not None and _due(before, self.state.clips_seen, every, last)

    def _snapshot(self) -> None:
        if self.state.powers is not None:
            save_snapshots(
                self.state.powers,
                self.folder / "averages",
                clips=self.state.clips_seen,
                is_first=self.world.is_first,
            )

    def _tell(self, report: Report) -> None:
        state = self.state
        place = {"step": state.step, "clips_seen": state.clips_seen, "seconds": round(state.seconds, 3)}
        if self.log is not None:
            self.log.add({**place, **report})
            if self.watchers.report is not None:
                self.watchers.report({**place, **report})


def on_device(batch: Batch, device: torch.device) -> dict[str, Any]:
    """A batch with its tensors on a device."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }


def _due(before: int, now: int, every: int, last: bool) -> bool:
    """Whether a multiple of `every` was passed by the step from `before` to `now`, or this is the last chance."""
    return last or before // every != now // every
