"""`pack`, `extend`, `verify`, `forget` and `roots` as verbs: what they print, and what they refuse."""

import json
from pathlib import Path

import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.selections.selection import select
from pipelines.main import main
from pipelines.verbs.pack import extend, pack, verify
from pipelines.verbs.roots import roots
from tests.curation.made import Made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = Made(tmp_path)
    for n in range(5):
        made.clip(f"v{n}", loudness_lufs=-20.0 - n)
    dataset = made.dataset()
    select(dataset, name="few", where="loudness_lufs > -22.5")
    select(dataset, name="all")
    return dataset.path


def test_pack_extend_verify_and_forget_say_what_they_did(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "3 clips in 2 shards" in str(pack(folder, selection="few", generation="first", clips_per_shard=2, workers=1))
    again = pack(folder, selection="few", generation="first", clips_per_shard=2)
    assert "was there already" in str(again) and again.as_dict()["existed"]
    child = extend(folder, parent="first", selection="all", name="second", workers=2)
    assert "5 clips in 3 shards, 2 of them those of earlier generations" in str(child)
    assert child.as_dict()["shards_taken_over"] == 2
    assert verify(folder, workers=2).as_dict() == {
        "first": {"shards": 2, "clips": 3, "problems": []},
        "second": {"shards": 3, "clips": 5, "problems": []},
    }
    capsys.readouterr()
    assert main(["forget", str(folder), "v1", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "would be denied: 1 videos, 0 channels" in said and "generation:" in said
    assert main(["forget", str(folder), "v1", "nobody", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["unknown"] == ["nobody"] and {one["kind"] for one in done["touched"]} >= {"media", "shard", "rows"}
    assert "4 clips" in str(verify(folder, generation="second"))
    assert main(["extend", str(folder), "--from", "second", "--selection", "all", "--name", "third"]) == 0
    assert "4 clips in 2 shards, 2 of them" in capsys.readouterr().out


def test_what_is_damaged_is_an_error_and_lists_the_files(folder: Path) -> None:
    pack(folder, selection="all", generation="first")
    tar = folder / "shards" / "first" / "000000.tar"
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    with pytest.raises(DatasetError, match=r"(?s)1 problems.*first/000000\.tar.*not zeros"):
        verify(folder)
    with pytest.raises(ArgumentError, match="at least 1 worker"):
        verify(folder, workers=0)


def test_roots_are_shown_and_set_while_nothing_lies_there(folder: Path, tmp_path: Path) -> None:
    assert roots(folder).roots["media"] == str(folder / "media")
    with pytest.raises(ArgumentError, match="holds media already"):
        roots(folder, f"media={tmp_path / 'other'}")
    assert roots(folder, "media=media", f"shards={tmp_path / 'shards'}").roots["shards"] == str(tmp_path / "shards")
    report = pack(folder, selection="all").report
    assert report.folder == tmp_path / "shards" / "all" and Dataset(folder).root("shards").path == tmp_path / "shards"
    assert verify(folder).as_dict()["all"]["clips"] == 5
    with pytest.raises(ArgumentError, match="has no shards"):
        verify(Dataset.create(tmp_path / "empty").path)
