"""`dedupe` takes the fingerprints that are missing, finds copies, and `select` refuses all but the best."""

from pathlib import Path

import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.status import status
from pipelines.verbs.dedupe import dedupe
from pipelines.verbs.select import select
from tests.curation.duplicates.recordings import clip_of, melody, write_dataset

SOUNDS = [
    {"video_id": "one", "sound": melody(1, 12.0)[:160_000]},
    {"video_id": "later", "sound": melody(1, 12.0)[24_000:184_000], "bandwidth_hz": 4_000.0},
    {"video_id": "other", "sound": melody(2)},
]


def test_dedupe_prints_compares_and_shows_examples(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "dataset", SOUNDS, printed=False).path
    assert not Dataset(folder).has_stage("print")
    result = dedupe(folder, workers=0)
    one, later = clip_of(SOUNDS[0]), clip_of(SOUNDS[1])
    assert status(Dataset(folder))["print"].as_dict()["done"] == 3
    assert result.as_dict()["counts"] == {"groups": 1, "clips": 2, "by_layer": {"print": 2}, "without_print": 0}
    assert [row["clip_id"] for row in result.examples[0]] == [one, later]
    shown = str(result)
    assert "2 of 3 clips are in 1 groups (2 by print)" in shown
    assert f"kept {one}" in shown and f"copy {later}" in shown
    selected = select(folder, duplicates="duplicates").as_dict()
    assert (selected["kept_clips"], selected["refused"]) == (2, {"DUPLICATE": 1})
    assert select(folder).as_dict()["kept_clips"] == 3


def test_a_stricter_bound_finds_less(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "dataset", SOUNDS).path
    result = dedupe(folder, name="strict", error=0.0, workers=0)
    assert result.found.counts["clips"] == 0 and str(result).endswith("strict.parquet")
    with pytest.raises(ArgumentError, match=r"--error: max_error must be in \[0, 0.5\), not 0.5"):
        dedupe(folder, error=0.5)
    assert dedupe(folder, layers="samples", workers=0).found.settings["prints"] is None
