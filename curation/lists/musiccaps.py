"""MusicCaps: one caption and a list of musical aspects a clip, by musicians. The aspects are taken as labels.

Source: https://www.kaggle.com/datasets/googleai/musiccaps (Agostinelli et al., 2023, CC BY-SA 4.0). The columns
that name AudioSet's labels and subsets are not read: all clips come from AudioSet, and nearly all have the label Music.
"""

import ast
from collections.abc import Iterator

from curation.lists.listfile import ListFile
from curation.lists.row import Entry, ListRow, Record, clean, each_row, malformed, span_ms
from curation.lists.text import csv_records, take_header

COLUMNS = (
    "ytid",
    "start_s",
    "end_s",
    "audioset_positive_labels",
    "aspect_list",
    "caption",
    "author_id",
    "is_balanced_subset",
    "is_audioset_eval",
)


def read(file: ListFile) -> Iterator[Entry]:
    """The rows of `musiccaps-public.csv`; a caption may hold line ends."""
    records = csv_records(file.path, multiline=True)
    take_header(file.path, records, COLUMNS)

    def row(record: Record[list[str]]) -> ListRow:
        if len(record.content) != len(COLUMNS):
            raise malformed(f"{len(record.content)} cells instead of {len(COLUMNS)}")
        cells = dict(zip(COLUMNS, record.content, strict=True))
        start_ms, duration_ms = span_ms(cells["start_s"], cells["end_s"])
        return ListRow(
            line=record.line,
            platform="youtube",
            video_id=cells["ytid"].strip(),
            start_ms=start_ms,
            duration_ms=duration_ms,
            split=file.split,
            labels=_aspects(cells["aspect_list"]),
            captions=(clean(cells["caption"], "caption"),),
        )

    return each_row(records, row)


def _aspects(text: str) -> tuple[str, ...]:
    """The texts of a Python list literal, as `"['low quality', 'sad']"`."""
    try:
        aspects = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise malformed(f"aspect_list is not a list of texts: {text[:60]!r}") from error
    if not isinstance(aspects, list) or not all(isinstance(aspect, str) for aspect in aspects):
        raise malformed(f"aspect_list is not a list of texts: {text[:60]!r}")
    return tuple(dict.fromkeys(clean(aspect, "aspect") for aspect in aspects))
