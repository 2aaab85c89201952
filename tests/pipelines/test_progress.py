"""What is said about the pace of work: by the second or by the hour, and how long the rest takes."""

import pytest

from pipelines.progress import Progress, duration_text, rate_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (40.0, "40 s"),
        (89.0, "89 s"),
        (90.0, "2 min"),
        (5399.0, "90 min"),
        (5400.0, "1.5 h"),
        (172_799.0, "48.0 h"),
        (28 * 86_400.0, "28 days"),
    ],
)
def test_durations_are_in_their_largest_fitting_unit(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("done", "took_s", "left", "text"),
    [
        (0, 10.0, 5, ""),
        (20, 10.0, 0, ", 2.0/s"),
        (20, 10.0, 100, ", 2.0/s, 50 s left"),
        (300, 3600.0, 201_600, ", 300/h, 28 days left"),
        (10, 5.0, -7, ", 2.0/s"),
    ],
)
def test_the_rate_says_how_long_the_rest_takes(done: int, took_s: float, left: int, text: str) -> None:
    assert rate_text(done, took_s, left) == text


def test_a_note_is_said_once_and_more_rows_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("fetch", total=2) as progress:
        for _ in range(3):
            progress.note("pauses until noon")
        progress.note("")
        progress.expect(3)
        progress.advance(4)
        progress.expect(2, again=True)
    said = capsys.readouterr().err
    assert said.count("pauses until noon") == 1
    assert "fetch: 4/6 rows" in said
