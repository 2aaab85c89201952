"""AudioX trained at two lengths, with Muon, on rows that say what they train; from a list to the run's log."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from curation.dataset import Dataset
from curation.errors import ArgumentError
from models.audiox.generate import AudioX
from pipelines.recipes.audiox import TINY, train_size
from pipelines.recipes.options import Learning, RunOptions
from pipelines.verbs.fetch import fetch
from pipelines.verbs.manifest import manifest
from pipelines.verbs.measure import measure
from pipelines.verbs.pack import pack
from pipelines.verbs.select import select
from pipelines.verbs.train import Machinery, train
from tests.models.audiox.tiny_audiox import save_t5

RATE_HZ = 16_000


def packed(folder: Path, type_: str = "text_condition-audio") -> Path:
    """Four sounds of 1 s and four of 2 s; half of them say what they train."""
    folder.mkdir()
    lines = ["path,captions,type"]
    for number in range(8):
        wave = np.random.default_rng(number).standard_normal(RATE_HZ * (1 + number // 4)) / 8
        soundfile.write(folder / f"{number}.flac", wave, RATE_HZ)
        lines.append(f"{number}.flac,a hiss,{type_ if number % 2 else ''}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    path = folder / "dataset"
    manifest("table", folder / "list.csv", out=path)
    fetch(path, workers=0)
    measure(path, workers=0)
    select(path)
    pack(path)
    return path


@pytest.mark.slow
def test_batches_of_two_lengths_train_one_model(tmp_path: Path) -> None:
    dataset = Dataset(packed(tmp_path / "made"))
    size, text = replace(TINY, seconds=1.0), str(save_t5(tmp_path / "t5"))
    learning = Learning(also_seconds=(2.0,), optimizer="muon")
    facts = train_size(size, dataset, tmp_path / "run", RunOptions(clips=64, text_encoder=text, learning=learning))
    assert facts["clips"] == 8 and facts["too_short"] == 0
    assert facts["audio_s_per_s"] / facts["clips_per_s"] == pytest.approx(1.5, abs=0.2), "half of the clips are longer"
    assert facts["tflop_per_s"] > 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert config["data"]["also_seconds"] == [2.0] and config["recipe"]["training"]["optimizer"]["name"] == "muon"
    model = AudioX.from_pretrained(tmp_path / "run")
    for seconds in (1.0, 2.0):
        assert model.generate(["a hiss"], seconds=seconds, steps=2).shape[-1] == RATE_HZ * seconds
    with pytest.raises(ValueError, match="also_seconds"):
        train_size(size, dataset, tmp_path / "run", RunOptions(clips=64, text_encoder=text))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("type_", "said"), [("song", "type 'song' is unknown"), ("uni_condition-audio", "have a prompt of sound")]
)
def test_rows_that_cannot_be_trained_stop_a_run_before_it_begins(tmp_path: Path, type_: str, said: str) -> None:
    path, out = packed(tmp_path / "made", type_), tmp_path / "run"
    with pytest.raises(ArgumentError, match=said):
        train("audiox-tiny", data=[str(path)], seconds=1, text_encoder=str(save_t5(tmp_path / "t5")), out=out)
    assert not (out / "log.jsonl").exists()


def test_other_recipes_have_their_own_ways(tmp_path: Path) -> None:
    Dataset.create(tmp_path / "dataset")
    with pytest.raises(ArgumentError, match=r"codec-tiny has its own way to learn; drop --also-seconds"):
        train("codec-tiny", data=[str(tmp_path / "dataset")], machinery=Machinery(learning=Learning(optimizer="muon")))
    with pytest.raises(ArgumentError, match="--also-seconds must be above 0, not -1"):
        Learning(also_seconds=(-1.0,))
