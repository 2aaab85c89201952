"""Sounds of an evaluation list come from a dataset or a folder, and once registered they stay."""

from pathlib import Path

import pytest
import soundfile

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.guards.guarded_sounds import add_sounds, read_sounds, sounds_path, sounds_sha256, with_sounds
from tests.curation.duplicates.recordings import RATE_HZ, clip_of, melody, write_dataset

SOUNDS = [{"video_id": "a", "sound": melody(1, 4.0)}, {"video_id": "b", "sound": melody(2, 4.0)}]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset.create(tmp_path / "dataset")


def test_a_dataset_gives_hashes_and_fingerprints(dataset: Dataset, tmp_path: Path) -> None:
    media = write_dataset(tmp_path / "media", SOUNDS)
    assert (with_sounds(dataset), sounds_sha256(dataset, "eval")) == ([], None)
    assert add_sounds(dataset, "eval", media.path) == 2 == add_sounds(dataset, "eval", media.path)
    rows = {row["sound"]: row for row in read_sounds(dataset, "eval").to_pylist()}
    prints = {row["key"]: row["fingerprint"] for row in media.sql("SELECT key, fingerprint FROM print").to_pylist()}
    sums = {row["key"]: row["pcm_sha256"] for row in media.sql("SELECT key, pcm_sha256 FROM measure").to_pylist()}
    assert {key: (row["pcm_sha256"], row["fingerprint"]) for key, row in rows.items()} == {
        key: (sums[key], prints[key]) for key in map(clip_of, SOUNDS)
    }
    assert with_sounds(dataset) == ["eval"]
    with pytest.raises(ArgumentError, match="has other sounds"):
        add_sounds(dataset, "eval", write_dataset(tmp_path / "fewer", SOUNDS[:1]).path)


def test_a_dataset_without_fingerprints_or_a_folder_without_media_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"'print' has not run.*`foundsound dedupe`"):
        add_sounds(dataset, "eval", write_dataset(tmp_path / "media", SOUNDS, printed=False).path)
    with pytest.raises(ArgumentError, match="neither a dataset nor a folder"):
        add_sounds(dataset, "eval", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match="has no sounds"):
        add_sounds(dataset, "eval", tmp_path / "empty")
    assert with_sounds(dataset) == []


def test_a_folder_gives_fingerprints_of_its_media(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "media" / "deep"
    folder.mkdir(parents=True)
    soundfile.write(folder / "A.WAV", melody(1, 4.0), RATE_HZ)
    (folder / "list.txt").write_text("A.WAV")
    assert add_sounds(dataset, "eval", tmp_path / "media") == 1
    (row,) = read_sounds(dataset, "eval").to_pylist()
    assert (row["sound"], row["pcm_sha256"]) == ("deep/A.WAV", None) and len(row["fingerprint"]) > 0
    soundfile.write(folder / "short.flac", melody(1, 2.0), RATE_HZ)
    with pytest.raises(ArgumentError, match=r"1 sounds of .* are too short or too even.*deep/short.flac"):
        add_sounds(dataset, "short", tmp_path / "media")
    sounds_path(dataset, "eval").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="delete and register them again"):
        read_sounds(dataset, "eval")
