"""Exports: selections or generations in another tool's layout, as a folder that appears whole or not at all.

    <out>/README.md       counts, terms, filters, and what was refused
    <out>/export.json     what was asked for and what became of it; `clips` = clips with rows + `left_out`
    <out>/...             the format's own files

Everything is written into `.writing-<name>` beside `<out>` and renamed at the end. After a kill or Ctrl-C the same
command goes on there: media that were brought and files that were finished are kept.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.exports.audiocaps import AudioCaps
from curation.exports.audioldm import AudioLdm
from curation.exports.audiox import AudioX, Music
from curation.exports.card import LEFT_OUT, Counts, card
from curation.exports.clip import ExportClip, Origin, of_generation, of_selection
from curation.exports.hf import CLIPS_PER_FILE, HuggingFace
from curation.exports.target import MediaMode, Target, Writer
from curation.keys import canonical, short_hash
from curation.lock import writer_lock
from curation.schema import SCHEMA_VERSION
from curation.shards.pack import stopped_when_full
from curation.tables import TEMPORARY, remove_leftovers, sync_path, write_bytes

FORMATS: dict[str, Callable[[Dataset], Writer]] = {
    "hf": lambda dataset: HuggingFace(),
    "audiox": lambda dataset: AudioX(Music(dataset)),
    "audioldm": lambda dataset: AudioLdm(),
    "audiocaps": lambda dataset: AudioCaps(),
}
"""Name of a format -> what writes it."""

PLAN_FILE, DONE_FILE = "plan.json", "export.json"

Advance = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """What an export came to.

    Args:
        folder: The finished folder.
        layout: Its format.
        splits: Split -> clips taken, rows written, and clips left out by reason; `clips` counts all three kinds.
    """

    folder: Path
    layout: str
    splits: dict[str, dict[str, Any]]


def export(
    dataset: Dataset,
    layout: str,
    out: Path,
    *,
    selections: Sequence[str] = (),
    generations: Sequence[str] = (),
    media: MediaMode = MediaMode.LINK,
    pictures: bool = False,
    progress: Advance | None = None,
) -> ExportReport:
    """Write selections or generations, one a split, as a folder that another tool reads.

    Args:
        dataset: The dataset.
        layout: `hf`, `audiox`, `audioldm` or `audiocaps`.
        out: The folder to make; it must not be there, or be empty.
        selections: Names of selections.
        generations: Names of generations of shards.
        media: How media come into the folder; what lies in shards is always copied. `hf` holds them in its own files
            unless they are referenced.
        pictures: Whether pictures go along, where the format has a place for them (`hf`, `audiox`).
        progress: Told after every clip.

    Raises:
        ArgumentError: The format, a selection or a generation is not known, two are of the same split, the folder is
            not empty, shards are to be referenced, or the format can hold none of the clips.
        DatasetError: Media or tables are missing or damaged.
        LockedError: Another process writes this folder.
        StoppedError: The disk is full.
    """
    if layout not in FORMATS:
        raise ArgumentError(f"no format {layout!r}; formats are {', '.join(FORMATS)}")
    final = out.expanduser().resolve()
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        raise ArgumentError(f"{final} is a file, or not empty; give another folder with --out")
    origins = _origins(dataset, selections, generations, media)
    lock = dataset.folder("locks") / f"export-{short_hash(str(final), 8)}.lock"
    with writer_lock(lock, f"the export {final}"), stopped_when_full(final.parent):
        plan = _plan(layout, final, origins, media, pictures)
        folder = _working_folder(final, plan)
        writer = FORMATS[layout](dataset)
        counts = []
        for origin, clips in zip(origins, _told(origins, progress), strict=True):
            counted = Counts(origin)
            target = Target(
                folder=folder, final=final, split=origin.split, clips=origin.clips, media=media, pictures=pictures
            )
            counted.written = writer.write(counted.through(clips), target)
            counts.append(counted)
        _refuse_nothing(folder, layout, counts)
        writer.finish(folder, final)
        text = card(dataset.path.name, layout, counts, dataset.config["sources"], _version())
        write_bytes(folder / "README.md", text.encode())
        report = _finish(folder, final, layout, plan, counts)
    return report


def _origins(dataset: Dataset, selections: Sequence[str], generations: Sequence[str], media: MediaMode) -> list[Origin]:
    if not (selections or generations):
        raise ArgumentError("name a selection (--selection) or a generation (--shards) to export")
    if generations and media is MediaMode.REFERENCE:
        raise ArgumentError("media in shards have no path to refer to; take --media copy, or a selection")
    found = [of_selection(dataset, name) for name in selections]
    found += [of_generation(dataset, name) for name in generations]
    by_split: dict[str, Origin] = {}
    for origin in found:
        other = by_split.setdefault(origin.split, origin)
        if other is not origin:
            raise ArgumentError(
                f"{other.kind} {other.name!r} and {origin.kind} {origin.name!r} are both of the split "
                f"{origin.split!r}; give one of each split"
            )
    return found


def _told(origins: Sequence[Origin], progress: Advance | None) -> Iterator[Iterator[ExportClip]]:
    """The clips of each origin, told of one by one."""
    total = sum(origin.clips for origin in origins)
    done = 0

    def counted(clips: Iterable[ExportClip]) -> Iterator[ExportClip]:
        nonlocal done
        for clip in clips:
            done += 1
            if progress:
                progress(done, total)
            yield clip

    for origin in origins:
        yield counted(origin.read())


def _plan(layout: str, final: Path, origins: Sequence[Origin], media: MediaMode, pictures: bool) -> dict[str, Any]:
    """What the folder's content is a function of."""
    return {
        "schema_version": SCHEMA_VERSION,
        "format": layout,
        "out": str(final),
        "from": [{"kind": o.kind, "name": o.name, "split": o.split, "selection_sha256": o.sha256} for o in origins],
        "media": str(media),
        "pictures": pictures,
        "clips_per_file": CLIPS_PER_FILE,
    }


