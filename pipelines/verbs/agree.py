"""`foundsound agree`: how well sound and picture of every clip go together."""

from pathlib import Path

from curation.dataset import Dataset
from pipelines.verbs.of_clips import run_of_clips
from pipelines.verbs.result import StageResult
from pipelines.wiring.taggers import agree_stage

DEFAULT_SCORER = "facebook/pe-av-base-16-frame"


def agree(
    dataset: Path,
    /,
    *,
    scorer: str = DEFAULT_SCORER,
    name: str = "pe-av",
    revision: str | None = None,
    batch: int = 4,
    workers: int | None = None,
    address: str | None = None,
    follow: bool = False,
) -> StageResult:
    """Score every cut clip that has a picture by how well its sound and picture go together; `select` applies it.

    Args:
        dataset: Folder of the dataset.
        scorer: A PE-AV on the Hub (facebook/pe-av-*), or a folder with one. Needs the extra `pe-av`.
        name: Name of the scores, where several scorers stand side by side.
        revision: Commit or tag on the Hub.
        batch: Clips a worker gets at a time.
        workers: Processes; 0 works in this process, without Ray.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
        follow: Go on with what is cut meanwhile, until nothing upstream runs any more.
    """
    opened = Dataset(dataset)
    stage = agree_stage(opened, scorer, called=name, revision=revision)
    return run_of_clips(opened, stage, batch=batch, workers=workers, address=address, follow=follow)
