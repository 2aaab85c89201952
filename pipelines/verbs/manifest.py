"""`foundsound manifest`: a published list becomes rows of a dataset."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from curation.dataset import Dataset
from curation.lists.ingest import IngestReport, ingest


class ManifestResult:
    """What an ingest did."""

    def __init__(self, report: IngestReport) -> None:
        self.report = report

    def as_dict(self) -> dict[str, Any]:
        """The counts of the ingest."""
        return self.report.as_dict()

    def __str__(self) -> str:
        return str(self.report)


def manifest(
    kind: Literal["vggsound", "audiocaps", "v2m", "musiccaps", "audioset", "table"],
    file: Path,
    /,
    *,
    out: Path,
    name: str | None = None,
    split: Literal["train", "val", "test"] | None = None,
    media_root: Path | None = None,
    labels: Annotated[Path | None, Parameter(name="--labels")] = None,
) -> ManifestResult:
    """Read a published list into a dataset, which is made if it is not there.

    Args:
        kind: Layout of the list; `table` is the general one: CSV, JSONL or Parquet with `video_id` or `url` or `path`,
            `start_s`, `duration_s`, `labels`, `captions`, `split`.
        file: The list.
        out: Folder of the dataset.
        name: Name of the list in the dataset; made from the file's name when not given.
        split: Split of every row, for lists that do not say.
        media_root: Folder below which the `path` rows lie; the list's own folder when not given.
        labels: class_labels_indices.csv, for AudioSet.
    """
    dataset = Dataset.open_or_create(out)
    report = ingest(dataset, kind, file, name=name, split=split, media_root=media_root, labels_file=labels)
    return ManifestResult(report)
