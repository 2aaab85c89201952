"""What a word of `--data` names."""

from pathlib import Path

import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError
from pipelines.recipes.data import source_of


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(Dataset.create(tmp_path / "dataset").path)


@pytest.mark.parametrize(
    ("tail", "generation", "weight", "where"),
    [
        ("", "train", None, None),
        ("@music", "music", None, None),
        (":0.3", "train", 0.3, None),
        ("@music:2", "music", 2.0, None),
        ("?tag.music_ratio > 0.5", "train", None, "tag.music_ratio > 0.5"),
        ("@m:0.7?a = 'x:y@z?'", "m", 0.7, "a = 'x:y@z?'"),
    ],
)
def test_a_word_names_generation_weight_and_condition(
    folder: str, tail: str, generation: str, weight: float | None, where: str | None
) -> None:
    source = source_of(folder + tail, generation="train")
    assert str(source.dataset.path) == folder
    assert (source.generation, source.weight, source.where) == (generation, weight, where)


@pytest.mark.parametrize("tail", [":", ":many", "@", "@a@b", ":1:2"])
def test_what_is_not_of_the_form_is_refused_with_an_example(folder: str, tail: str) -> None:
    with pytest.raises(ArgumentError, match=r"DATASET\[@GENERATION\].*as vgg:0\.3"):
        source_of(folder + tail, generation="train")


def test_a_weight_of_nothing_is_refused(folder: str) -> None:
    with pytest.raises(ArgumentError, match="above 0, not 0"):
        source_of(f"{folder}:0", generation="train")
