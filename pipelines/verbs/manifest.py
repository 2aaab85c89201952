"""`foundsound manifest`: a published list becomes rows of a dataset."""

import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from curation.dataset import CONFIG_FILE, Dataset
from curation.errors import ArgumentError
from curation.lists.ingest import IngestReport, ingest
from curation.lists.tabular import row_count
from pipelines.progress import Progress

SHOWN_REJECTS = 5
"""Rejected lines that are shown; all of them are in the table `rejects`."""


class ManifestResult:
    """What an ingest did.

    Args:
        report: Its counts.
        rejects: The first rejected lines: `line` and `reason`.
    """

    def __init__(self, report: IngestReport, rejects: list[dict[str, Any]]) -> None:
        self.report = report
        self.rejects = rejects

    def as_dict(self) -> dict[str, Any]:
        """The counts of the ingest, and the first rejected lines."""
        return {**self.report.as_dict(), "first_rejects": self.rejects}

    def __str__(self) -> str:
        lines = [f"  line {reject['line']}: {reject['reason']}" for reject in self.rejects]
        more = self.report.rejected - len(self.rejects)
        return "\n".join([str(self.report), *lines, *([f"  and {more:,} more, in the table rejects"] if more else [])])


def manifest(
    kind: Literal["vggsound", "audiocaps", "v2m", "musiccaps", "audioset", "audiox", "table"],
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
            `start_s`, `duration_s`, `labels`, `captions`, `split`, `transcript`, `type`; `audiox` is AudioX's JSONL.
        file: The list.
        out: Folder of the dataset.
        name: Name of the list in the dataset; made from the file's name when not given.
        split: Split of every row, for lists that do not say.
        media_root: Folder below which the `path` rows lie; the list's own folder when not given.
        labels: class_labels_indices.csv, for AudioSet.
    """
    if not file.is_file():
        raise ArgumentError(f"{file} is not a file")
    is_new = not (out / CONFIG_FILE).is_file()
    dataset = Dataset.open_or_create(out)
    try:
        with Progress("manifest", total=row_count(file)) as progress:
            report = ingest(
                dataset,
                kind,
                file,
                name=name,
                split=split,
                media_root=media_root,
                labels_file=labels,
                progress=progress.advance,
            )
    except ArgumentError:
        if is_new:  # a list that cannot be read leaves no empty dataset behind
            shutil.rmtree(dataset.path)
        raise
    rejects = dataset.sql(
        f"SELECT line, reason FROM rejects WHERE list = ? ORDER BY line LIMIT {SHOWN_REJECTS}", [report.list]
    )
    return ManifestResult(report, rejects.to_pylist())
