"""The verb merges parts, says what it did, and finds nothing to do when it is run again."""

from pathlib import Path

import pytest

from curation.dataset import Dataset
from pipelines.main import main
from pipelines.verbs.compact import compact


def test_the_verb_merges_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = Dataset.create(tmp_path / "dataset")
    for n in range(3):
        dataset.append("clips", [{"clip_id": f"c{n}", "video_key": "v", "origin": "segment"}])
    result = compact(dataset.path)
    (table,) = result.as_dict()["tables"]
    assert {name: table[name] for name in ("table", "parts_before", "parts_after", "rows", "deleted")} == {
        "table": "clips", "parts_before": 3, "parts_after": 1, "rows": 3, "deleted": 3
    }  # fmt: skip
    assert "3 parts to 1, 3 rows" in str(result)
    assert main(["compact", str(dataset.path)]) == 0
    assert "one part already" in capsys.readouterr().out


def test_a_folder_that_is_no_dataset_is_a_wrong_argument(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("compact", "status"):
        assert main([verb, str(tmp_path / "nowhere")]) == 2
        assert "is not a dataset" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
