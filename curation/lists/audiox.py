"""AudioX's JSONL: one row a caption, `{"path", "video_path", "caption", "type"}`; `type` says what it trains.

Source: https://github.com/ZeyueT/AudioX, `stable_audio_tools/data/dataset.py`. A row is about one file here: the video
where there is one, whose own sound is the target, else the sound at `path`. Paths are relative to the list or the media
root, or absolute and below it. The caption of a row that shows its video alone is a fixed prompt, and is not taken.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from curation.keys import short_hash
from curation.lists.listfile import ListFile
from curation.lists.paths import relative_path, resolve_below
from curation.lists.row import Entry, ListRow, Record, each_row, malformed
from curation.lists.tabular import Values, read_records, text_of

COLUMNS = ("path", "video_path", "caption", "type")

WITHOUT_TEXT = ("video", "image")
"""First halves of the types of rows that show no caption."""


def read(file: ListFile) -> Iterator[Entry]:
    """The rows of such a file; the same file in several rows is one clip with several captions and types.

    Raises:
        ArgumentError: It is no JSONL, or has other columns.
    """

    def row(record: Record[Values]) -> ListRow:
        said = {name: text_of(record.content, name) for name in COLUMNS}
        given = next((name for name in ("video_path", "path") if said[name]), None)
        if given is None:
            raise malformed("a row needs path or video_path; it has none")
        path = _below(file.root, str(record.content[given]))  # with its blanks: they may be the file's
        resolve_below(file.root, path)
        shows_text = (said["type"] or "").partition("_condition-")[0] not in WITHOUT_TEXT
        return ListRow(
            line=record.line,
            platform="file",
            video_id=short_hash(path),
            path=path,
            split=file.split,
            captions=() if said["caption"] is None or not shows_text else (said["caption"],),
            type=said["type"],
        )

    return each_row(read_records(file.path, COLUMNS), row)


def _below(root: Path, named: str) -> str:
    """A path as relative to the root, where it is absolute and lies below it; `relative_path` refuses any other."""
    path = PurePosixPath(named)
    inside = path.is_absolute() and path.is_relative_to(root.resolve().as_posix())
    return relative_path(path.relative_to(root.resolve().as_posix()).as_posix() if inside else named)
