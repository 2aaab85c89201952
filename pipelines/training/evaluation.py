"""How often a run makes samples of fixed prompts, where they lie, and which process makes them.

    RUN/samples/clips-000012000/    what was made after so many clips, with the averaged weights and fixed seeds; whole

What is made and how it is judged, `sound_evaluation.py` and `picture_evaluation.py` say.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from curation.errors import ArgumentError
from curation.tables import TEMPORARY, publish
from models.training.checkpoint import TrainingState
from models.training.loop import OnEvaluate, Report, TrainSettings, Watchers


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationOptions:
    """What a user may say about samples during a run.

    Args:
        samples: Sounds or pictures that are made each time; 0: none.
        every_clips: After so many clips, and at the end; None leaves it to the recipe.
        judges: Networks that judge, KIND:WEIGHTS; empty: of sounds those that are at hand, of pictures none.
    """

    samples: int = 0
    every_clips: int | None = None
    judges: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise ArgumentError(f"--samples must be at least 0, not {self.samples}")
        if self.every_clips is not None and self.every_clips < 1:
            raise ArgumentError(f"--evaluate-every must be at least 1 clip, not {self.every_clips}")
        if not self.samples and (self.every_clips is not None or self.judges):
            raise ArgumentError("--evaluate-every and --judge are about samples; give --samples N")

    def timed(self, training: TrainSettings) -> TrainSettings:
        """Settings of a run with samples as often as the user said, which does not change what is trained."""
        return training if self.every_clips is None else replace(training, evaluate_every_clips=self.every_clips)


@contextmanager
def sample_folder(run: Path, clips_seen: int) -> Iterator[Path]:
    """A folder for the samples that a run makes after so many clips, which takes its place when all of them are there.

    What a kill left of others is removed; what was made at the same place of the run before is replaced.
    """
    place = run / "samples" / f"clips-{clips_seen:09d}"
    for left in place.parent.glob(f"{TEMPORARY}*"):
        shutil.rmtree(left)
    partial = place.with_name(f"{TEMPORARY}{place.name}")
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(place, ignore_errors=True)
    publish(partial, place)


def watched(watchers: Watchers, options: EvaluationOptions, evaluate: OnEvaluate | None) -> Watchers:
    """The watchers of a run with its evaluation, which the first process alone has; the others wait for it."""
    return replace(watchers, evaluate=evaluate or _nothing) if options.samples else watchers


def _nothing(state: TrainingState) -> Report:
    return {}
