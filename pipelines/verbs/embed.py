"""`foundsound embed`: every cut sound as vectors."""

from pathlib import Path

from curation.dataset import Dataset
from pipelines.follow import OF_CLIPS
from pipelines.runner import Job, run
from pipelines.verbs.result import StageResult
from pipelines.wiring.embedders import embed_stage

DEFAULT_EMBEDDER = "laion/clap-htsat-unfused"


def embed(
    dataset: Path,
    /,
    *,
    embedder: str = DEFAULT_EMBEDDER,
    name: str = "clap",
    revision: str | None = None,
    batch: int = 32,
    workers: int | None = None,
    address: str | None = None,
    follow: bool = False,
) -> StageResult:
    """Embed every cut sound with CLAP, as unit vectors: windows of its length (10 s as published) that overlap by half.

    Args:
        dataset: Folder of the dataset.
        embedder: A CLAP on the Hub (any laion/clap-*), or a folder with one.
        name: Name of the vectors, where several embedders stand side by side.
        revision: Commit or tag on the Hub.
        batch: Clips at once.
        workers: Processes; 0 works in this process, without Ray.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
        follow: Go on with what is cut meanwhile, until nothing upstream runs any more.
    """
    opened = Dataset(dataset)
    stage = embed_stage(opened, embedder, called=name, revision=revision)
    tally = run(
        opened,
        Job(
            stage=stage,
            queue=lambda: opened.pending(stage),
            batch_rows=batch,
            workers=workers,
            gpu=True,
            address=address,
            follow=OF_CLIPS if follow else (),
        ),
    )
    return StageResult.of(opened, tally, "embed")
