"""Datasets made of ESC-50's recordings by the project's verbs, split by the file that a recording was cut from.

ESC-50 has several takes of one file; takes of a file are alike, so a file's takes are all trained on or all held out.
The recordings are those of FOUNDSOUND_REAL_DATA, a part of the whole set.
"""

import csv
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.selections.selection import read_rows
from pipelines.verbs.caption import caption
from pipelines.verbs.fetch import fetch
from pipelines.verbs.manifest import manifest
from pipelines.verbs.measure import measure
from pipelines.verbs.pack import pack
from pipelines.verbs.select import select

HELD_OUT_OF = 3
"""One source of so many is held out, the first of each class. Source: ours; two sources of six fit a judge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """One recording of 5 s.

    Args:
        path: The file.
        label: Its class, in words.
        source: The file of Freesound that it was cut from.
        split: `train` or `test`.
    """

    path: Path
    label: str
    source: str
    split: str = "train"


def sounds_folder() -> Path:
    """Where ESC-50 lies: `media/sounds` of the real data.

    Raises:
        ArgumentError: It is not there.
    """
    folder = Path(os.environ.get("FOUNDSOUND_REAL_DATA", "../shared/data")).resolve() / "media" / "sounds"
    if not (folder / "esc50.csv").is_file():
        raise ArgumentError(f"there is no {folder / 'esc50.csv'}; set FOUNDSOUND_REAL_DATA to the folder of real data")
    return folder


def recordings(folder: Path) -> list[Recording]:
    """Every recording that `esc50.csv` of a folder names, split by source."""
    with (folder / "esc50.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = [
        Recording(
            path=folder / "esc50" / row["filename"],
            label=row["category"].replace("_", " "),
            source=row["src_file"],
        )
        for row in rows
    ]
    return split_by_source(found)


def split_by_source(found: Sequence[Recording]) -> list[Recording]:
    """The recordings with splits: of each class with two sources or more, the first and every third are held out.

    A source is a file, whichever classes its takes are of; it is held out where any of them wants it so.
    """
    sources = sources_of(found)
    held = {one for several in sources.values() if len(several) > 1 for one in several[::HELD_OUT_OF]}
    return [replace(one, split="test" if one.source in held else "train") for one in found]


def sources_of(found: Sequence[Recording]) -> dict[str, list[str]]:
    """The sources of each class, in order."""
    several: dict[str, set[str]] = defaultdict(set)
    for one in found:
        several[one.label].add(one.source)
    return {label: sorted(sources) for label, sources in several.items()}


def widest_classes(found: Sequence[Recording], count: int) -> list[str]:
    """The classes of most sources, which say most about what was not trained on; of equals, those of most recordings.

    Raises:
        ArgumentError: There are not so many.
    """
    sources = sources_of(found)
    if not 1 <= count <= len(sources):
        raise ArgumentError(f"there are {len(sources)} classes; {count} cannot be chosen of them")
    takes = {label: sum(one.label == label for one in found) for label in sources}
    return sorted(sources, key=lambda label: (-len(sources[label]), -takes[label], label))[:count]


def of_classes(found: Sequence[Recording], labels: Sequence[str]) -> list[Recording]:
    """The recordings of some classes."""
    return [one for one in found if one.label in labels]


def thinned(found: Sequence[Recording], most: Mapping[str, int]) -> list[Recording]:
    """The recordings with a long tail: of some classes no more than so many are trained on, the first ones.

    Args:
        found: Recordings.
        most: Class -> training recordings that stay; classes that it does not name keep all. What is held out stays.
    """
    seen: dict[str, int] = defaultdict(int)
    kept = []
    for one in found:
        if one.split == "train" and one.label in most:
            seen[one.label] += 1
            if seen[one.label] > most[one.label]:
                continue
        kept.append(one)
    return kept


def make_dataset(out: Path, found: Sequence[Recording]) -> Dataset:
    """A dataset with the generations `train` and `test`; run again, it goes on where it stopped.

    Args:
        out: Folder of the dataset; the list is written beside it.
        found: Its recordings; each has its class as label, of which `caption --captioner label` makes a sentence.
    """
    listed = out.with_suffix(".csv")
    listed.parent.mkdir(parents=True, exist_ok=True)
    root = Path(os.path.commonpath([one.path.parent for one in found]))
    with listed.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels", "split"])
        writer.writerows([str(one.path.relative_to(root)), json.dumps([one.label]), one.split] for one in found)
    manifest("table", listed, out=out, media_root=root)
    fetch(out, workers=0)
    measure(out, workers=0)
    caption(out, captioner="label", workers=0)
    for split in ("train", "test"):
        select(out, split=split)
        pack(out, selection=split)
    return Dataset(out)


def labels_of(dataset: Dataset, selection: str) -> dict[str, str]:
    """The class of each clip of a selection."""
    return {row["clip_id"]: row["labels"][0] for row in read_rows(dataset, selection, kept_only=True).to_pylist()}
