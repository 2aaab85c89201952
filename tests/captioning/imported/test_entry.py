"""Names of recordings, each as the published sets spell it."""

from pathlib import Path

import pytest

from captioning.imported.entry import Caption, of_video, read_segments, sentence, understood
from curation.errors import ClipError
from curation.lists.row import Record, Reject


@pytest.mark.parametrize(
    ("name", "video_id", "start_ms", "duration_ms"),
    [
        ("Y---1_cCGK4M", "---1_cCGK4M", None, 10_000),
        ("Y---1_cCGK4M.wav", "---1_cCGK4M", None, 10_000),
        ("OxPnZzn1_L8_000883", "OxPnZzn1_L8", 883_000, 10_000),
        ("_7Xe9vD3Hpg_4_10", "_7Xe9vD3Hpg", 4_000, 10_000),
        ("-TL8Mp3xcUM_0_10", "-TL8Mp3xcUM", 0, 10_000),
        ("Y1ZooVL-H9A_30_40", "Y1ZooVL-H9A", 30_000, 10_000),
        ("--cB2ZVjpnA_30.000", "--cB2ZVjpnA", 30_000, 10_000),
        ("--cB2ZVjpnA_30.5_36.5.flac", "--cB2ZVjpnA", 30_500, 6_000),
        ("YYYYYYYYYYY", "YYYYYYYYYYY", None, 10_000),
    ],
)
def test_video_and_span(name: str, video_id: str, start_ms: int | None, duration_ms: int) -> None:
    found = of_video(7, name, " A dog\nbarks. ")
    assert (found.video_id, found.start_ms, found.duration_ms) == (video_id, start_ms, duration_ms)
    assert (found.line, found.text) == (7, "A dog barks.")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "short",
        "OxPnZzn1_L8_",
        "OxPnZzn1_L8_30_20",
        "OxPnZzn1_L8_30_30",
        "OxPnZzn1_L8_30_41",
        "OxPnZzn1_L8_x",
        "../x",
    ],
)
def test_a_name_that_says_no_span_of_a_video_is_not_guessed_at(name: str) -> None:
    with pytest.raises(ClipError, match="MALFORMED"):
        of_video(1, name, "A dog barks.")


@pytest.mark.parametrize("text", ["", " ... ", None, 3, "a\0b"])
def test_a_caption_has_words(text: object) -> None:
    with pytest.raises(ClipError, match="MALFORMED"):
        sentence(text)


def test_what_a_terminal_would_obey_is_no_part_of_a_caption() -> None:
    assert sentence("A \x1b]0;dog\x07 barks \ud83d.") == "A ]0;dog barks \ufffd."


def test_a_record_of_another_width_is_a_reject() -> None:
    good = understood(Record(2, "raw", ["x", "OxPnZzn1_L8_000883", "Rain."]), (1, 2), 3)
    assert isinstance(good, Caption) and good.text == "Rain."
    bad = understood(Record(3, "raw", ["OxPnZzn1_L8_000883", "Rain."]), (1, 2), 3)
    assert isinstance(bad, Reject) and "2 cells instead of 3" in bad.reason
    assert understood(bad, (1, 2), 3) is bad


@pytest.mark.slow
def test_audiosets_evaluation_list_has_a_span_a_video(real_data: Path) -> None:
    file = real_data / "annotations" / "audioset" / "eval_segments.csv"
    spans = read_segments(file, frozenset({"--4gqARaEJE", "--BfvyPmVMo", "-0CamVQdP_Y"}))
    assert spans == {"--4gqARaEJE": (0, 10_000), "--BfvyPmVMo": (20_000, 10_000), "-0CamVQdP_Y": (0, 6_000)}
