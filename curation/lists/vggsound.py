"""VGGSound: `vggsound.csv` (no header: id, start, label, split) and `test.csv` (`{id}_{start:06d}.mp4`, label).

Source: https://www.robots.ox.ac.uk/~vgg/data/vggsound/ (Chen et al., ICASSP 2020): every clip is 10 s long.
"""

import re
from collections.abc import Iterator

from curation.lists.listfile import ListFile
from curation.lists.row import Entry, ListRow, Record, clean, each_row, malformed, milliseconds
from curation.lists.sieve import LABEL_CELL, PLAIN_SECONDS, SPLIT, YOUTUBE_ID, SureLines
from curation.lists.text import csv_records

CLIP_MS = 10_000

_CLIP_FILE = re.compile(r"(.{11})_(\d{6,7})\.mp4", re.ASCII)
"""The id is the first 11 characters, which may be `_` and `-` too; the start has six digits, s."""

SURE = SureLines(pattern=f"{YOUTUBE_ID},{PLAIN_SECONDS},{LABEL_CELL},{SPLIT}", clip_ms=CLIP_MS)
"""Rows of four cells as they all are in the published list."""


def read(file: ListFile) -> Iterator[Entry]:
    """The rows of either file; four cells or two tell which layout a row has."""
    return each_row(csv_records(file.path, sieve=file.sieve), _row)


def _row(record: Record[list[str]]) -> ListRow:
    cells = record.content
    if len(cells) == 4:
        video_id, start, label, split = cells
    elif len(cells) == 2:
        name, label = cells
        match = _CLIP_FILE.fullmatch(name.strip())
        if match is None:
            raise malformed(f"{name!r} is not of the form ID_SSSSSS.mp4")
        video_id, start = match.groups()
        split = "test"
    else:
        raise malformed(f"{len(cells)} cells; a row has 4 (id, start, label, split) or 2 (file, label)")
    return ListRow(
        line=record.line,
        platform="youtube",
        video_id=video_id.strip(),
        start_ms=milliseconds(start, "start"),
        duration_ms=CLIP_MS,
        split=split.strip(),
        labels=(clean(label, "label"),),
    )
