"""Lists of ids that a selection leaves out, as publications give them: videos or clips that others found unfit.

AudioToken (arXiv 2305.13050) was trained on VGGSound without 55,735 videos whose sound and picture do not match and
without 34,153 of low quality; both are lists of YouTube ids. Nothing is unpickled: write such a list as text first.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from curation.errors import ArgumentError
from curation.keys import file_sha256
from curation.names import plain_name

HEADERS = frozenset({"id", "ytid", "video_id", "youtube_id", "clip_id"})
"""First lines that are names of columns and no ids."""


@dataclass(frozen=True, slots=True)
class Without:
    """One list.

    Args:
        name: Of the file, without its ending: what refuses a clip.
        sha256: Of the file.
        ids: Of videos, as their platform has them, or of clips.
    """

    name: str
    sha256: str
    ids: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> "Without":
        """Read a list: a JSON array, or a line an id, of which everything from a comma on is left out.

        Args:
            path: `.json`, or text; blank lines and those that begin with `#` say nothing.

        Raises:
            ArgumentError: It cannot be read, or names nothing.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")
            ids = _of_json(text) if path.suffix == ".json" else _of_lines(text)
        except (OSError, ValueError, csv.Error) as error:
            raise ArgumentError(f"{path} cannot be read as a list of ids: {error}") from error
        if not ids:
            raise ArgumentError(f"{path} names no id: a line each, or a JSON array")
        return cls(plain_name(path.stem, "list of ids"), file_sha256(path), frozenset(ids))

    def table(self) -> pa.Table:
        """`id` and the list's name, a row an id."""
        ids = sorted(self.ids)
        return pa.table({"id": pa.array(ids, pa.string()), "list": pa.array([self.name] * len(ids), pa.string())})

    def condition(self) -> str:
        """What has to hold of a clip, as SQL over `clips`, `videos` and the table `without`."""
        named = f"SELECT id FROM without WHERE list = '{self.name}'"
        return f"videos.video_id NOT IN ({named}) AND clips.clip_id NOT IN ({named})"


def _of_json(text: str) -> set[str]:
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError("its JSON is no array of texts")
    return {one.strip() for one in found if one.strip()}


def _of_lines(text: str) -> set[str]:
    firsts = [row[0].strip() for row in csv.reader(io.StringIO(text)) if row and row[0].strip()]
    if firsts and firsts[0].lower() in HEADERS:
        firsts = firsts[1:]
    return {one for one in firsts if not one.startswith("#")}
