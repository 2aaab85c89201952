"""One row of a published set of captions: of which recording it is, and from when to when.

Names that these sets give their recordings say the video, and often the time: `Y<id>` (AudioSet's copies, no time),
`<id>_<start>` (VGGSound's, six digits), `<id>_<start>_<length>` (YouTube-8M's in AudioSetCaps), `<id>_<start>_<end>`.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from captioning.captioner import one_line
from curation.errors import ArgumentError, ClipError
from curation.lists.row import Record, Reject, malformed, milliseconds, span_ms
from curation.lists.text import csv_records

CLIP_MS = 10_000
"""Length of the recordings of AudioSet, VGGSound and AudioSetCaps. Source: their papers; those at the end of a video
are shorter, and their names do not say it."""

_NAME = re.compile(r"(Y?)([A-Za-z0-9_-]{11})(?:_(\d{1,7}(?:\.\d{1,3})?))?(?:_(\d{1,7}(?:\.\d{1,3})?))?", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """A sentence and the recording that it is of.

    Args:
        line: Where it stands in the file, from 1: the line, in JSON the number of the entry.
        text: The sentence, on one line.
        name: Name of the recording without ending; a file of a dataset may be called so.
        video_id: YouTube's id; None where the recording is no video.
        start_ms: Start in the video, ms; None: not known, for AudioSet's copies.
        duration_ms: Length of the recording, ms; None: not known.
        url: Where the recording was taken from; None: not known.
    """

    line: int
    text: str
    name: str
    video_id: str | None = None
    start_ms: int | None = None
    duration_ms: int | None = None
    url: str | None = None


Entry = Caption | Reject
Entries = Iterator[Entry]


def sentence(text: object) -> str:
    """A caption on one line.

    Raises:
        ClipError: MALFORMED: it is no text, or holds no word.
    """
    line = one_line(text) if isinstance(text, str) and "\0" not in text else ""
    if not any(character.isalnum() for character in line):
        raise malformed(f"the caption holds no words but {str(text)[:80]!r}")
    return line


def of_video(line: int, name: str, text: object) -> Caption:
    """The row of a recording that is named for a YouTube video.

    Two numbers are start and length where the second is 10 (both readings are the same for a start of 0), otherwise
    start and end; anything else says no span of 10 s or less and is not guessed at.

    Args:
        line: Where the row stands.
        name: Name of the recording, with or without the ending of a file.
        text: Its caption.

    Raises:
        ClipError: MALFORMED: the name is no such name, or the caption no text.
    """
    stem = re.sub(r"\.(wav|flac|mp3|mp4|m4a|webm)$", "", name.strip())
    match = _NAME.fullmatch(stem)
    if match is None:
        raise malformed(f"{name[:80]!r} does not name a YouTube video: Y and its id, or its id and a time")
    _, video_id, first, second = match.groups()
    start_ms = None if first is None else milliseconds(first, "start")
    duration_ms = CLIP_MS
    if start_ms is not None and second is not None and milliseconds(second, "length") != CLIP_MS:
        duration_ms = milliseconds(second, "end") - start_ms
        if not 0 < duration_ms <= CLIP_MS:
            raise malformed(f"{name[:80]!r} says no span of at most {CLIP_MS // 1000} s")
    return Caption(
        line=line, text=sentence(text), name=stem, video_id=video_id, start_ms=start_ms, duration_ms=duration_ms
    )


def timed(entries: Entries, spans: Mapping[str, tuple[int, int]]) -> Entries:
    """The rows, those without a time at the span that AudioSet's own list gives their video.

    Args:
        entries: Rows of a set.
        spans: YouTube's id -> start and length, ms, as `read_segments` gives them.
    """
    for entry in entries:
        span = spans.get(entry.video_id or "") if isinstance(entry, Caption) and entry.start_ms is None else None
        if span is None or not isinstance(entry, Caption):
            yield entry
        else:
            yield dataclasses.replace(entry, start_ms=span[0], duration_ms=span[1])


def read_segments(file: Path, wanted: frozenset[str]) -> dict[str, tuple[int, int]]:
    """Start and length, ms, of the videos of one of AudioSet's segment lists.

    Args:
        file: As `unbalanced_train_segments.csv`: lines of id, start and end in s, and labels; `#` begins a comment.
        wanted: Ids of the videos that are asked about.

    Raises:
        ArgumentError: The file is not UTF-8, or has not one such line.
    """
    spans, lines = {}, 0
    for record in csv_records(file, skip_initial_space=True):
        if isinstance(record, Reject) or record.text.startswith("#") or len(record.content) != 4:
            continue
        lines += 1
        if (video_id := record.content[0].strip()) in wanted:
            try:
                spans[video_id] = span_ms(record.content[1], record.content[2])
            except ClipError as error:
                raise ArgumentError(f"{file}: line {record.line} is no segment: {error.detail}") from error
    if not lines:
        raise ArgumentError(f"{file} is none of AudioSet's segment lists: it has no line of id, start, end and labels")
    return spans


def understood(record: Record[list[str]] | Reject, columns: tuple[int, int], width: int) -> Entry:
    """A record of a CSV of names and captions as a row.

    Args:
        record: The record.
        columns: Where the name and the caption stand.
        width: How many cells a record has.
    """
    if isinstance(record, Reject):
        return record
    try:
        if len(record.content) != width:
            raise malformed(f"{len(record.content)} cells instead of {width}")
        return of_video(record.line, record.content[columns[0]], record.content[columns[1]])
    except ClipError as error:
        return Reject(record.line, error.detail, record.text)
