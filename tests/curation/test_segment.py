import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import ClipError, Code
from curation.keys import clip_id
from curation.segment import MIN_LENGTH_MS, Segment, spans

pytest_plugins = "tests.curation.encoding"

VIDEO = {"video_key": "k", "platform": "youtube", "video_id": "abc", "segment_ms": 10_000}


@pytest.mark.parametrize(
    ("length_ms", "segment_ms", "expected"),
    [
        (30_000, 10_000, [(0, 10_000), (10_000, 10_000), (20_000, 10_000)]),
        (39_999, 10_000, [(0, 10_000), (10_000, 10_000), (20_000, 10_000)]),
        (9_999, 10_000, [(0, 9_999)]),
        (1_000, 10_000, [(0, 1_000)]),
        (123_456, 0, [(0, 123_456)]),
        (40, 0, [(0, 40)]),
    ],
)
def test_spans(length_ms, segment_ms, expected):
    assert spans(length_ms, segment_ms) == expected


def test_too_short_for_any_segment():
    with pytest.raises(ClipError) as refused:
        spans(999, 10_000)
    assert refused.value.code == Code.TOO_SHORT


def test_a_segment_below_the_shortest_clip_is_refused():
    with pytest.raises(ValueError, match="not 999"):
        spans(30_000, 999)


@given(st.integers(MIN_LENGTH_MS, 10**7), st.integers(MIN_LENGTH_MS, 10**6))
def test_spans_follow_each_other_inside_the_video(length_ms, segment_ms):
    found = spans(length_ms, segment_ms)
    assert found[0][0] == 0
    assert all(start + size == after for (start, size), (after, _) in itertools.pairwise(found))
    assert sum(found[-1]) <= length_ms
    assert length_ms - sum(found[-1]) < segment_ms


def test_clips_know_the_one_before():
    rows = Segment().clips(VIDEO, 25_000)
    assert [row["prev_clip_id"] for row in rows] == [None, rows[0]["clip_id"]]
    assert rows[1]["clip_id"] == clip_id("youtube", "abc", 10_000, 10_000)
    assert {row["origin"] for row in rows} == {"segment"} and {row["video_key"] for row in rows} == {"k"}


def test_length_is_that_of_the_decoded_sound(encode):
    sound = np.random.default_rng(1).normal(0, 0.1, (2 * 48_000 + 480, 1))
    assert Segment().length_ms(encode("a.flac", sound)) == 2010
    # A stream of AAC frames says nothing about its length; the last of 1024 samples is padded.
    assert 2010 <= Segment().length_ms(encode("a.aac", sound)) <= 2075


def test_a_file_that_is_cut_off_is_truncated(encode):
    sound = np.random.default_rng(1).normal(0, 0.1, (3 * 48_000, 1))
    path = encode("a.flac", sound)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ClipError) as refused:
        Segment().length_ms(path)
    assert refused.value.code == Code.TRUNCATED


def test_a_picture_alone_has_no_audio(encode):
    with pytest.raises(ClipError) as refused:
        Segment().length_ms(encode("a.mp4", frames=np.zeros((25, 32, 32), np.uint8)))
    assert refused.value.code == Code.NO_AUDIO


def test_how_long_it_may_take_is_not_part_of_the_identity():
    assert Segment(timeout_s=1.0).identity() == Segment().identity()
