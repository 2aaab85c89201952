import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import ClipError, Code
from curation.keys import clip_id
from curation.segment import MIN_LENGTH_MS, Segment, scene_spans, spans

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


@pytest.mark.parametrize(
    ("starts_ms", "expected"),
    [
        ([], [(0, 10_000), (10_000, 10_000), (20_000, 5_000)]),
        ([8_000], [(0, 8_000), (8_000, 10_000), (18_000, 7_000)]),
        ([1_999, 12_000], [(1_999, 10_000), (12_000, 10_000), (22_000, 3_000)]),
        ([2_000, 23_001], [(0, 2_000), (2_000, 10_000), (12_000, 10_000)]),
        ([0, 24_000, 25_000, 26_000], [(0, 10_000), (10_000, 10_000), (20_000, 4_000)]),
    ],
)
def test_scene_spans(starts_ms, expected):
    assert scene_spans(25_000, starts_ms, 2_000, 10_000) == expected


@pytest.mark.parametrize(("length_ms", "clips"), [(2_000, 1), (1_999, 0)])
def test_a_video_without_a_scene_of_the_shortest_length_is_too_short(length_ms, clips):
    if clips:
        assert len(scene_spans(length_ms, [], 2_000, 10_000)) == clips
    else:
        with pytest.raises(ClipError) as refused:
            scene_spans(length_ms, [], 2_000, 10_000)
        assert refused.value.code == Code.TOO_SHORT


@given(
    st.integers(0, 100_000),
    st.lists(st.integers(-10, 110_000), max_size=12).map(sorted),
    st.integers(1_000, 9_000),
    st.integers(0, 20_000),
)
def test_scene_spans_reach_over_no_cut(length_ms, starts_ms, shortest_ms, more_ms):
    longest_ms = shortest_ms + more_ms
    try:
        found = scene_spans(length_ms, starts_ms, shortest_ms, longest_ms)
    except ClipError:
        found = []
    ends = [start + size for start, size in found]
    assert all(end <= after for end, (after, _) in zip(ends[:-1], found[1:], strict=True))
    for (start, size), end in zip(found, ends, strict=True):
        assert start >= 0 and end <= length_ms and shortest_ms <= size <= longest_ms
        assert not [cut for cut in starts_ms if start < cut < end]


def test_clips_by_scenes_know_the_one_before_where_they_follow_each_other(encode):
    pytest.importorskip("scenedetect")
    rng = np.random.default_rng(4)
    grounds = [rng.integers(low, low + 120, (9, 16)).repeat(8, axis=0).repeat(8, axis=1) for low in (0, 120, 0, 120)]
    frames = np.concatenate([np.repeat(ground[None], n, axis=0) for ground, n in zip(grounds, (75, 75, 25, 75))])
    path = encode("a.mp4", rng.normal(0, 0.1, (10 * 48_000, 1)), frames=frames.astype(np.uint8))
    rows, values = Segment(policy="scenes").segment(path, VIDEO)
    assert [(row["start_ms"], row["duration_ms"]) for row in rows[:2]] == [(0, 3_000), (3_000, 3_000)]
    assert [row["prev_clip_id"] for row in rows] == [None, rows[0]["clip_id"], None]  # one second is left out before
    assert rows[2]["start_ms"] == 7_000 and values["scenes"] == 4 and values["clips"] == 3


def test_a_sound_without_a_picture_is_one_scene(encode):
    pytest.importorskip("scenedetect")
    rows, values = Segment(policy="scenes").segment(encode("a.wav", np.full((3 * 48_000, 1), 0.1)), VIDEO)
    assert [(row["start_ms"], row["duration_ms"]) for row in rows] == [(0, 3_000)] and values["scenes"] is None


def test_a_broken_picture_has_no_scenes_and_loses_no_sound(encode, break_picture):
    pytest.importorskip("scenedetect")
    sound = np.random.default_rng(1).normal(0, 0.1, (3 * 48_000, 1))
    path = encode("a.mp4", sound, frames=np.full((75, 48, 64), 90, np.uint8), codecs="-c:a flac -c:v libx264")
    break_picture(path)
    rows, values = Segment(policy="scenes").segment(path, VIDEO)
    assert [(row["start_ms"], row["duration_ms"]) for row in rows] == [(0, 3_000)] and values["scenes"] is None


def test_what_scenes_need_is_no_part_of_the_identity_of_fixed_lengths():
    assert set(Segment().identity()) == {"stage", "version"}
    assert Segment(longest_scene_ms=8_000).identity() == Segment().identity()
    pytest.importorskip("scenedetect")
    assert Segment(policy="scenes", longest_scene_ms=8_000).identity() != Segment(policy="scenes").identity()


@pytest.mark.parametrize(
    ("knobs", "text"),
    [
        ({"policy": "random"}, "not 'random'"),
        ({"shortest_scene_ms": 999}, "not 999"),
        ({"longest_scene_ms": 1_999}, "and 1999"),
        ({"scene_threshold": 1.0}, "not 1.0"),
        ({"timeout_s": 0.0}, "not 0.0"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs, text):
    with pytest.raises(ValueError, match=text):
        Segment(**knobs)
