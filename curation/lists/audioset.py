"""AudioSet segments: three comment lines, then id, start, end and the ids of the labels, which a second file names.

Source: https://research.google.com/audioset/download.html (Gemmeke et al., ICASSP 2017, CC BY 4.0).
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from curation.errors import ArgumentError
from curation.lists.listfile import ListFile
from curation.lists.row import Entry, ListRow, Record, Reject, each_row, malformed, span_ms
from curation.lists.text import csv_records, take_header

HEADER = "# YTID, start_seconds, end_seconds, positive_labels"
COMMENT_LINES = 3
LABEL_COLUMNS = ("index", "mid", "display_name")


def read(file: ListFile) -> Iterator[Entry]:
    """The rows of a segments file, label ids replaced by their names.

    Raises:
        ArgumentError: The comment lines are others, or the file that names the labels is not given.
    """
    records = csv_records(file.path, skip_initial_space=True)
    comments = list(islice(records, COMMENT_LINES))
    header = comments[-1].text.strip() if comments else ""
    if len(comments) < COMMENT_LINES or header != HEADER or not all(c.text.startswith("#") for c in comments):
        raise ArgumentError(
            f"{file.path}: line {COMMENT_LINES} must be {HEADER!r} after two comments, found {header[:200]!r}"
        )
    if file.labels_file is None:
        raise ArgumentError(
            f"{file.path} names labels by id; give AudioSet's class_labels_indices.csv, "
            f"which says what they are called, with --labels"
        )
    names = read_label_names(file.labels_file)

    def row(record: Record[list[str]]) -> ListRow:
        if len(record.content) != 4:
            raise malformed(f"{len(record.content)} cells instead of 4")
        video_id, start, end, labels = record.content
        start_ms, duration_ms = span_ms(start, end)
        return ListRow(
            line=record.line,
            platform="youtube",
            video_id=video_id.strip(),
            start_ms=start_ms,
            duration_ms=duration_ms,
            split=file.split,
            labels=_named(labels, names),
        )

    return each_row(records, row)


def read_label_names(file: Path) -> dict[str, str]:
    """Label id -> name from `class_labels_indices.csv`.

    Raises:
        ArgumentError: It is another file, or one of its lines is damaged.
    """
    records = csv_records(file)
    take_header(file, records, LABEL_COLUMNS)
    names: dict[str, str] = {}
    for record in records:
        if isinstance(record, Reject) or len(record.content) != len(LABEL_COLUMNS) or not record.content[2].strip():
            raise ArgumentError(f"{file}: line {record.line} is not index,mid,display_name: {record.text[:200]!r}")
        names[record.content[1].strip()] = record.content[2].strip()
    return names


def _named(cell: str, names: Mapping[str, str]) -> tuple[str, ...]:
    ids = [part.strip() for part in cell.split(",")]
    unknown = [label for label in ids if label not in names]
    if unknown:
        raise malformed(f"label id {unknown[0]!r} is not in the file of label names")
    return tuple(dict.fromkeys(names[label] for label in ids))
