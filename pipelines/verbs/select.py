"""`foundsound select`: which clips are in, and for every other one why not."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from captioning.candidates import candidates_sql, choose
from curation.dataset import Dataset
from curation.selection import SelectionReport
from curation.selection import select as select_clips
from pipelines.verbs.result import codes_text


class SelectResult:
    """A selection that was written."""

    def __init__(self, report: SelectionReport) -> None:
        self.report = report

    def as_dict(self) -> dict[str, Any]:
        """The content of the selection's JSON file, and its name."""
        return {"name": self.report.name, **self.report.as_dict()}

    def __str__(self) -> str:
        refused = codes_text(self.report.refused) or "none"
        return (
            f"selection {self.report.name}: {self.report.kept_clips:,} of {self.report.clips:,} clips are in; "
            f"refused: {refused}\n{self.report.path}"
        )


def select(
    dataset: Path,
    /,
    *,
    name: str | None = None,
    where: str | None = None,
    split: Literal["train", "val", "test"] = "train",
    guard: Annotated[str, Parameter(name="--guard")] = "",
) -> SelectResult:
    """Write a selection: clips of one split that fulfil a condition, are no duplicates and touch no evaluation list.

    Args:
        dataset: Folder of the dataset.
        name: Name of the selection; the split when not given.
        where: SQL condition over the tables clips, videos, "fetch" (a word of SQL, so in quotes), cut and measure, as
            'measure.loudness_lufs > -50 AND measure.still_ratio < 0.9'; a clip without the value is refused.
        split: The split that is taken.
        guard: Names of evaluation lists, separated by commas, whose spans are refused.
    """
    opened = Dataset(dataset)
    guards = [text for text in guard.split(",") if text]
    captions = choose(candidates_sql(opened))
    report = select_clips(opened, name=name or split, where=where, split=split, guards=guards, captions_sql=captions)
    return SelectResult(report)
