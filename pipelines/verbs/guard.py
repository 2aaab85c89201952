"""`foundsound guard`: evaluation lists that training must not touch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from curation import guard as guards
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.lists.kinds import KINDS
from curation.lists.listfile import ListFile
from curation.lists.row import ListRow, Reject


@dataclass(frozen=True, slots=True)
class GuardResult:
    """The registered guards, and how many clips of the dataset each overlaps."""

    spans: dict[str, int]
    overlapping_clips: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Guard -> spans and overlapping clips."""
        return {
            name: {"spans": count, "overlapping_clips": self.overlapping_clips[name]}
            for name, count in self.spans.items()
        }

    def __str__(self) -> str:
        return "\n".join(
            f"{name}: guards {count:,} spans; {self.overlapping_clips[name]:,} clips of this dataset overlap them"
            for name, count in self.spans.items()
        )


def _entries(text: str, kind: str, media_root: Path | None) -> tuple[str, list[ListRow]]:
    """The name and the rows of NAME=FILE; a row that cannot be read is an error here, since it would guard nothing."""
    name, separator, file = text.partition("=")
    if not separator:
        raise ArgumentError(f"--add wants NAME=FILE, as audiocaps-test=test.csv, not {text!r}")
    rows: list[ListRow] = []
    for entry in KINDS[kind].read(ListFile(path=Path(file), media_root=media_root)):
        if isinstance(entry, Reject):
            raise ArgumentError(f"{file}, line {entry.line}: {entry.reason}; a guard with holes is none, mend the list")
        rows.append(entry)
    return name, rows


def guard(
    dataset: Path,
    /,
    *,
    add: Annotated[list[str] | None, Parameter(name="--add")] = None,
    kind: str = "table",
    media_root: Path | None = None,
) -> GuardResult:
    """Register evaluation lists, and show how many clips overlap them; `select --guard` refuses those clips.

    Args:
        dataset: Folder of the dataset.
        add: NAME=FILE of a list to register; may be given several times.
        kind: Layout of the files: vggsound, audiocaps, v2m, musiccaps or table.
        media_root: Folder below which the path rows of a table lie, as given to `manifest`; the list's own when not
            given.
    """
    if kind not in KINDS:
        raise ArgumentError(f"--kind {kind!r} is none of {', '.join(KINDS)}")
    opened = Dataset(dataset)
    for text in add or ():
        guards.add(opened, *_entries(text, kind, media_root))
    names = guards.guard_names(opened)
    overlaps = guards.overlaps(opened, names).to_pandas()
    spans = guards.read(opened, names)["guard"].to_pylist()
    return GuardResult(
        spans={name: spans.count(name) for name in names},
        overlapping_clips={name: int(overlaps[overlaps["guard"] == name]["clip_id"].nunique()) for name in names},
    )
