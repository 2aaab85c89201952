"""Clips by id, whatever is asked for."""

import tracemalloc

import pyarrow as pa
import pytest

from retrieval_index.service.catalogue import Catalogue

IDS = [f"{number:020x}" for number in range(1_000)]


@pytest.fixture
def catalogue() -> Catalogue:
    count = len(IDS)
    texts = {name: ["x"] * count for name in ("platform", "video_id", "split", "audio_sha256")}
    lists = {name: [["x"]] * count for name in ("labels", "captions", "caption_sources")}
    numbers = {name: [1] * count for name in ("start_ms", "duration_ms", "sample_rate_hz")}
    nothing = {name: [None] * count for name in ("licence", "video_sha256")}
    return Catalogue(pa.table({"clip_id": IDS, **texts, **lists, **numbers, **nothing}))


def test_only_what_is_there_is_found(catalogue: Catalogue) -> None:
    found = catalogue.get(IDS[7])
    assert found is not None and found.clip_id == IDS[7]
    for wrong in ("", "0", IDS[7][:-1], IDS[7] + "0", IDS[7][:-1] + "\0", "f" * 20, "\ud800"):
        assert catalogue.get(wrong) is None


def test_a_long_id_takes_no_memory(catalogue: Catalogue) -> None:
    asked = "f" * 60_000
    tracemalloc.start()
    try:
        assert catalogue.get(asked) is None
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
