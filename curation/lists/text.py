"""Text files line by line, and CSV records with the line on which they begin. What cells mean is the readers' affair.

Only UTF-8 is read (a byte order mark is allowed). A line that is too long, has a NUL in it, or opens a quote that is
never properly closed is rejected alone; the lines after it are read.
"""

import codecs
import csv
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from curation.errors import ArgumentError
from curation.lists.listfile import Sifting
from curation.lists.row import Record, Reject

MAX_LINE_BYTES = 1 << 20
"""Longest line that is kept. Source: ours; the longest real one (a MusicCaps row) has 1.2 kB."""
BLOCK_BYTES = 8 << 20
"""Bytes that are sifted at a time. Source: ours; some 260,000 lines of VGGSound, 100 MB while they are in memory."""
MAX_RECORD_LINES = 1000
"""Most physical lines that one quoted record may span. Source: ours; MusicCaps has records of 2."""

_UNCLOSED = "unexpected end of data"
"""What Python's csv module says of a quote that is still open."""


@dataclass(frozen=True, slots=True)
class Line:
    """One physical line.

    Args:
        number: Counted from 1.
        text: Without its line end.
        fault: Why it cannot be used, or None.
    """

    number: int
    text: str
    fault: str | None = None

    def reject(self, reason: str) -> Reject:
        """The reject of this line."""
        return Reject(self.number, reason, self.text)


def _not_utf8(file: Path, data: bytes, position: int, offset: int) -> ArgumentError:
    is_utf16 = offset <= 1 and data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    looks, encoding = (" (it looks like UTF-16)", "utf-16") if is_utf16 else ("", "latin1")
    return ArgumentError(
        f"{file} is not UTF-8: byte 0x{data[position]:02X} at offset {offset}{looks}; "
        f"convert it first, as with `iconv -f {encoding} -t utf-8`"
    )


def lines(file: Path, sieve: Sifting | None = None) -> Iterator[Line]:
    """The lines of a UTF-8 file; they end with a line feed, with or without a carriage return before it.

    Args:
        file: The file.
        sieve: Takes lines, which are then not among those given.

    Raises:
        ArgumentError: The file is not UTF-8; the text names the byte and its offset.
    """
    with file.open("rb") as stream:
        number = offset = 0
        while sieve is not None and (block := stream.read(BLOCK_BYTES)):
            block += b"" if block.endswith(b"\n") else stream.readline(MAX_LINE_BYTES)
            is_whole = block.endswith(b"\n") or len(block) < BLOCK_BYTES  # otherwise a long line, or the file's last
            left = sieve.sift(block, number) if is_whole else None
            if left is None:
                break
            for at, raw in left[1]:
                is_cut = len(raw) > MAX_LINE_BYTES or (len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"))
                yield _line(at, raw[:MAX_LINE_BYTES].decode(errors="ignore"), is_cut)  # a cut may split a character
            number, offset = number + left[0], offset + len(block)
        stream.seek(offset)
        yield from _lines_one_by_one(file, stream, number, offset)


def _lines_one_by_one(file: Path, stream: BinaryIO, number: int, offset: int) -> Iterator[Line]:
    """The lines from a position on, before which there are `number` lines in `offset` bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    is_start = True  # of a line, not of the rest of one that is too long
    while True:
        raw = stream.readline(MAX_LINE_BYTES)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            raise _not_utf8(file, error.object, error.start, offset - pending + error.start) from error
        if not raw:
            return
        offset += len(raw)
        if is_start:
            number += 1
            yield _line(number, text, len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"))
        is_start = raw.endswith(b"\n")


def _line(number: int, text: str, is_cut: bool) -> Line:
    if number == 1:
        text = text.removeprefix("\ufeff")
    text = text.removesuffix("\n").removesuffix("\r")
    if is_cut:
        return Line(number, text[:1000], f"the line is longer than {MAX_LINE_BYTES} bytes")
    return Line(number, text, "the line has a NUL character in it" if "\0" in text else None)


def csv_records(
    file: Path, *, multiline: bool = False, skip_initial_space: bool = False, sieve: Sifting | None = None
) -> Iterator[Record[list[str]] | Reject]:
    """The records of a comma-separated file, blank lines left out.

    Args:
        file: The file, UTF-8.
        multiline: Whether a quoted cell may hold line ends; where no cell of a list does, an open quote is a fault.
        skip_initial_space: Whether blanks after a comma are dropped, so that a quote may follow them.
        sieve: Takes lines, which are then not among the records; not for `multiline`.

    Raises:
        ArgumentError: The file is not UTF-8.
    """
    source = lines(file, sieve)
    ahead: deque[Line] = deque()
    while (line := ahead.popleft() if ahead else next(source, None)) is not None:
        if line.fault is not None:
            yield line.reject(line.fault)
            continue
        if not line.text.strip():
            continue
        try:
            cells = _cells([line.text], skip_initial_space)
            if cells is None and multiline:
                cells = _spanning_cells(line, ahead, source, skip_initial_space)
        except csv.Error as error:
            yield line.reject(f"not CSV: {error}")
            continue
        if cells is None:
            yield line.reject("a quote is opened on this line and never properly closed")
        else:
            yield Record(line.number, line.text, cells)


def _cells(texts: Sequence[str], skip_initial_space: bool) -> list[str] | None:
    """The cells of one record, or None while a quote is open."""
    ended = [f"{text}\n" for text in texts]
    try:
        return next(csv.reader(ended, strict=True, skipinitialspace=skip_initial_space))
    except csv.Error as error:
        if str(error) == _UNCLOSED:
            return None
        raise


def _spanning_cells(
    line: Line, ahead: deque[Line], source: Iterator[Line], skip_initial_space: bool
) -> list[str] | None:
    """The cells of a record whose quote is still open at the end of `line`; its further lines are taken off `ahead`.

    Nothing is taken when the quote is not closed: those lines are then read as records of their own.
    """
    texts = [line.text]
    characters = len(line.text)
    while len(texts) < MAX_RECORD_LINES and characters <= MAX_LINE_BYTES:
        if len(texts) > len(ahead):
            following = next(source, None)
            if following is None:
                return None
            ahead.append(following)
        more = ahead[len(texts) - 1]
        if more.fault is not None:
            return None
        texts.append(more.text)
        characters += len(more.text)
        if '"' not in more.text:
            continue
        try:
            cells = _cells(texts, skip_initial_space)
        except csv.Error:
            return None
        if cells is not None:
            for _ in texts[1:]:
                ahead.popleft()
            return cells
    return None


def take_header(
    file: Path, records: Iterator[Record[list[str]] | Reject], expected: Sequence[str], *, whole: bool = True
) -> list[str]:
    """Take the header off the records of a CSV file.

    Args:
        file: The file, for the message.
        records: Its records; the first is taken.
        expected: Names of the columns.
        whole: Whether the header must be exactly these; otherwise any of them, each once.

    Raises:
        ArgumentError: The header is another; the text shows expected and found.
    """
    first = next(records, None)
    found = [cell.strip() for cell in first.content] if isinstance(first, Record) else []
    fits = found == list(expected) if whole else bool(found) and set(found) <= set(expected)
    if fits and len(set(found)) == len(found):
        return found
    shown = ",".join(found) or (first.text if isinstance(first, Reject) else "nothing")
    unknown = [] if whole else [name for name in found if name not in expected]
    named = f"; unknown columns: {', '.join(map(repr, unknown))}" if unknown else ""
    raise ArgumentError(
        f"{file}: the header must be {'' if whole else 'any of '}{','.join(expected)}, found {shown[:200]}{named}"
    )
