"""Generation: samples do not depend on each other, and a saved model gives the same sounds wherever it is moved."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from models.audiox import AudioX
from models.audiox.network import AudioXNetwork


@pytest.fixture
def model(config, codec, sources):
    encoders = sources.encoders()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AudioXNetwork(config(encoders.text.text_width))
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    return AudioX(network, codec=codec, encoders=encoders, path="flow")


def test_sounds_have_the_length_asked_for(model):
    wave_BCT = model.generate(["rain", "a siren"], seconds=0.33, steps=2)
    assert wave_BCT.shape == (2, 1, 330), "the last latent frame is cut"
    assert wave_BCT.dtype == torch.float32
    assert float(wave_BCT.abs().max()) <= 1


@pytest.mark.parametrize("path", ["flow", "v"])
def test_a_sound_does_not_depend_on_the_others_of_its_batch(model, path):
    model.path = path
    prompts = ["rain falls on the roof", "siren", "a dog barks"]
    many = model.generate(prompts, seconds=0.4, steps=4, seed=3)
    for count in (1, 2):
        torch.testing.assert_close(model.generate(prompts[:count], seconds=0.4, steps=4, seed=3), many[:count])
    others = model.generate([prompts[0], "loud", "rain"], seconds=0.4, steps=4, seed=3)
    torch.testing.assert_close(others[:1], many[:1])
    assert float((others[1] - many[1]).abs().max()) > 1e-3


def test_seed_number_text_and_pictures_are_felt(model, frames):
    def made(**changes):
        return model.generate(**{"text": ["rain", "rain"], "seconds": 0.4, "steps": 3, **changes})

    first = made()
    assert torch.equal(made(), first)
    assert float((first[0] - first[1]).abs().max()) > 1e-3, "two sounds of one prompt"
    for other in (made(seed=1), made(text=["siren", "siren"]), made(frames=frames), made(guidance=1.0)):
        assert float((other - first).abs().max()) > 1e-3
    assert torch.equal(made(frames=frames), made(frames=frames.numpy()))
    assert made(text=None, frames=frames).shape == first.shape


def test_progress_is_told(model):
    told = []
    model.generate(["rain"], seconds=0.2, steps=3, on_step=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_saved_model_is_the_same_wherever_it_is_moved(model, sources, t5_folder, tmp_path):
    wave = model.generate(["rain"], seconds=0.3, steps=3)
    model.save_pretrained(tmp_path / "run" / "model", sources)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    for folder in (tmp_path / "moved", tmp_path / "moved" / "model"):
        assert torch.equal(AudioX.from_pretrained(folder).generate(["rain"], seconds=0.3, steps=3), wave)
    config = json.loads((tmp_path / "moved" / "model" / "config.json").read_text())
    assert config["text_encoder"] == {"kind": "t5", "path": "text_encoder"}
    assert str(t5_folder) not in json.dumps(config)
    files = {path.suffix for path in (tmp_path / "moved").rglob("*") if path.is_file()}
    assert files <= {".json", ".safetensors"}, "no pickle"


def test_saving_again_replaces_the_model(model, sources, tmp_path):
    for _ in range(2):
        model.save_pretrained(tmp_path / "model", sources)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no trained model"):
        AudioX.from_pretrained(tmp_path)


def test_parts_that_do_not_fit_are_refused(config, codec, sources):
    with pytest.raises(ValueError, match="text_width 5, the text encoder has 8"):
        AudioX(AudioXNetwork(config(5)), codec=codec, encoders=sources.encoders(), path="flow")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"text": "rain"}, "one string"),
        ({"text": []}, "no prompt"),
        ({}, "no prompt"),
        ({"text": ["rain"], "seconds": 0.0}, r"0\.0"),
        ({"text": ["rain"], "steps": 0}, "steps is 0"),
        ({"frames": np.zeros((1, 2, 3), np.uint8)}, r"\(1, 2, 3\)"),
    ],
)
def test_prompts_that_make_no_sense_are_refused(model, given, said):
    with pytest.raises(ValueError, match=said):
        model.generate(**{"seconds": 0.2, "steps": 2, **given})
