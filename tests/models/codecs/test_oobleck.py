"""Stable Audio's autoencoder behind the codec interface, a tiny random one on disk."""

import hashlib

import pytest
import torch

from models.codecs.closed_form import MdctPca, MdctPcaConfig
from models.codecs.codec import Codec, load_codec
from models.codecs.oobleck import OobleckCodec


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = diffusers.AutoencoderOobleck(
            encoder_hidden_size=8,
            downsampling_ratios=[2, 4],
            channel_multiples=[1, 2],
            decoder_channels=8,
            decoder_input_channels=4,
            audio_channels=2,
            sampling_rate=16_000,
        )
    path = tmp_path_factory.mktemp("oobleck")
    network.save_pretrained(path / "vae")
    return path


@pytest.fixture(scope="module")
def codec(folder):
    return OobleckCodec.from_pretrained(folder, subfolder="vae")


def test_rates_and_shapes(codec):
    assert isinstance(codec, Codec)
    assert (codec.sample_rate_hz, codec.channels, codec.hop_samples, codec.latent_channels) == (16_000, 2, 8, 4)
    assert codec.latent_rate_hz == 2_000.0
    latents = codec.encode(torch.zeros(3, 2, 81))
    assert latents.shape == (3, 11, 4)
    assert codec.decode(latents).shape == (3, 2, 88)


def test_encoding_is_the_mean_and_repeats(codec):
    wave = torch.rand(2, 2, 160, generator=torch.Generator().manual_seed(1))
    assert torch.equal(codec.encode(wave), codec.encode(wave))
    expected = codec.network.encode(wave).latent_dist.mean.transpose(1, 2)
    torch.testing.assert_close(codec.encode(wave), expected)
    assert not codec.encode(wave).requires_grad


def test_identity_names_the_weights(codec, folder):
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    assert codec.identity()["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert codec.identity() == OobleckCodec.from_pretrained(folder, subfolder="vae").identity()


def test_wrong_shapes_are_refused(codec):
    with pytest.raises(ValueError, match="encode needs"):
        codec.encode(torch.zeros(1, 1, 80))
    with pytest.raises(ValueError, match="decode needs"):
        codec.decode(torch.zeros(1, 4, 10))


def test_load_codec_picks_by_what_lies_there(folder, tmp_path):
    assert isinstance(load_codec(folder, subfolder="vae"), OobleckCodec)
    fitted = MdctPca.fit([torch.rand(1, 640)], MdctPcaConfig(hop_samples=64, latent_channels=4))
    loaded = load_codec(fitted.save(tmp_path / "codec"))
    assert isinstance(loaded, MdctPca) and isinstance(loaded, Codec)
    assert loaded.identity() == fitted.identity()
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"codec\.json"):
        load_codec(tmp_path / "empty")
