"""A mel autoencoder and its vocoder in one run: losses apart, a resume to the bit, a codec that loads."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.codecs.codec import load_codec
from models.codecs.discriminator import DiscriminatorConfig
from models.codecs.losses import SpectralSettings
from models.codecs.mel import LogMel, LogMelConfig
from models.codecs.mel_training import (
    MelLossSettings,
    MelVae,
    MelVaeConfig,
    MelVaeObjective,
    MelVaeRecipe,
    mel_vae_tiny,
    train_mel_vae,
)
from models.codecs.mel_vae import MelVaeCodec
from models.training.ema import EmaSettings
from models.training.loop import TrainSettings, Watchers
from models.training.schedule import Schedule
from models.training.world import World
from tests.models.codecs.tiny_mel import SIZE

pytest.importorskip("diffusers")

RECIPE = MelVaeRecipe(
    networks=SIZE,
    judge=DiscriminatorConfig(channels=1, windows_samples=(256,), filters=2),
    losses=MelLossSettings(spectra=SpectralSettings(windows_samples=(256,), sample_rate_hz=16_000, is_weighted=False)),
    training=TrainSettings(
        seed=5,
        total_clips=12,
        schedule=Schedule(peak=1e-2, warmup_clips=4),
        ema=EmaSettings(halflife_clips=8, rampup_ratio=0.5),
        report_every_clips=2,
        save_every_clips=4,
    ),
    batch_clips=2,
    window_samples=1280,
)
ALONE = World(device=torch.device("cpu"))


def waves_at(number, rows):
    waves = [np.random.default_rng([number, row]).uniform(-0.5, 0.5, (1, 1280)).astype(np.float32) for row in rows]
    return {"keys": [f"{number}-{row}" for row in rows], "waves": torch.from_numpy(np.stack(waves))}


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MelVae(SIZE, RECIPE.judge)


def gradients(losses):
    one = network()
    rngs = [np.random.default_rng(row) for row in range(2)]
    MelVaeObjective(SIZE, losses)(one, waves_at(0, range(2)), rngs).loss.backward()
    return {
        part: torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in of.parameters()])
        for part, of in (("vae", one.vae), ("vocoder", one.vocoder), ("judge", one.judge))
    }


@pytest.mark.parametrize("width", [32, 256])
def test_a_vocoder_begins_audible_whatever_its_width(width):
    """Noise from -60 to 0 dB comes out well within full scale, and louder noise louder: gradients reach all of it."""
    config = replace(mel_vae_tiny().networks, vocoder_width=width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vocoder = config.build_vocoder()
    gain_B1 = torch.tensor([[0.001], [1.0]])
    noise_BT = gain_B1 * torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4_800), np.float32)) / 3
    with torch.no_grad():
        made_BT = vocoder(LogMel(config.mel)(noise_BT))
    assert 0.003 < float(made_BT.std()) < 0.3
    assert float((made_BT[0] - made_BT[1]).std()) > 0.003


def test_each_part_gets_the_gradients_of_its_own_losses():
    everything = gradients(RECIPE.losses)
    no_voice = gradients(replace(RECIPE.losses, mel=0.0, spectral=0.0, adversarial=0.0, features=0.0))
    no_latents = gradients(replace(RECIPE.losses, spectrogram=0.0, divergence=0.0))
    assert all(float(gradient.abs().sum()) > 0 for gradient in everything.values())
    torch.testing.assert_close(no_voice["vae"], everything["vae"])
    torch.testing.assert_close(no_latents["vocoder"], everything["vocoder"])
    torch.testing.assert_close(no_voice["judge"], everything["judge"])
    assert float(no_voice["vocoder"].abs().sum()) == 0
    assert float(no_latents["vae"].abs().sum()) == 0


def test_a_run_that_was_stopped_comes_to_the_same_bits_and_its_codec_loads(tmp_path):
    def start(folder, watchers=None):
        return train_mel_vae(RECIPE, waves_at, folder=folder, data={}, world=ALONE, watchers=watchers)

    def stop(report):
        if report["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    whole = start(tmp_path / "whole")
    assert start(tmp_path / "parts", Watchers(report=stop)) is None
    resumed = start(tmp_path / "parts")
    for path in sorted((tmp_path / "whole/checkpoints/step-000006").glob("*.safetensors")):
        other = load_file(tmp_path / "parts/checkpoints/step-000006" / path.name)
        assert all(torch.equal(tensor, other[key]) for key, tensor in load_file(path).items()), path.name
    loaded = load_codec(tmp_path / "parts")
    assert isinstance(loaded, MelVaeCodec)
    assert loaded.identity() == whole.identity() == resumed.identity()
    assert loaded.decode(loaded.encode(waves_at(9, range(1))["waves"])).shape == (1, 1, 1280)


def test_the_tiny_recipe_has_the_spectrograms_and_latents_of_audioldm_2():
    recipe = mel_vae_tiny(total_clips=8)
    assert (recipe.sample_rate_hz, recipe.channels, recipe.hop_samples) == (16_000, 1, 640)
    assert recipe.networks.mel == LogMelConfig() == MelVaeConfig().mel
    assert recipe.training.clip_seconds == recipe.window_samples / recipe.sample_rate_hz
    MelVae(recipe.networks, recipe.judge)


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_channels": 0},
        {"widths": ()},
        {"widths": (12,)},
        {"widths": (8,) * 8},
        {"strides": (5, 4, 4, 4), "kernels": (16, 16, 8, 4)},
        {"kernels": (16,)},
        {"vocoder_width": 48},
    ],
)
def test_sizes_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match=r"got|at least|divided"):
        replace(SIZE, **changes)


@pytest.mark.parametrize("changes", [{"batch_clips": 0}, {"window_samples": 1300}, {"window_samples": 640}])
def test_recipes_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match="got"):
        replace(RECIPE, **changes)


def test_weights_below_zero_are_refused():
    with pytest.raises(ValueError, match="mel cannot be negative, got -1"):
        MelLossSettings(mel=-1.0)
