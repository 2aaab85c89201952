"""An AudioMAE trained on a dataset: the run's folder is a listener, and what it cannot take is refused."""

import json
from pathlib import Path

import pytest
import torch

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.selections.selection import select
from curation.shards.pack import pack
from models.encoders.audiomae import AudioMae
from pipelines.recipes import audiomae as recipes
from pipelines.recipes.options import RunOptions
from tests.curation.made import Made

CLIPS = 12


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    made = Made(tmp_path_factory.mktemp("audiomae"))
    for number in range(CLIPS):
        made.clip(f"v{number}")
    dataset = made.dataset()
    select(dataset, name="s")
    pack(dataset, "s", clips_per_shard=10)
    return dataset


def test_the_folder_of_a_run_is_a_listener(dataset: Dataset, tmp_path: Path) -> None:
    options = RunOptions(generation="s", clips=16, seconds=0.5)
    facts = recipes.train_audiomae_tiny(dataset, tmp_path / "run", options)
    assert facts["clips"] == CLIPS - 1 and facts["loss"] > 0
    listener = AudioMae.from_pretrained(tmp_path / "run" / "model")
    assert listener.language_of_audio(torch.zeros(1, 8_000)).shape == (1, 4, 96)
    settings = json.loads((tmp_path / "run/config.json").read_text())["settings"]
    assert settings["data"]["generation"] == "s" and settings["recipe"]["window_samples"] == 8_000
    again = recipes.train_audiomae_tiny(dataset, tmp_path / "run", options)
    assert again["clips"] == facts["clips"]
    assert AudioMae.from_pretrained(tmp_path / "run" / "model").identity() == listener.identity()
    with pytest.raises(ValueError, match="other settings"):
        recipes.train_audiomae_tiny(dataset, tmp_path / "run", RunOptions(generation="s", clips=16, seed=1))


@pytest.mark.parametrize("option", [{"codec": "x"}, {"text_encoder": "x"}])
def test_options_that_it_does_not_have_are_refused(dataset: Dataset, tmp_path: Path, option: dict) -> None:
    with pytest.raises(ArgumentError, match=r"audiomae-base listens to sounds alone; drop"):
        recipes.train_audiomae_base(dataset, tmp_path, RunOptions(generation="s", **option))


def test_samples_longer_than_it_hears_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"--seconds 6 does not go with audiomae-tiny.*1\.\.82160, got 96000"):
        recipes.train_audiomae_tiny(dataset, tmp_path, RunOptions(generation="s", seconds=6.0))
