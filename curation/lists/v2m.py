"""V2M (VidMuse): one YouTube id a line, nothing else. Its videos are cut into clips when they have been fetched.

Source: https://github.com/ZeyueT/VidMuse (Tian et al., CVPR 2025); segments of 10 s as AudioX uses them.
"""

from collections.abc import Iterator

from curation.lists.listfile import ListFile
from curation.lists.row import Entry, ListRow, Record, Reject, each_row
from curation.lists.sieve import YOUTUBE_ID, SureLines
from curation.lists.text import lines

SEGMENT_MS = 10_000

SURE = SureLines(pattern=YOUTUBE_ID)


def read(file: ListFile) -> Iterator[Entry]:
    """The videos of one of its files."""

    def row(record: Record[str]) -> ListRow:
        return ListRow(line=record.line, platform="youtube", video_id=record.content, split=file.split)

    return each_row(_ids(file), row)


def _ids(file: ListFile) -> Iterator[Record[str] | Reject]:
    for line in lines(file.path, file.sieve):
        if line.fault is not None:
            yield line.reject(line.fault)
        elif line.text.strip():
            yield Record(line.number, line.text, line.text.strip())