def _working_folder(final: Path, plan: dict[str, Any]) -> Path:
    """The unfinished folder: that of an interrupted export of the same, or a fresh one.

    Raises:
        ArgumentError: Something else has its name.
    """
    folder = final.with_name(f"{TEMPORARY}{final.name}")
    file = folder / PLAN_FILE
    if folder.exists() and not file.is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentError(f"{folder} is in the way and is no unfinished export; delete it or give another --out")
    if file.is_file() and file.read_bytes() != canonical(plan):
        shutil.rmtree(folder)
    try:
        write_bytes(file, canonical(plan))
    except (NotADirectoryError, FileNotFoundError, PermissionError) as error:
        raise ArgumentError(f"{folder} cannot be made ({error}); give another --out") from error
    remove_leftovers(folder, older_than_s=-1.0)  # under the lock, so all of them are a dead process's
    return folder


def _refuse_nothing(folder: Path, layout: str, counts: Sequence[Counts]) -> None:
    """Stop where the format can hold none of the clips, and leave nothing behind."""
    if any(one.written.rows for one in counts):
        return
    shutil.rmtree(folder)
    reasons = sum((one.written.left_out for one in counts), Counter())
    said = ", ".join(f"{count:,} {reason}: {LEFT_OUT[reason]}" for reason, count in sorted(reasons.items()))
    raise ArgumentError(f"format {layout} can hold none of the clips ({said}); take another format")


def _finish(folder: Path, final: Path, layout: str, plan: dict[str, Any], counts: Sequence[Counts]) -> ExportReport:
    splits = {
        one.origin.split: {"clips": one.clips, "rows": one.written.rows, "left_out": dict(one.written.left_out)}
        for one in counts
    }
    content = json.dumps({**plan, "splits": splits}, indent=2, sort_keys=True, ensure_ascii=False)
    write_bytes(folder / DONE_FILE, content.encode() + b"\n")
    sync_path(folder)
    folder.replace(final)
    (final / PLAN_FILE).unlink()
    sync_path(final.parent)
    return ExportReport(folder=final, layout=layout, splits=splits)


def _version() -> str:
    try:
        return version("foundsound")
    except PackageNotFoundError:
        return "of a checkout"
