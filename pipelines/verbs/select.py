"""`foundsound select`: which clips are in, and for every other one why not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from captioning.candidates import candidates_sql, checked_rule, choose
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.selections.selection import Choice, SelectionReport
from curation.selections.selection import select as select_clips
from curation.selections.without import Without
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


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _using(texts: list[str]) -> dict[str, str]:
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise ArgumentError(f"--using wants STAGE=LABEL, as tag=mn10, not {wrong[0]!r}")
    return {stage: label for stage, _, label in (text.partition("=") for text in texts)}


def select(
    dataset: Path,
    /,
    *,
    name: str | None = None,
    where: str | None = None,
    split: Literal["train", "val", "test"] = "train",
    guard: Annotated[str, Parameter(name="--guard")] = "",
    rules: Annotated[str, Parameter(name="--rules")] = "",
    duplicates: str | None = None,
    best: int | None = None,
    by: str | None = None,
    using: Annotated[str, Parameter(name="--using")] = "",
    captions: str | None = None,
    without: Annotated[Sequence[Path], Parameter(name="--without")] = (),
) -> SelectResult:
    """Write a selection: clips of one split that fulfil conditions, are no duplicates and touch no evaluation list.

    Args:
        dataset: Folder of the dataset.
        name: Name of the selection; the split when not given.
        where: SQL condition over the tables clips, videos, "fetch" (a word of SQL, so in quotes), cut, measure and
            every other stage of clips that has run, as 'measure.loudness_lufs > -50 AND tag.music_ratio > 0.5'; a clip
            without the value is refused.
        split: The split that is taken.
        guard: Names of evaluation lists, separated by commas, whose spans and sounds are refused.
        rules: Names of published thresholds, separated by commas, as vggsound-faults.
        duplicates: Name of the groups that `dedupe` found; only equal samples count as duplicates when not given.
        best: Keep so many at most, those that rank highest.
        by: SQL expression by which clips rank, the higher the better; a clip without the value is refused.
        using: STAGE=LABEL, separated by commas, for stages that ran in several variants, as tag=mn10.
        captions: Rule for captions: a SQL condition over their scores, as 'clap > 0.3 AND hedges = 0', or `clean`; all
            of the best kind when not given. A clip without any stays.
        without: A file of ids of videos or clips that are left out, a line each or a JSON array; may be given several
            times: the unmatched and low-quality lists of publications.
    """
    opened = Dataset(dataset)
    rule = checked_rule(opened, captions) if captions else None
    report = select_clips(
        opened,
        name=name or split,
        where=where,
        split=split,
        guards=_listed(guard),
        rules=_listed(rules),
        captions_sql=choose(candidates_sql(opened), rule),
        choice=Choice(
            duplicates=duplicates,
            best_clips=best,
            by=by,
            using=_using(_listed(using)),
            without=[Without.read(file) for file in without],
        ),
    )
    return SelectResult(report)
