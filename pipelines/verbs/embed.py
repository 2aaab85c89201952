"""`foundsound embed`: every cut sound, or picture, or what is said of them, as vectors."""

from pathlib import Path

from curation.dataset import Dataset
from curation.stage import Stage
from pipelines.verbs.of_clips import run_of_clips
from pipelines.verbs.result import StageResult
from pipelines.wiring.embedders import embed_stage, embed_text_stage
from retrieval_index.embedder import Of

DEFAULT_EMBEDDER = "laion/clap-htsat-unfused"


def embed(
    dataset: Path,
    /,
    *,
    embedder: str = DEFAULT_EMBEDDER,
    name: str = "clap",
    of: Of = "sound",
    texts: bool = False,
    revision: str | None = None,
    batch: int = 32,
    workers: int | None = None,
    address: str | None = None,
    follow: bool = False,
) -> StageResult:
    """Embed every cut sound as unit vectors: windows of its length (CLAP: 10 s) that overlap by half.

    Args:
        dataset: Folder of the dataset.
        embedder: A CLAP on the Hub (any laion/clap-*), a folder with one, or a checkpoint of laion-clap (.pt); a PE-AV
            (facebook/pe-av-*), which also sees; or tag:NAME, the vectors of a tagger, for sounds that sound alike.
        name: Name of the vectors, where several embedders stand side by side.
        of: What the vectors are of: sound, picture or both; the last two are for PE-AV and for clips with a picture.
        texts: Captions and labels instead, beside the vectors of this name; `neighbours` and `evaluate retrieval` do it
            themselves.
        revision: Commit or tag on the Hub.
        batch: Clips at once.
        workers: Processes; 0 works in this process, without Ray.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
        follow: Go on with what is cut meanwhile, until nothing upstream runs any more.
    """
    opened = Dataset(dataset)
    stage: Stage
    if texts:
        stage = embed_text_stage(opened, embedder, called=name, revision=revision)
    else:
        stage = embed_stage(opened, embedder, called=name, revision=revision, of=of)
    return run_of_clips(opened, stage, batch=batch, workers=workers, address=address, follow=follow)
