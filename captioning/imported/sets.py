"""The published sets of captions that can be read, and how.

Rows come one by one: a CSV line after line, WavCaps' JSON entry after entry, so that a file of hundreds of megabytes
needs a block of 1 MB and what was joined.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioning.imported.entry import Caption, Entries, of_video, sentence, understood
from curation.errors import ArgumentError, ClipError
from curation.lists.row import Record, Reject, malformed, milliseconds
from curation.lists.text import csv_records

BLOCK_CHARACTERS = 1 << 20
"""So much of a JSON file is read at a time."""

LONGEST_ENTRY_CHARACTERS = 1 << 20
"""A longer entry is none. Source: ours; the longest of WavCaps has a few thousand."""

NAME_COLUMNS = ("id", "youtube_id", "youtube id", "# youtube id", "vid")
"""How the first column is called: `id` in AudioSetCaps, the others by Auto-ACD's page and copies of it."""

_LIST = re.compile(r'"data"\s*:\s*\[')
_SPACE = re.compile(r"[\s,]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionSet:
    """One published set.

    Args:
        title: Its name, as it stands beside each caption.
        read: From a file to its rows, in the order of the file.
        licence: Under which terms the captions stand.
    """

    title: str
    read: Callable[[Path], Entries]
    licence: str


def read_names_and_captions(file: Path) -> Entries:
    """The rows of a CSV with a column of names for YouTube videos and one of captions: AudioSetCaps and Auto-ACD.

    Source: huggingface.co/datasets/baijs/AudioSetCaps (`id`, `caption`); huggingface.co/datasets/Loie/Auto-ACD
    (YouTube id, caption).

    Raises:
        ArgumentError: The header has other columns, or the file is not UTF-8.
    """
    records = csv_records(file, multiline=True)
    header = next(records, None)
    cells = [cell.strip().lower() for cell in header.content] if isinstance(header, Record) else []
    names = [cells.index(name) for name in NAME_COLUMNS if cells.count(name) == 1]
    if not names or cells.count("caption") != 1:
        raise ArgumentError(
            f"{file}: the header must name a column caption and one of {', '.join(NAME_COLUMNS)}; found "
            f"{(header.text if header else 'nothing')[:200]!r}"
        )
    columns = (names[0], cells.index("caption"))
    return (understood(record, columns, len(cells)) for record in records)


def read_wavcaps(file: Path) -> Entries:
    """The entries of one of WavCaps' JSON files: AudioSet's copies by video, the others by name, length and address.

    Source: https://github.com/XinhaoMei/WavCaps (Mei et al. 2023, arXiv 2303.17395): `data` is a list of objects with
    `id`, `caption`, `duration` (s), and of some parts `download_link`.

    Raises:
        ArgumentError: The file is no such JSON, or not UTF-8.
    """
    for number, entry in enumerate(json_entries(file), 1):
        if isinstance(entry, Reject):
            yield entry
            continue
        try:
            yield _wavcaps_entry(number, entry)
        except ClipError as error:
            yield Reject(number, error.detail, json.dumps(entry, ensure_ascii=False)[:1000])


def _wavcaps_entry(number: int, entry: Any) -> Caption:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str | int):
        raise malformed("an entry is an object with id and caption")
    name = str(entry["id"]).strip()
    duration = entry.get("duration")
    length_ms = None if duration is None else milliseconds(duration, "duration")
    if re.fullmatch(r"Y[A-Za-z0-9_-]{11}\.(wav|flac)", name):
        video = of_video(number, name, entry.get("caption"))
        return Caption(
            line=number, text=video.text, name=video.name, video_id=video.video_id, duration_ms=length_ms or None
        )
    if not name or "/" in name or "\0" in name:
        raise malformed(f"{name[:80]!r} is no name of a recording")
    link = entry.get("download_link")
    return Caption(
        line=number,
        text=sentence(entry.get("caption")),
        name=re.sub(r"\.(wav|flac)$", "", name),
        duration_ms=length_ms or None,
        url=link if isinstance(link, str) and link.startswith(("http://", "https://")) else None,
    )


def json_entries(file: Path) -> Iterator[Any]:
    """The entries of the list `data` of a JSON object, without reading the whole.

    Yields:
        Each entry as Python has it.

    Raises:
        ArgumentError: The file is not UTF-8, has no such list, or breaks off inside of it.
    """
    decoder = json.JSONDecoder()
    with file.open(encoding="utf-8") as stream:
        try:
            text = stream.read(BLOCK_CHARACTERS)
            begin = _LIST.search(text)
            if begin is None:
                raise ArgumentError(f'{file} is no JSON object with a list "data", as WavCaps has')
            place = begin.end()
            while True:
                place = _past_space(text, place)
                if place < len(text) and text[place] == "]":
                    return
                try:
                    entry, end = decoder.raw_decode(text, place)
                except (ValueError, RecursionError) as error:
                    more = stream.read(BLOCK_CHARACTERS)
                    if not more or len(text) - place > LONGEST_ENTRY_CHARACTERS:
                        raise ArgumentError(
                            f"{file} breaks off, or is no JSON, near {text[place : place + 80]!r} ({error})"
                        ) from error
                    text, place = text[place:] + more, 0
                    continue
                yield entry
                place = end
        except UnicodeDecodeError as error:
            raise ArgumentError(f"{file} is not UTF-8: {error}; convert it first") from error


def _past_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match else place


SETS: dict[str, CaptionSet] = {
    "audiosetcaps": CaptionSet(
        title="AudioSetCaps",
        read=read_names_and_captions,
        licence="AudioSetCaps: CC BY 4.0 (Bai et al. 2024); videos are their uploaders'",
    ),
    "auto-acd": CaptionSet(
        title="Auto-ACD",
        read=read_names_and_captions,
        licence="Auto-ACD: see its page for its terms (Sun et al. 2024); videos are their uploaders'",
    ),
    "wavcaps": CaptionSet(
        title="WavCaps",
        read=read_wavcaps,
        licence="WavCaps: CC BY 4.0 for academic use (Mei et al. 2023); sounds under the terms of each source",
    ),
}
"""Every set that can be read, by the name that the verb takes."""


def rows_in(file: Path, marks: Sequence[bytes] = (b"\n", b'"caption"')) -> int:
    """About how many rows a file has, for a bar: lines of a CSV, captions of a JSON."""
    mark = marks[1] if file.suffix == ".json" else marks[0]
    found, rest = 0, b""
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            found += (rest + block).count(mark)
            rest = (rest + block)[-(len(mark) - 1) :] if len(mark) > 1 else b""
    return found
