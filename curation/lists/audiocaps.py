"""AudioCaps, version 1 and 2: one caption a line, several lines a clip, the split only in the file's name.

Source: https://github.com/cdjkim/audiocaps (Kim et al., NAACL 2019): every clip is 10 s long. The key of a clip is
(youtube_id, start_time); `audiocap_id` names the caption.
"""

from collections.abc import Iterator

from curation.lists.listfile import ListFile
from curation.lists.row import Entry, ListRow, Record, clean, each_row, malformed, milliseconds
from curation.lists.text import csv_records, take_header

COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")
CLIP_MS = 10_000


def read(file: ListFile) -> Iterator[Entry]:
    """The rows of one of its files; the split is the argument's, never guessed from a name."""
    records = csv_records(file.path)
    take_header(file.path, records, COLUMNS)

    def row(record: Record[list[str]]) -> ListRow:
        if len(record.content) != len(COLUMNS):
            raise malformed(f"{len(record.content)} cells instead of {len(COLUMNS)}")
        _, video_id, start, caption = record.content
        return ListRow(
            line=record.line,
            platform="youtube",
            video_id=video_id.strip(),
            start_ms=milliseconds(start, "start_time"),
            duration_ms=CLIP_MS,
            split=file.split,
            captions=(clean(caption, "caption"),),
        )

    return each_row(records, row)
