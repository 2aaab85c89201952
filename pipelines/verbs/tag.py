"""`foundsound tag`: what is heard in every cut sound, as AudioSet's classes."""

from pathlib import Path

from curation.dataset import Dataset
from pipelines.verbs.of_clips import run_of_clips
from pipelines.verbs.result import StageResult
from pipelines.wiring.taggers import tag_stage


def tag(
    dataset: Path,
    /,
    *,
    tagger: str,
    name: str = "audioset",
    revision: str | None = None,
    sha256: str | None = None,
    batch: int = 16,
    workers: int | None = None,
    address: str | None = None,
    follow: bool = False,
) -> StageResult:
    """Score AudioSet's 527 classes in every cut sound, and keep a vector of it; `select` and the rules apply them.

    Args:
        dataset: Folder of the dataset.
        tagger: EfficientAT weights (a .pt or .safetensors file, or a folder with one), mn04 or mn10 to have them
            fetched, or an AST (MIT/ast-finetuned-audioset-10-10-0.4593 on the Hub, or a folder).
        name: Name of the tags, where several taggers stand side by side.
        revision: Commit or tag on the Hub, of an AST.
        sha256: Checksum of the weights that are fetched, where none is known here (mn10).
        batch: Clips at once.
        workers: Processes; 0 works in this process, without Ray.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
        follow: Go on with what is cut meanwhile, until nothing upstream runs any more.
    """
    opened = Dataset(dataset)
    stage = tag_stage(opened, tagger, called=name, revision=revision, sha256=sha256)
    return run_of_clips(opened, stage, batch=batch, workers=workers, address=address, follow=follow)
