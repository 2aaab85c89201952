"""What the verbs share that run one stage over every cut clip."""

from curation.dataset import Dataset
from curation.stage import Stage
from pipelines.follow import OF_CLIPS
from pipelines.runner import Job, run
from pipelines.verbs.result import StageResult


def run_of_clips(
    dataset: Dataset,
    stage: Stage,
    *,
    batch: int,
    workers: int | None,
    address: str | None,
    follow: bool = False,
    default_workers: int = 2,
    gpu: bool = True,
) -> StageResult:
    """Run a stage over all clips that it has not finished with.

    Args:
        dataset: The dataset.
        stage: The stage.
        batch: Clips a worker gets at a time.
        workers: Processes; 0 works in this one, None decides by the number of batches.
        address: Address of a Ray cluster.
        follow: Go on with what is cut meanwhile.
        default_workers: How many None means at most.
        gpu: Whether a worker takes a GPU where there is one.

    Raises:
        FoundsoundError: As `pipelines.runner.run`.
    """
    job = Job(
        stage=stage,
        queue=lambda: dataset.pending(stage),
        batch_rows=batch,
        workers=workers,
        default_workers=default_workers,
        gpu=gpu,
        address=address,
        follow=OF_CLIPS if follow else (),
    )
    return StageResult.of(dataset, run(dataset, job), stage.NAME)
