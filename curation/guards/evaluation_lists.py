"""Evaluation lists that only a guard reads: they name files, not spans of videos, so no clip can be fetched from them.

A file named for a YouTube video guards that video whole; any other name guards files of that name, and, since a copy
may be called otherwise, its sound where the media are at hand (`curation/guards/guarded_sounds.py`).
"""

import json
from collections.abc import Callable, Iterator

from curation.errors import ArgumentError
from curation.keys import short_hash
from curation.lists.kinds import KINDS
from curation.lists.listfile import ListFile
from curation.lists.row import Entry, ListRow, Record, clean, each_row
from curation.lists.text import csv_records, take_header

CLOTHO_COLUMNS = ("file_name", *(f"caption_{n}" for n in range(1, 6)))


def read_clotho(file: ListFile) -> Iterator[Entry]:
    """The file names of Clotho, each once.

    Source: https://zenodo.org/records/4783391 (Drossos et al., ICASSP 2020): file names of Freesound's uploaders.

    Raises:
        ArgumentError: The header is another.
    """
    records = csv_records(file.path, multiline=True)
    take_header(file.path, records, CLOTHO_COLUMNS)

    def row(record: Record[list[str]]) -> ListRow:
        return named(record.line, clean(record.content[0], "file name"))

    return each_row(records, row)


def read_wavcaps(file: ListFile) -> Iterator[Entry]:
    """The file names of a WavCaps blacklist: a JSON object of lists, with names of AudioSet's and Freesound's files.

    Source: https://github.com/XinhaoMei/WavCaps, `retrieval/data/blacklist` (Mei et al., 2023).

    Raises:
        ArgumentError: The file is not such an object.
    """
    try:
        content = json.loads(file.path.read_text(encoding="utf-8"))
        names = [name for source in sorted(content) for name in content[source]]
        if not all(isinstance(name, str) and name.strip() for name in names):
            raise ValueError("a name is empty or not a text")
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ArgumentError(f"{file.path} is no WavCaps blacklist, a JSON object of lists of names: {error}") from error
    return (named(number, name.strip()) for number, name in enumerate(names, 1))


def named(line: int, name: str) -> ListRow:
    """The row of a file that is known by its name alone."""
    return ListRow(line=line, platform="file", video_id=short_hash(name), path=name)


BY_SOUND_KINDS = frozenset({"clotho"})
"""Kinds that name no video, so that only their sounds tell what is a copy."""

GUARD_KINDS: dict[str, Callable[[ListFile], Iterator[Entry]]] = {
    **{name: kind.read for name, kind in KINDS.items()},
    "clotho": read_clotho,
    "wavcaps": read_wavcaps,
}
"""Every kind of list that can be a guard."""
