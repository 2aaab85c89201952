from collections.abc import Callable
from pathlib import Path

import pytest

from curation.errors import ArgumentError
from curation.lists import audiocaps
from curation.lists.listfile import ListFile
from curation.lists.row import ListRow, Reject

Write = Callable[[str, str | bytes], Path]
HEADER = "audiocap_id,youtube_id,start_time,caption\r\n"


def test_captions_of_one_clip_meet_whatever_their_audiocap_id(write: Write) -> None:
    content = (
        HEADER + '1,aaaaaaaaaaa,27,"A dog barks, loudly"\r\n2,aaaaaaaaaaa,27,Barking\r\n3,aaaaaaaaaaa,30,A cat\r\n'
    )
    rows = [
        row for row in audiocaps.read(ListFile(path=write("val.csv", content), split="val")) if isinstance(row, ListRow)
    ]
    assert [row.captions for row in rows] == [("A dog barks, loudly",), ("Barking",), ("A cat",)]
    assert rows[0].clip_id == rows[1].clip_id != rows[2].clip_id
    assert {(row.split, row.duration_ms) for row in rows} == {("val", 10_000)}


def test_the_split_is_not_guessed_from_the_name(write: Write) -> None:
    (row,) = audiocaps.read(ListFile(path=write("test.csv", HEADER + "1,aaaaaaaaaaa,0,Rain\n")))
    assert isinstance(row, ListRow)
    assert row.split is None


def test_empty_captions_and_missing_cells_are_rejected(write: Write) -> None:
    content = HEADER + "1,aaaaaaaaaaa,0,\n2,aaaaaaaaaaa,0\n3,aaaaaaaaaaa,-5,Rain\n"
    entries = list(audiocaps.read(ListFile(path=write("test.csv", content))))
    assert [entry.line for entry in entries if isinstance(entry, Reject)] == [2, 3, 4]


def test_another_header_is_refused(write: Write) -> None:
    with pytest.raises(ArgumentError, match="audiocap_id,youtube_id,start_time,caption, found id,caption"):
        audiocaps.read(ListFile(path=write("test.csv", "id,caption\n")))
