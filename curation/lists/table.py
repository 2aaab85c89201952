"""The general table: any list of one's own, as CSV, JSONL or Parquet.

Columns, all optional but one of the first three: `video_id` (YouTube), `url` (http or https) or `path` (relative to the
list or the media root); `start_s` and `duration_s`, both or neither; `labels` and `captions`, each one text or a JSON
array of texts (a text that begins with `[` must be written as an array); `split` (train, val, test); `transcript`;
`type`, what the clip trains, as AudioX names it (`video_condition-music`); several rows of a clip give it several.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation.keys import short_hash
from curation.lists.listfile import ListFile
from curation.lists.paths import relative_path, resolve_below, web_address
from curation.lists.row import Entry, ListRow, Platform, Record, clean, each_row, malformed, milliseconds
from curation.lists.sieve import BARE_LABEL, FINE_DURATION, FINE_START, SPLIT, YOUTUBE_ID, SureLines
from curation.lists.tabular import Values, read_records, text_of
from curation.lists.text import BLOCK_BYTES

COLUMNS = ("video_id", "url", "path", "start_s", "duration_s", "labels", "captions", "split", "transcript", "type")

MAX_HEADER_BYTES = 1_000

_PLAIN = {"video_id": YOUTUBE_ID, "start_s": FINE_START, "duration_s": FINE_DURATION, "labels": BARE_LABEL}
"""Column -> what is sure to be understood in it; the others must be empty."""


def read(file: ListFile) -> Iterator[Entry]:
    """The rows of a table; `path` rows may not leave the file's root.

    Raises:
        ArgumentError: The format or a column is unknown, or the file is damaged.
    """
    root = file.root

    def row(record: Record[Values]) -> ListRow:
        values = record.content
        platform, video_id, url, path = _source(values)
        if path is not None:
            resolve_below(root, path)
        return ListRow(
            line=record.line,
            platform=platform,
            video_id=video_id,
            url=url,
            path=path,
            start_ms=_milliseconds(values, "start_s"),
            duration_ms=_milliseconds(values, "duration_s"),
            split=_split(values, file.split),
            labels=_texts(values, "labels"),
            captions=_texts(values, "captions"),
            transcript=text_of(values, "transcript"),
            type=text_of(values, "type"),
        )

    return each_row(read_records(file.path, COLUMNS, file.sieve), row)


def sure_lines(file: ListFile) -> SureLines | None:
    """The plain form of the lines of a CSV file: YouTube ids, numbers, a split, one label without a comma.

    Returns:
        None for other formats, and for a file with a quote in it: a cell may then go on in the next line.
    """
    if file.path.suffix.lower() != ".csv" or _has_quote(file.path):
        return None
    with file.path.open("rb") as stream:
        header = [name.strip() for name in stream.readline(MAX_HEADER_BYTES).decode("utf-8-sig", "replace").split(",")]
    cells = {**_PLAIN, "split": f"(?P<split>{file.split})" if file.split else SPLIT}
    is_known = len({*header}) == len(header) and {"video_id"} <= {*header} <= {*COLUMNS}
    if not is_known or ("start_s" in header) != ("duration_s" in header):
        return None
    return SureLines(pattern=",".join(cells.get(name, "") for name in header))


def _has_quote(file: Path) -> bool:
    with file.open("rb") as stream:
        return any(b'"' in block for block in iter(lambda: stream.read(BLOCK_BYTES), b""))


def _source(values: Values) -> tuple[Platform, str, str | None, str | None]:
    """Platform, video_id, url and path of a row."""
    named = {name: text for name in ("video_id", "url", "path") if (text := text_of(values, name)) is not None}
    if len(named) != 1:
        found = " and ".join(named) or "none"
        raise malformed(f"a row needs exactly one of video_id, url and path; it has {found}")
    if "url" in named:
        url = web_address(named["url"])
        return "url", short_hash(url), url, None
    if "path" in named:
        path = relative_path(str(values["path"]))  # with its blanks: they may be the file's
        return "file", short_hash(path), None, path
    return "youtube", named["video_id"], None, None


def _milliseconds(values: Values, name: str) -> int | None:
    value: Any = values.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return milliseconds(value, name)


def _split(values: Values, given: str | None) -> str | None:
    """The row's own split, or the one given for all rows; they may not contradict each other."""
    own = text_of(values, "split")
    if own is not None and given is not None and own != given:
        raise malformed(f"the row says split {own!r}, the argument {given!r}")
    return own if own is not None else given


def _texts(values: Values, name: str) -> tuple[str, ...]:
    """The texts of a cell that holds one text, a JSON array of texts, or a list."""
    value = values.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    if isinstance(value, str):
        value = _array(value.strip(), name) if value.lstrip().startswith("[") else [value]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise malformed(f"{name} {str(value)[:40]!r} is neither a text nor a list of texts")
    return tuple(dict.fromkeys(clean(text, name.removesuffix("s")) for text in value))


def _array(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise malformed(f"{name} begins with [ and is not a JSON array; write such a text as an array") from error
