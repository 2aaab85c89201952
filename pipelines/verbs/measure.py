"""`foundsound measure`: levels, loudness, bandwidth, speech, what stands still, and the rest of every cut clip."""

from pathlib import Path

from curation.dataset import Dataset
from curation.measure import Measure
from pipelines.verbs.of_clips import run_of_clips
from pipelines.verbs.result import StageResult

BATCH = 4
"""Clips a worker gets at a time."""


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
    return run_of_clips(opened, stage, batch=BATCH, workers=workers, address=address, follow=follow, gpu=False)
