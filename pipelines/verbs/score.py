"""`foundsound score`: numbers about every caption, by which `select` may choose."""

from pathlib import Path

from curation.dataset import Dataset
from pipelines.verbs.embed import DEFAULT_EMBEDDER
from pipelines.verbs.of_clips import run_of_clips
from pipelines.verbs.result import StageResult
from pipelines.wiring.captioners import score_stage


def score(
    dataset: Path,
    /,
    *,
    captions: str,
    embedder: str = DEFAULT_EMBEDDER,
    vectors: str = "clap",
    tags: str | None = None,
    revision: str | None = None,
    batch: int = 64,
    workers: int | None = None,
    address: str | None = None,
) -> StageResult:
    """Score the captions of one captioner: likeness to the sound, to people's captions, to tags; and as a text.

    Args:
        dataset: Folder of the dataset.
        captions: Name of the captions, as `caption --name` or the model gave it; `status` lists them.
        embedder: The CLAP that made the vectors, by name on the Hub or by folder.
        vectors: Name of the vectors that `embed` stored.
        tags: Name of the tags that captions are compared with; none when not given.
        revision: Commit or tag on the Hub.
        batch: Clips at once.
        workers: Processes; 0 works in this process, without Ray.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
    """
    opened = Dataset(dataset)
    stage = score_stage(opened, captions, embedder, vectors=vectors, tags=tags, revision=revision)
    return run_of_clips(opened, stage, batch=batch, workers=workers, address=address, default_workers=1)
