"""The benchmarks of shards measure what they say, at a small size."""

from pathlib import Path

import pytest

from benchmarks import plan, read


def test_both_readers_read_the_same(tmp_path: Path) -> None:
    found = read.compared(tmp_path, 1_000, 20, 1)
    for order in ("in_order", "at_random"):
        rates = found[f"clips_a_second_{order}"], found[f"peer_clips_a_second_{order}"]
        assert found[f"ratio_{order}"] == pytest.approx(rates[0] / rates[1])


def test_the_extended_plan_takes_over_what_did_not_change() -> None:
    measured = plan.measure(clips=21_000)
    # Clips 7 and 20,007 are gone, 11 and 20,011 have another caption: at most four shards of 42 are written anew.
    assert 38 <= float(measured["extended_shards_taken_over"]) < 42
    assert 210 + 499 <= float(measured["extended_clips_written"]) <= 210 + 4 * 500 - 2
