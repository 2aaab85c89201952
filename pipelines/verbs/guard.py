"""`foundsound guard`: evaluation lists that training must not touch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.guards import guard as guards
from curation.guards.evaluation_lists import BY_SOUND_KINDS, GUARD_KINDS
from curation.guards.guarded_sounds import add_sounds, read_sounds, with_sounds
from curation.guards.overlap import overlap_table
from curation.lists.listfile import ListFile
from curation.lists.row import ListRow, Reject


@dataclass(frozen=True, slots=True)
class GuardResult:
    """The registered guards, how many clips of the dataset each overlaps, and what the lists share."""

    guards: dict[str, dict[str, int]]
    table: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Guard -> spans, file names, sounds and overlapping clips; and the table of overlaps if it was asked for."""
        return {**self.guards, **({"overlaps": self.table} if self.table else {})}

    def __str__(self) -> str:
        lines = [
            f"{name}: guards {counts['spans']:,} spans{_more(counts)}; {counts['overlapping_clips']:,} clips of this "
            "dataset overlap them"
            for name, counts in self.guards.items()
        ]
        if self.table:
            lines += ["", f"{'of the spans of':<34} {'':>8}  {'share with':<34} {'a video':>8} {'time':>8}"]
            lines += [
                f"{row['list']:<34} {row['spans']:>8,}  {row['other']:<34} {row['by_video']:>8,} {row['in_time']:>8,}"
                for row in self.table
            ]
        return "\n".join(lines)


def _more(counts: dict[str, int]) -> str:
    names = f", {counts['file_names']:,} file names" if counts["file_names"] else ""
    return f"{names}, {counts['sounds']:,} sounds" if counts["sounds"] else names


def _entries(file: str, kind: str, media_root: Path | None, labels: Path | None) -> list[ListRow]:
    """The rows of a list; one that cannot be read is an error here, since it would guard nothing."""
    rows: list[ListRow] = []
    for entry in GUARD_KINDS[kind](ListFile(path=Path(file), media_root=media_root, labels_file=labels)):
        if isinstance(entry, Reject):
            raise ArgumentError(f"{file}, line {entry.line}: {entry.reason}; a guard with holes is none, mend the list")
        rows.append(entry)
    return rows


def _name_and_file(text: str) -> tuple[str, str]:
    name, separator, file = text.partition("=")
    if not separator:
        raise ArgumentError(f"--add wants NAME=FILE, as audiocaps-test=test.csv, not {text!r}")
    return name, file


def guard(
    dataset: Path,
    /,
    *,
    add: Annotated[list[str] | None, Parameter(name="--add")] = None,
    kind: str = "table",
    media_root: Path | None = None,
    labels: Path | None = None,
    media: Path | None = None,
    by_name: bool = False,
    table: bool = False,
) -> GuardResult:
    """Register evaluation lists, and show how many clips overlap them; `select --guard` refuses those clips.

    Args:
        dataset: Folder of the dataset.
        add: NAME=FILE of a list to register; may be given several times.
        kind: Layout of the files: vggsound, audiocaps, v2m, musiccaps, audioset, table, clotho or wavcaps (a
            blacklist).
        media_root: Folder below which the path rows of a table lie, as given to `manifest`; the list's own when not
            given.
        labels: AudioSet's class_labels_indices.csv, for its lists.
        media: The evaluation clips themselves, for one list: a dataset that has them, measured and fingerprinted, or a
            folder of media. Clips that sound the same are refused too, once `dedupe` has compared them.
        by_name: Take a list that only has file names (clotho) without its media: a copy under another name is not
            found then.
        table: Show how many clips the lists of the dataset and the guards share, by video and in time.
    """
    if kind not in GUARD_KINDS:
        raise ArgumentError(f"--kind {kind!r} is none of {', '.join(GUARD_KINDS)}")
    if media is not None and len(add or ()) != 1:
        raise ArgumentError(f"--media {media} belongs to one list; give it with one --add")
    opened = Dataset(dataset)
    for text in add or ():
        name, file = _name_and_file(text)
        rows = _entries(file, kind, media_root, labels)
        if kind in BY_SOUND_KINDS and media is None and not by_name:
            raise ArgumentError(
                f"{file} names files, not videos, so that only its sounds tell what is a copy: give them with --media "
                "FOLDER; or say --by-name to refuse no more than files of the same name"
            )
        if media is not None:
            add_sounds(opened, name, media)
        guards.add(opened, name, rows)  # last, so that no guard stands without the sounds that were to be its own
    return GuardResult(guards=_counts(opened), table=overlap_table(opened).to_pylist() if table else [])


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    names = guards.guard_names(dataset)
    overlaps = guards.overlaps(dataset, names).to_pandas()
    found = {}
    for name in names:
        spans = guards.read(dataset, [name])
        by_name = spans.num_rows - spans["file_name"].null_count
        found[name] = {
            "spans": spans.num_rows - by_name,
            "file_names": by_name,
            "sounds": read_sounds(dataset, name).num_rows if name in with_sounds(dataset) else 0,
            "overlapping_clips": int(overlaps[overlaps["guard"] == name]["clip_id"].nunique()),
        }
    return found
