"""Boards that show a run while it goes on: TensorBoard's files, and Weights & Biases where it is asked for."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curation.errors import ArgumentError
from curation.keys import short_hash
from models.training.loop import Watchers
from models.training.world import World
from pipelines.progress import Progress
from pipelines.recipes.options import RunOptions

Show = Callable[[Mapping[str, float]], None]
"""Takes one line of a run's log."""

PLACE = ("step", "clips_seen", "seconds")
"""Where a line stands, and not what it says."""


@contextmanager
def board(folder: Path, *, wandb: str | None = None) -> Iterator[Show]:
    """Shows lines of a log against the clips seen, for as long as it is entered.

    Args:
        folder: Of the run; TensorBoard's files go to `folder/board`: `tensorboard --logdir FOLDER`.
        wandb: Name of a project at Weights & Biases, which then gets the same; None: nothing leaves this machine.

    Raises:
        ArgumentError: wandb is asked for and not installed.
    """
    from tensorboardX import SummaryWriter

    other = _wandb_run(folder, wandb) if wandb is not None else None
    with SummaryWriter(logdir=str(folder / "board"), flush_secs=10) as writer:

        def show(report: Mapping[str, float]) -> None:
            clips = int(report["clips_seen"])
            said = {name: value for name, value in report.items() if name not in PLACE}
            for name, value in said.items():
                writer.add_scalar(name, value, clips)
            if other is not None:
                other.log({**said, "clips_seen": clips}, step=int(report["step"]))

        try:
            yield show
        finally:
            if other is not None:
                other.finish()


@contextmanager
def watching(
    folder: Path, options: RunOptions, world: World, *, total: int, last: dict[str, float]
) -> Iterator[Watchers]:
    """A bar, and the boards; they show in the first process alone.

    Args:
        folder: Of the run.
        options: What the user said.
        world: The processes that train together.
        total: Clips of the whole run.
        last: Is given the newest value of everything that is reported.
    """
    if not world.is_first:
        yield Watchers()
        return
    with board(folder, wandb=options.wandb) as show, Progress("train", total=total, unit="clips") as progress:
        shown = 0

        def on_report(report: Mapping[str, float]) -> None:
            nonlocal shown
            last.update(report)
            show(report)
            seen = int(report["clips_seen"])
            progress.advance(seen - shown, note=f"loss {last['loss']:.3f}" if "loss" in last else "")
            shown = seen

        yield Watchers(report=on_report, notice=progress.note)


def _wandb_run(folder: Path, project: str) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ArgumentError("--wandb needs the package wandb; run `pip install wandb`") from error
    known_as = short_hash(str(folder.resolve()))  # two datasets may have runs of one name
    return wandb.init(project=project, name=folder.name, dir=str(folder), id=known_as, resume="allow")
