"""What every recipe does with a network: make it by its seed, train it, and take its moving average."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from models.training.execution import Execution
from models.training.loop import TrainSettings, Watchers, train
from models.training.run_folder import open_run
from models.training.step import Batch, Objective
from models.training.world import World

Network = TypeVar("Network", bound=nn.Module)

RowsAt = Callable[[int, range], Batch]
"""Some rows of global batch b: a function of b and of the seed."""


class Recipe(Protocol):
    """What is asked of a recipe."""

    @property
    def training(self) -> TrainSettings:
        """Settings of the run."""

    @property
    def batch_clips(self) -> int:
        """Clips in a global batch."""


HOW = ("report_every_clips", "save_every_clips", "evaluate_every_clips", "keep")
"""Settings of a run that do not change its result."""


def decisive(training: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run, as a dictionary, without those that do not change its result."""
    return {name: value for name, value in training.items() if name not in HOW}


def written(recipe: Any) -> dict[str, Any]:
    """A recipe as a run's folder has it: all that decides what comes out."""
    settings = asdict(recipe)
    return {**settings, "training": decisive(settings["training"])}


def open_together(folder: Path, settings: Mapping[str, Any], world: World) -> None:
    """Opens a run's folder, in the first process for all; see `open_run` for arguments and errors."""
    if world.is_first:
        open_run(folder, settings)
    world.wait()


def seeded(make: Callable[[], Network], seed: int) -> Network:
    """A network whose first weights are a function of the seed, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def train_averaged(
    network: Network,
    objective: Objective,
    rows_at: RowsAt,
    recipe: Recipe,
    *,
    folder: Path,
    world: World,
    execution: Execution | None = None,
    watchers: Watchers | None = None,
) -> Network | None:
    """Trains a network, or goes on with its run, and gives the average of its weights.

    Args:
        network: On the device of `world`.
        objective: What a step minimises.
        rows_at: Rows of batch b; each process asks for its own.
        recipe: Length and settings of the run.
        folder: Of the run.
        world: The processes that train together.
        execution: How the run is executed.
        watchers: Who is told what.

    Returns:
        The average, or None where the run was stopped before its end, or in another process than the first.

    Raises:
        FloatingPointError: If a loss is not finite.
    """
    rows, kind = world.rows(recipe.batch_clips), type(network)  # before it is spread, which makes another kind of it
    state = train(
        network,
        objective,
        lambda number: rows_at(number, rows),
        recipe.training,
        folder=folder,
        world=world,
        execution=execution,
        watchers=watchers,
    )
    if state.clips_seen < recipe.training.total_clips or not world.is_first:
        return None
    averaged = state.ema.network
    if not isinstance(averaged, kind):
        raise TypeError(f"the average is a {type(averaged).__name__}, not a {kind.__name__}")
    return averaged
