"""`foundsound import`: captions of a published set for the clips that it is about."""

from pathlib import Path
from typing import Any, Literal

from captioning.imported.join import FATES, Fate
from captioning.imported.keep import ImportReport
from captioning.imported.keep import import_captions as keep_captions
from captioning.imported.sets import SETS, rows_in
from curation.dataset import Dataset
from curation.errors import ArgumentError
from pipelines.progress import Progress


class ImportResult:
    """An import that was made."""

    def __init__(self, report: ImportReport) -> None:
        self.report = report

    def as_dict(self) -> dict[str, Any]:
        """The counts of the import, and the first rows that could not be understood."""
        return self.report.as_dict()

    def __str__(self) -> str:
        report = self.report
        rows = sum(report.fates.values())
        lines = [
            f"captions {report.label}: {report.clips:,} clips have some ({report.new_clips:,} new), of {rows:,} rows "
            f"{report.fates.get(Fate.JOINED, 0):,} joined",
            *(
                f"  {report.fates[fate]:,} {fate.value}: {meaning}"
                for fate, meaning in FATES.items()
                if fate is not Fate.JOINED and report.fates.get(fate)
            ),
        ]
        return "\n".join([*lines, *(f"  row {reject.line}: {reject.reason}" for reject in report.rejects)])


def import_captions(
    dataset: Path,
    kind: Literal["audiosetcaps", "auto-acd", "wavcaps"],
    file: Path,
    /,
    *,
    name: str | None = None,
    segments: Path | None = None,
) -> ImportResult:
    """Take captions of a published set for clips that the dataset has, joined by video and time, never guessed.

    Args:
        dataset: Folder of the dataset.
        kind: Which set.
        file: Its file: AudioSetCaps' or Auto-ACD's CSV, or one of WavCaps' JSON files.
        name: Label under which the captions stand beside others; made from the file's name when not given.
        segments: One of AudioSet's segment lists (unbalanced_train_segments.csv), for rows of AudioSet's copies, which
            say no time; without it they find only clips that an AudioSet or AudioCaps list of the dataset names.
    """
    opened = Dataset(dataset)
    if kind not in SETS:
        raise ArgumentError(f"{kind!r} is no set of captions that is known here; give one of {', '.join(SETS)}")
    if not file.is_file():
        raise ArgumentError(f"{file} is not a file")
    with Progress("import", total=rows_in(file)) as progress:
        return ImportResult(keep_captions(opened, kind, file, name=name, segments=segments, progress=progress.advance))
