from collections.abc import Callable
from pathlib import Path

from curation.lists import v2m
from curation.lists.listfile import ListFile
from curation.lists.row import ListRow, Reject

Write = Callable[[str, str | bytes], Path]


def test_bare_ids_are_whole_videos(write: Write) -> None:
    entries = list(v2m.read(ListFile(path=write("V2M.txt", "aaaaaaaaaaa\r\n\nnot an id\n-_bbbbbbbbb"), split="train")))
    rows = [entry for entry in entries if isinstance(entry, ListRow)]
    assert [(row.line, row.video_id, row.clip_id, row.split) for row in rows] == [
        (1, "aaaaaaaaaaa", None, "train"),
        (4, "-_bbbbbbbbb", None, "train"),
    ]
    assert [entry.line for entry in entries if isinstance(entry, Reject)] == [3]
