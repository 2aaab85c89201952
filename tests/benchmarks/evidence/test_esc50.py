"""Recordings are chosen and split so that nothing that is trained on is judged."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.evidence.esc50 import (
    Recording,
    labels_of,
    make_dataset,
    of_classes,
    recordings,
    sounds_folder,
    split_by_source,
    thinned,
    widest_classes,
)
from curation.errors import ArgumentError

LIST = [
    ("dog", "5"),
    ("dog", "5"),
    ("dog", "1"),
    ("sea_waves", "2"),
    ("sea_waves", "4"),
    ("sea_waves", "3"),
    ("cat", "9"),
]
"""Class and source of each recording, in the order of the list."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """ESC-50's layout with seven recordings of 1 s: tones of different pitches."""
    (tmp_path / "esc50").mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for number, (label, source) in enumerate(LIST):
        wave = 0.3 * np.sin(2 * np.pi * 200 * (1 + number) * np.arange(44_100) / 44_100)
        soundfile.write(tmp_path / "esc50" / f"{number}.flac", wave, 44_100)
        lines.append(f"{number}.flac,1,0,{label},False,{source},A")
    (tmp_path / "esc50.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_sources_are_held_out_whole(folder: Path) -> None:
    found = recordings(folder)
    assert [one.label for one in found] == ["dog"] * 3 + ["sea waves"] * 3 + ["cat"]
    assert {one.source for one in found if one.split == "test"} == {
        "1",
        "2",
    }  # the first of each class with two or more


def test_a_source_of_two_classes_is_on_one_side() -> None:
    pairs = [("a", "1"), ("a", "2"), ("b", "0"), ("b", "2"), ("b", "3"), ("b", "1")]
    found = split_by_source([Recording(path=Path(f"{n}.flac"), label=a, source=b) for n, (a, b) in enumerate(pairs)])
    splits = {source: {one.split for one in found if one.source == source} for source in ("0", "1", "2", "3")}
    assert splits == {"0": {"test"}, "1": {"test"}, "2": {"train"}, "3": {"test"}}


def test_classes_of_most_sources_come_first(folder: Path) -> None:
    found = recordings(folder)
    assert widest_classes(found, 3) == ["sea waves", "dog", "cat"]
    assert {one.label for one in of_classes(found, ["cat"])} == {"cat"}
    with pytest.raises(ArgumentError, match="there are 3 classes; 4 cannot be chosen"):
        widest_classes(found, 4)


def test_a_tail_loses_training_recordings_alone(folder: Path) -> None:
    kept = thinned(recordings(folder), {"sea waves": 1, "dog": 1})
    assert [(one.label, one.source) for one in kept] == [
        ("dog", "5"),
        ("dog", "1"),
        ("sea waves", "2"),
        ("sea waves", "4"),
        ("cat", "9"),
    ]


def test_a_dataset_has_both_generations_and_a_sentence_each(folder: Path, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "made" / "dataset", recordings(folder))
    assert sorted(labels_of(dataset, "train").values()) == ["cat", "dog", "dog", "sea waves", "sea waves"]
    assert sorted(labels_of(dataset, "test").values()) == ["dog", "sea waves"]
    said = {row["text"] for row in dataset.sql("SELECT text FROM caption").to_pylist()}
    assert said == {"The sound of dog.", "The sound of sea waves.", "The sound of cat."}
    assert (dataset.path / "shards" / "test" / "index.json").is_file()


def test_a_missing_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSOUND_REAL_DATA", str(tmp_path))
    with pytest.raises(ArgumentError, match="set FOUNDSOUND_REAL_DATA"):
        sounds_folder()
