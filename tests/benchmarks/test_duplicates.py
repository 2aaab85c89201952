"""The benchmark of duplicates counts what it says: copies found, and pairs that are none."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import duplicates
from curation.duplicates.matching import Pairs, PrintRule


def test_recall_is_of_originals_and_their_own_copies() -> None:
    first, second = np.array([0, 0, 0, 1, 2]), np.array([3, 1, 4, 2, 4])
    recall, false = duplicates.scored(Pairs(first, second, np.zeros(5)), ["a", "a", "b"])
    assert recall == pytest.approx(1 / 3)
    assert false == 2, "0-1 and 0-4 are of one source; 1-2 and 2-4 are not"


def test_takes_of_one_recording_have_one_source() -> None:
    assert duplicates.source_of(Path("2-103426-A-3.flac")) == duplicates.source_of(Path("4-103426-B-3.flac"))
    assert duplicates.source_of(Path("clotho_Flipping_Pages.flac")) == "clotho_Flipping_Pages"


def test_the_peer_finds_what_the_index_finds() -> None:
    draw = np.random.default_rng(1)
    words = draw.integers(0, 2**32, size=60, dtype=np.uint32)
    others = [draw.integers(0, 2**32, size=60, dtype=np.uint32) for _ in range(3)]
    assert duplicates.exhaustive([words, words[20:], *others], PrintRule()) == 1


@pytest.mark.slow
def test_made_sounds_run_through_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "real_folder", lambda: None)
    monkeypatch.setattr(duplicates, "MADE_SOUNDS", 3)
    measured = duplicates.measure(peer_sounds=3)
    assert measured["sounds"] == "made" and measured["recordings"] == 3
    assert measured["flac_samples_recall"] == 1.0 and measured["mp3_64k_samples_recall"] == 0.0
    for change in duplicates.CHANGES:
        assert float(measured[f"{change}_print_recall"]) > 0.6, change
        assert measured[f"{change}_print_false_pairs"] == 0
