"""Pictures of fixed sounds while a run goes on, with its averaged weights and fixed seeds; the loss of fixed windows.

    RUN/samples/clips-000012000/000-<clip_id>.png   a picture of each of the fixed sounds
                                grid.png            all of them on a page, in the order of their numbers

What clips show is not copied there: a takedown does not look into runs.

The sounds are of clips that are trained on, and so are the real pictures: the numbers say how a run gets on. How good a
model is, `evaluate pictures` says.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from curation.errors import ArgumentError
from curation.shards.reader import Shards
from models.training.checkpoint import TrainingState
from models.training.loop import Report, on_device
from models.training.step import Objective, sample_rngs
from models.training.world import World
from pipelines.evaluations.made_pictures import AT_ONCE, Picture, Shown, make_some, sound_of, write_picture
from pipelines.evaluations.picture_scores import Reference
from pipelines.makers.audiotoken import SYSTEM
from pipelines.makers.maker import How
from pipelines.progress import Progress
from pipelines.recipes.sounded_pictures import SoundedPictures, label_of
from pipelines.training.evaluation import EvaluationOptions, sample_folder
from pipelines.wiring.picture_judges import PictureJudge, load_judge

if TYPE_CHECKING:
    from torch import nn

    from pipelines.makers.maker import Maker

REAL_CLIPS = 256
"""Clips of which a picture is compared with. Source: ours; a judge sees them in seconds, at every start."""

FIXED_BATCHES = 4
"""Batches of windows whose loss is reported. Source: ours; of 16 clips they cost less than one picture."""

GRID_COLUMNS, GRID_SIDE_PX = 8, 256
"""Of the page of pictures. Source: ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedLoss:
    """The loss of windows, levels and noise that are the same each time, and that no step of the run draws.

    Args:
        objective: What a step minimises.
        batches: Windows, of another seed than those of the run.
        world: Where this process computes.
    """

    objective: Objective
    batches: SoundedPictures
    world: World

    @torch.no_grad()
    def __call__(self, network: "nn.Module") -> float:
        """The mean loss of a network, in evaluation mode."""
        device, count, losses = self.world.device, self.batches.batch_clips, []
        for number in range(FIXED_BATCHES):
            batch = on_device(self.batches(number, range(count)), device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                result = self.objective(network, batch, sample_rngs(self.batches.seed, number * count, count))
            losses.append(float(result.loss))
        return sum(losses) / len(losses)


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureEvaluation:
    """Makes the samples of a run and says how they compare; called by the training loop.

    Args:
        folder: Of the run.
        shards: Of the generation.
        numbers: The clips whose sounds are the prompts, at least one.
        seed: Of the noise.
        how: How pictures are made.
        maker_of: The whole model around the averaged network.
        loss: Of fixed windows.
        judges: Each with what it makes of the real pictures.
    """

    folder: Path
    shards: Shards
    numbers: Sequence[int]
    seed: int
    how: How
    maker_of: "Callable[[nn.Module], Maker]"
    loss: FixedLoss
    judges: Sequence[tuple[PictureJudge, Reference]] = ()

    def __call__(self, state: TrainingState) -> Report:
        """Pictures of the averaged weights as they are now; `fixed_loss`, and `fid_<kind>` and the like of a judge."""
        begun = time.perf_counter()
        network = state.ema.network
        maker, made = self.maker_of(network), []
        for first in range(0, len(self.numbers), AT_ONCE):
            made += make_some(maker, self.shards, self.numbers[first : first + AT_ONCE], self.how, self.seed)
        with sample_folder(self.folder, state.clips_seen) as inside:
            for n, (number, picture_HW3) in enumerate(zip(self.numbers, made, strict=True)):
                write_picture(inside / f"{n:03d}-{self.shards.key(number)}.png", picture_HW3)
            write_picture(inside / "grid.png", grid(made))
        report = {"samples": float(len(made)), "fixed_loss": self.loss(network)}
        for judge, reference in self.judges:
            row, kind = reference.row(judge, "made", made), judge.name.partition(":")[0]
            said = {"fid": row.fid, "aic": row.aic, "ais": row.ais, "iis": row.iis}
            report |= {f"{name}_{kind}": value for name, value in said.items() if value is not None}
        return {**report, "evaluation_s": time.perf_counter() - begun}


def picture_evaluation(
    options: EvaluationOptions,
    *,
    folder: Path,
    batches: SoundedPictures,
    objective: Objective,
    maker_of: "Callable[[nn.Module], Maker]",
    world: World,
) -> PictureEvaluation | None:
    """The evaluation of a run.

    Args:
        options: What the user said.
        folder: Of the run.
        batches: What is trained on.
        objective: What a step minimises.
        maker_of: The whole model around a network.
        world: The processes that train together.

    Returns:
        None where no samples are asked for, or in another process than the first.

    Raises:
        ArgumentError: Too few clips have pictures, or a judge cannot be loaded or cannot judge these.
    """
    if not options.samples or not world.is_first:
        return None
    if len(batches.clips) < options.samples:
        raise ArgumentError(f"{len(batches.clips)} clips have a picture, too few for --samples {options.samples}")
    if options.judges and options.samples < 2:
        raise ArgumentError("--judge compares the pictures of a run with one another; give --samples 2 or more")
    how, shards = SYSTEM.usual, batches.shards
    drawn = np.random.default_rng([batches.seed, 2]).permutation(len(batches.clips))
    order = [batches.clips[place] for place in drawn.tolist()]
    numbers = order[: options.samples]
    return PictureEvaluation(
        folder=folder,
        shards=shards,
        numbers=numbers,
        seed=batches.seed,
        how=how,
        maker_of=maker_of,
        loss=FixedLoss(objective=objective, batches=replace(batches, seed=batches.seed + 1), world=world),
        judges=_judges(options, shards, order, how.seconds),
    )


def _judges(
    options: EvaluationOptions, shards: Shards, order: Sequence[int], seconds: float
) -> list[tuple[PictureJudge, Reference]]:
    """Every judge that is named, with what it makes of the true pictures; what it cannot judge is known before a step.

    Args:
        options: What the user said.
        shards: Of the generation.
        order: Clips with a picture, those that samples are made of first.
        seconds: How much of a sound is heard, s.
    """
    if not options.judges:
        return []
    judges = [load_judge(name) for name in options.judges]
    found, numbers, some = [], order[: options.samples], order[: max(REAL_CLIPS, options.samples)]
    with Progress("real pictures", total=len(some), unit="clips") as progress:
        real = []
        for number in some:
            real.append(Shown.of(shards, number, seconds).true)
            progress.advance()
    for judge in judges:
        try:
            reference = Reference.of(
                judge,
                labels=[label_of(shards, number) for number in numbers],
                sounds=[sound_of(shards, number, judge.sample_rate_hz, seconds) for number in numbers],
                true=real[: len(numbers)],
                real=real,
            )
            reference.row(judge, "true", real[: len(numbers)])
        except ValueError as error:
            raise ArgumentError(f"--judge {judge.name}: {error}") from error
        found.append((judge, reference))
    return found


def grid(made: Sequence[Picture]) -> Picture:
    """One picture of many, in rows of `GRID_COLUMNS`; above `GRID_SIDE_PX` they are shrunk, and what is empty is white.

    Args:
        made: Squares, all of one size.
    """
    side = min(GRID_SIDE_PX, len(made[0]))
    cells = [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.LANCZOS), np.uint8) for one in made]
    columns = min(GRID_COLUMNS, len(cells))
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [np.concatenate(cells[first : first + columns], axis=1) for first in range(0, len(cells), columns)]
    return np.concatenate(rows)
