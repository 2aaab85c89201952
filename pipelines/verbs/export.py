"""`foundsound export`: selections or generations in the layout that another tool reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from curation.dataset import Dataset
from curation.exports.export import ExportReport
from curation.exports.export import export as export_clips
from curation.exports.target import MediaMode
from pipelines.progress import Progress

Format = Literal["hf", "audiox", "audioldm", "audiocaps"]


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A folder for another tool."""

    report: ExportReport

    def as_dict(self) -> dict[str, Any]:
        """Folder, format, and for each split clips, rows, and clips left out by reason."""
        return {"folder": str(self.report.folder), "format": self.report.layout, "splits": self.report.splits}

    def __str__(self) -> str:
        lines = [f"{self.report.folder}: {self.report.layout}"]
        for split, counts in self.report.splits.items():
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(counts["left_out"].items()))
            left_out = f"; left out: {reasons}" if reasons else ""
            lines.append(f"{split}: {counts['rows']:,} rows of {counts['clips']:,} clips{left_out}")
        return "\n".join(lines)


def export(
    dataset: Path,
    /,
    *,
    format: Format,
    out: Path,
    selection: Annotated[list[str] | None, Parameter(name="--selection")] = None,
    shards: Annotated[list[str] | None, Parameter(name="--shards")] = None,
    media: Literal["link", "copy", "reference"] = "link",
    pictures: bool = False,
) -> ExportResult:
    """Write selections or generations of shards as a folder that other tools read.

    Args:
        dataset: Folder of the dataset.
        format: hf (Hugging Face datasets), audiox (JSONL), audioldm (JSON) or audiocaps (CSV).
        out: Folder to make; it must not be there yet, or be empty.
        selection: Name of a selection, `train` when nothing is given; several times, one for each split.
        shards: Name of a generation of shards, in place of a selection; likewise.
        media: link (hard links where the disk allows them), copy, or reference (no files, paths into the dataset).
        pictures: Export pictures too, where the format has a place for them (hf, audiox).
    """
    opened = Dataset(dataset)
    shown: Progress | None = None

    def progress(done: int, total: int) -> None:
        nonlocal shown
        if shown is None:
            shown = Progress("export", total=total, unit="clips")
            shown.__enter__()
        shown.advance()

    try:
        report = export_clips(
            opened,
            format,
            out,
            selections=selection or ([] if shards else ["train"]),
            generations=shards or [],
            media=MediaMode(media),
            pictures=pictures,
            progress=progress,
        )
    finally:
        if shown is not None:
            shown.__exit__(None, None, None)
    return ExportResult(report)
