"""A YouTube video is known by its addresses and by files that are called for it, in Python and in SQL alike."""

import duckdb
import pyarrow as pa
import pytest

from curation.aliases import YOUTUBE_ADDRESS, known_as_sql, youtube_id
from curation.keys import video_key

ID = "dQw4w9WgXcQ"


@pytest.mark.parametrize(
    ("url", "known"),
    [
        (f"https://www.youtube.com/watch?v={ID}", ID),
        (f"https://youtube.com/watch?list=a&v={ID}&t=3", ID),
        (f"https://m.youtube.com/shorts/{ID}", ID),
        (f"https://www.youtube-nocookie.com/embed/{ID}?rel=0", ID),
        (f"http://youtu.be/{ID}", ID),
        (f"https://youtu.be/{ID}x", None),
        (f"https://example.org/{ID}", None),
        (f"https://www.youtube.com/watch?vv={ID}", None),
    ],
)
def test_an_address_of_a_video_is_known_in_python_and_in_sql(url: str, known: str | None) -> None:
    assert youtube_id(url, None) == known
    found = duckdb.sql("SELECT regexp_extract($1, $2, 1)", params=[url, YOUTUBE_ADDRESS]).fetchall()
    assert found == [(known or "",)]


@pytest.mark.parametrize(
    ("path", "known"),
    [
        (f"a/Y{ID}.wav", ID),
        (f"{ID}.m4a", ID),
        (f"b/{ID}_000030.mp4", ID),
        (f"{ID}_30000_40000.flac", ID),
        (f"XX{ID}.wav", None),
        (f"{ID}_a.wav", None),
        ("Santa Motor.wav", None),
    ],
)
def test_a_file_named_for_a_video_is_known(path: str, known: str | None) -> None:
    assert youtube_id(None, path) == known


def test_every_key_of_a_video_in_one_table() -> None:
    rows = [
        {"video_key": "a", "platform": "youtube", "url": None, "path": None},
        {"video_key": "b", "platform": "url", "url": f"https://youtu.be/{ID}?t=3", "path": None},
        {"video_key": "c", "platform": "file", "url": None, "path": f"deep/{ID}_000030.mp4"},
        {"video_key": "d", "platform": "file", "url": None, "path": "deep/dog.mp4"},
    ]
    with duckdb.connect(":memory:") as connection:
        connection.register("named", pa.Table.from_pylist(rows))
        found = connection.sql(known_as_sql("named")).fetchall()
    own = {(key, key, None, False) for key in "abcd"}
    also = {(key, video_key("youtube", ID), ID, is_file) for key, is_file in (("b", False), ("c", True))}
    assert len(found) == 6 and set(found) == own | also
