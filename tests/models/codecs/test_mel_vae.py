"""AudioLDM's autoencoder and vocoder behind the codec interface, tiny random ones on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.codecs.codec import Codec, load_codec
from models.codecs.mel_vae import MelVaeCodec, mel_config_of
from models.weights import sha256_of_files
from tests.models.codecs.tiny_mel import save_parts

pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_parts(tmp_path_factory.mktemp("mel"))


@pytest.fixture(scope="module")
def codec(folder):
    found = load_codec(folder)
    assert isinstance(found, MelVaeCodec) and isinstance(found, Codec)
    return found


def sounds(count, samples):
    return torch.rand(count, 1, samples, generator=torch.Generator().manual_seed(samples)) - 0.5


def test_rates_and_shapes_are_those_of_audioldm(codec):
    assert (codec.sample_rate_hz, codec.channels, codec.hop_samples, codec.latent_channels) == (16_000, 1, 640, 32)
    assert codec.latent_rate_hz == 25.0
    latents = codec.encode(sounds(2, 1921))
    assert latents.shape == (2, 4, 32)
    assert codec.decode(latents).shape == (2, 1, 4 * 640)
    assert codec.decode(codec.encode(sounds(1, 1))).shape == (1, 1, 640)


@torch.no_grad()
def test_latents_are_the_means_of_the_encoder_frequencies_side_by_side(codec):
    wave = sounds(2, 2560)
    mean, std = codec.encode_moments(wave)
    latents = codec.vae.encode(codec.mel(wave[:, 0])[:, None]).latent_dist
    assert latents.mean.shape == (2, 2, 4, 16)
    assert torch.equal(mean[1, 3, 16 + 5], latents.mean[1, 1, 3, 5])
    assert torch.equal(std[0, 2, 7], latents.std[0, 0, 2, 7])
    assert torch.equal(codec.encode(wave), mean)
    assert not mean.requires_grad


@torch.no_grad()
def test_decoding_is_the_decoder_and_then_the_vocoder(codec):
    wave = sounds(1, 1280)
    mel = codec.vae.decode(codec.vae.encode(codec.mel(wave[:, 0])[:, None]).latent_dist.mean).sample[:, 0]
    voice = codec.vocoder(mel)
    assert voice.shape[1] > 1280  # the published kernels add some samples
    torch.testing.assert_close(codec.spectrogram(codec.encode(wave)), mel)
    torch.testing.assert_close(codec.decode(codec.encode(wave))[:, 0], voice[:, :1280])


def test_saved_again_it_is_the_same_and_its_identity_names_all_weights(codec, folder, tmp_path):
    again = load_codec(codec.save(tmp_path / "copy"))
    assert again.identity() == codec.identity()
    weights = [folder / "vae/diffusion_pytorch_model.safetensors", folder / "vocoder/model.safetensors"]
    assert codec.identity()["weights_sha256"] == sha256_of_files(weights)
    assert torch.equal(again.encode(sounds(1, 640)), codec.encode(sounds(1, 640)))


def test_wrong_shapes_are_refused(codec):
    with pytest.raises(ValueError, match="encode needs"):
        codec.encode(torch.zeros(1, 2, 640))
    with pytest.raises(ValueError, match="decode needs"):
        codec.decode(torch.zeros(1, 4, 31))


def test_the_spectrogram_is_read_from_the_vocoder(codec):
    mel = mel_config_of(codec.vocoder)
    assert (mel.sample_rate_hz, mel.hop_samples, mel.mel_bins, mel.n_fft, mel.f_max_hz) == (16_000, 160, 64, 1024, 8000)


def test_an_autoencoder_of_pictures_is_refused(codec):
    class Pictures(torch.nn.Module):
        config = type("Config", (), {"in_channels": 3, "block_out_channels": (8, 8)})

    with pytest.raises(ValueError, match="3 channels"):
        MelVaeCodec(Pictures(), codec.vocoder, weights_sha256="")


def test_half_a_folder_is_no_codec(folder, tmp_path):
    (tmp_path / "vae").symlink_to(folder / "vae")
    with pytest.raises(FileNotFoundError, match="vae and vocoder"):
        load_codec(tmp_path)
    assert json.loads((folder / "vae/config.json").read_text())["_class_name"] == "AutoencoderKL"


@pytest.mark.slow
def test_names_on_the_hub_are_told_apart_by_what_lies_there(tmp_path):
    program = Path(__file__).with_name("hub_codecs.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(program), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["MelVaeCodec", "OobleckCodec", "OobleckCodec"]
