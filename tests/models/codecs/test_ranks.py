"""Two processes train the codec, and its judge, that one trains."""

import json

import pytest
import torch
from safetensors.torch import load_file

from models.codecs.codec import load_codec
from models.codecs.recipes import train_codec
from models.training.world import World
from tests.models.codecs.tiny_waveform import SLOW_RECIPE, waves_at
from tests.models.training import test_ranks


def weights(folder):
    return {
        name: tensor
        for path in sorted((folder / "checkpoints/step-000008").glob("network-*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_come_to_the_weights_of_one(tmp_path, monkeypatch):
    pytest.importorskip("diffusers")
    train_codec(SLOW_RECIPE, waves_at, folder=tmp_path / "one", data={}, world=World(device=torch.device("cpu")))
    monkeypatch.setattr(test_ranks, "PROGRAM", test_ranks.PROGRAM.parents[1] / "codecs/ranks.py")
    test_ranks.run_ranks(2, tmp_path / "two")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    alone, together = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, atol=1e-3, rtol=1e-3, msg=name)
    assert load_codec(tmp_path / "two").latent_channels == 3
