"""What a reader makes of one line: a `ListRow`, or a `Reject` that says why not; and the rules for single cells.

The rules raise `ClipError(MALFORMED)`, which `each_row` turns into a `Reject`. Files and columns are the readers'
affair.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Generic, Literal, TypeVar, get_args

from curation import keys
from curation.errors import ClipError, Code

Platform = Literal["youtube", "url", "file"]
Split = Literal["train", "val", "test"]

SPLITS: tuple[str, ...] = get_args(Split)
MAX_S = 1_000_000
"""Largest start or duration, s. Source: ours; 11.6 days, above the longest public video and below any time in ms that
was written into a column of seconds by mistake and matters."""
REJECT_CHARACTERS = 200
"""How much of a rejected line is kept."""

_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_NUMBER = re.compile(r"[+-]?(\d{1,18}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII)
_CREDENTIALS = re.compile(r"//[^/\s]*@")
_MILLISECOND = Decimal("0.001")

T = TypeVar("T")


def malformed(reason: str) -> ClipError:
    """The error for a line that cannot be understood."""
    return ClipError(Code.MALFORMED, reason)


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that could not be understood.

    Args:
        line: Where it begins, counted from 1 (the row number for Parquet).
        reason: What is wrong with it.
        text: The line; its first 200 characters are kept, and names and passwords in addresses are not.
    """

    line: int
    reason: str
    text: str

    def __post_init__(self) -> None:
        shown = _CREDENTIALS.sub("//***@", self.text)[:REJECT_CHARACTERS]
        object.__setattr__(self, "text", shown.encode(errors="replace").decode())


@dataclass(frozen=True, slots=True)
class ListRow:
    """One line of a list, understood.

    Args:
        line: Where it begins, counted from 1 (the row number for Parquet).
        platform: `youtube`, `url` or `file`.
        video_id: The platform's id; for `url` and `file` the hash of the URL or of the relative path.
        url: http(s) address, for platform `url` only.
        path: Path relative to the list's root, with `/`, for platform `file` only.
        start_ms: Start in the video, ms; None with `duration_ms` None: the row names a whole video.
        duration_ms: Length, ms, at least 1.
        split: `train`, `val`, `test` or None.
        labels: Class names, none empty.
        captions: Sentences by people, none empty.
        transcript: What is said, where the list has it.
        type: What it trains, where the list has it.

    Raises:
        ClipError: MALFORMED, with the value that breaks a rule.
    """

    line: int
    platform: Platform
    video_id: str
    url: str | None = None
    path: str | None = None
    start_ms: int | None = None
    duration_ms: int | None = None
    split: str | None = None
    labels: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    transcript: str | None = None
    type: str | None = None

    def __post_init__(self) -> None:
        if self.platform == "youtube" and not _YOUTUBE_ID.fullmatch(self.video_id):
            raise malformed(f"{self.video_id!r} is not a YouTube id, which has 11 characters of A-Z a-z 0-9 _ -")
        if (self.url is not None) != (self.platform == "url") or (self.path is not None) != (self.platform == "file"):
            raise malformed(f"a row of platform {self.platform} has url {self.url!r} and path {self.path!r}")
        if (self.start_ms is None) != (self.duration_ms is None):
            missing = "start" if self.start_ms is None else "duration"
            raise malformed(f"the {missing} is missing; a clip needs start and duration, a whole video neither")
        if self.start_ms is not None and self.start_ms < 0:
            raise malformed(f"the start, {self.start_ms} ms, is negative")
        if self.duration_ms is not None and self.duration_ms < 1:
            raise malformed(f"the duration, {self.duration_ms} ms, is below 1 ms")
        if self.split is not None and self.split not in SPLITS:
            raise malformed(f"split {self.split!r} is not one of {', '.join(SPLITS)}")
        for what, texts in (("label", self.labels), ("caption", self.captions)):
            if not all(texts):
                raise malformed(f"a {what} is empty")

    @property
    def video_key(self) -> str:
        """Key of the video."""
        return keys.video_key(self.platform, self.video_id)

    @property
    def clip_id(self) -> str | None:
        """Key of the clip, None for a whole video."""
        if self.start_ms is None or self.duration_ms is None:
            return None
        return keys.clip_id(self.platform, self.video_id, self.start_ms, self.duration_ms)


Entry = ListRow | Reject


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """One record of a file before its meaning is read.

    Args:
        line: Where it begins, counted from 1 (the row number for Parquet).
        text: The raw line, for a reject.
        content: Its cells.
    """

    line: int
    text: str
    content: T


def each_row(records: Iterable[Record[T] | Reject], understand: Callable[[Record[T]], ListRow]) -> Iterator[Entry]:
    """Apply a reader's rule to every record; a `ClipError` makes a `Reject` of that record alone."""
    for record in records:
        if isinstance(record, Reject):
            yield record
            continue
        try:
            entry: Entry = understand(record)
        except ClipError as error:
            entry = Reject(record.line, error.detail, record.text)
        yield entry


def milliseconds(value: str | int | float | Decimal, what: str) -> int:
    """Seconds, as they stand in a list, to whole milliseconds; what is finer is rounded half to even.

    Args:
        value: The number, 0 to `MAX_S` s; texts are plain decimal notation, with an exponent if need be.
        what: Name of the column, for the message.

    Raises:
        ClipError: MALFORMED: not a finite number, negative, or above `MAX_S`.
    """
    text = str(value).strip()
    if isinstance(value, bool) or not _NUMBER.fullmatch(text):
        raise malformed(f"{what} {text[:40]!r} is not a number of seconds")
    seconds = Decimal(text)
    if not 0 <= seconds <= MAX_S:
        raise malformed(f"{what} {text[:40]} s is not between 0 and {MAX_S} s")
    return int(seconds.quantize(_MILLISECOND, ROUND_HALF_EVEN) * 1000)


def span_ms(start: str, end: str) -> tuple[int, int]:
    """Start and duration, ms, from the start and end, s, of a list that gives both.

    Raises:
        ClipError: MALFORMED: not numbers, or the end is not after the start.
    """
    start_ms, end_ms = milliseconds(start, "start"), milliseconds(end, "end")
    if end_ms <= start_ms:
        raise malformed(f"the end, {end.strip()} s, is not after the start, {start.strip()} s")
    return start_ms, end_ms - start_ms


def clean(text: str, what: str) -> str:
    """A text cell without surrounding blanks.

    Raises:
        ClipError: MALFORMED: it is empty, or has characters that are no text (NUL, half a surrogate pair).
    """
    return whole(text, what).strip()


def whole(text: str, what: str) -> str:
    """A text cell as it is, as the name of a file that may begin or end with a blank.

    Raises:
        ClipError: MALFORMED: it holds blanks alone, or has characters that are no text (NUL, half a surrogate pair).
    """
    if not text.strip():
        raise malformed(f"the {what} is empty")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise malformed(f"the {what} has a NUL or half a surrogate pair in it")
    return text
