"""`foundsound measure`: levels, loudness, bandwidth, speech, what stands still, and the rest of every cut clip."""

from pathlib import Path

from curation.dataset import Dataset
from curation.measure import Measure
from pipelines.follow import OF_CLIPS
from pipelines.runner import Job, run
from pipelines.verbs.result import StageResult


def measure(
    dataset: Path, /, *, workers: int | None = None, address: str | None = None, follow: bool = False
) -> StageResult:
    """Measure every cut clip; measurements are stored, `select` applies thresholds.

    Args:
        dataset: Folder of the dataset.
        workers: Processes; 0 works in this process, without Ray.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
        follow: Go on with what is cut meanwhile, until nothing upstream runs any more.
    """
    opened = Dataset(dataset)
    stage = Measure(media=opened.media)
    tally = run(
        opened,
        Job(
            stage=stage,
            queue=lambda: opened.pending(stage),
            batch_rows=4,
            workers=workers,
            address=address,
            follow=OF_CLIPS if follow else (),
        ),
    )
    return StageResult.of(opened, tally, "measure")
