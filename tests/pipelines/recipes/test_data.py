"""What a word of `--data` names, and which numbers a run takes."""

from pathlib import Path
from typing import Any

import pytest

from curation.dataset import Dataset
from curation.errors import ArgumentError
from pipelines.recipes.data import source_of, whole_frames_s
from pipelines.recipes.options import RunOptions


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


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"seconds": 0.0}, "--seconds must be above 0"),
        ({"seconds": float("nan")}, "--seconds must be above 0, not nan"),
        ({"seconds": 3_600.1}, r"--seconds must be at most 3600, not 3600\.1"),
        ({"seconds": float("inf")}, "--seconds must be at most 3600, not inf"),
        ({"clips": 0}, "--clips must be above 0"),
        ({"seed": -1}, "--seed must be at least 0, not -1"),
    ],
)
def test_numbers_out_of_range_are_refused_for_every_recipe(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ArgumentError, match=why):
        RunOptions(**said)


def test_a_sample_has_whole_latent_frames_and_one_at_least() -> None:
    assert whole_frames_s(1.3, 4.0) == 1.25 and whole_frames_s(0.25, 4.0) == 0.25
    with pytest.raises(ArgumentError, match=r"--seconds 0\.24 is less than a latent frame of 0\.25 s"):
        whole_frames_s(0.24, 4.0)
