"""Wav2CLIP: the published size and names, its spectrogram by arithmetic, and files that are something else."""

import math

import pytest
import torch

from models.encoders.wav2clip import HOP_SAMPLES, N_FFT, Wav2Clip, Wav2ClipNetwork, log_spectrogram


def published(**changes):
    """A checkpoint as it is published: of Lightning, with a classifier and CLIP's side, which are not used."""
    torch.manual_seed(0)
    state = Wav2ClipNetwork().state_dict()
    further = {
        "audio_encoder.fc.weight": torch.zeros(309, 512),
        "audio_encoder.fc.bias": torch.zeros(309),
        "audio_encoder.spectrogram.window": torch.hann_window(N_FFT),
        "image_transform.sequential.0.weight": torch.zeros(512, 512),
    }
    return {"epoch": 1, "state_dict": {**state, **further}} | changes


def test_the_published_names_and_size():
    network = Wav2ClipNetwork()
    # the 11,176,512 of a ResNet-18 without its classifier, less two of the three channels of its first convolution
    encoder = sum(one.numel() for one in network.audio_encoder.parameters())
    assert encoder == 11_176_512 - 2 * 64 * 49
    assert sum(one.numel() for one in network.audio_transform.parameters()) == 2 * (512 * 512 + 512)
    names = set(network.state_dict())
    assert {
        "audio_encoder.layer2.0.downsample.1.running_var",
        "audio_encoder.layer4.1.conv2.weight",
        "audio_transform.sequential.3.weight",
    } <= names


def test_a_file_is_read_and_its_vectors_have_length_1(tmp_path):
    torch.save(published(), tmp_path / "ResNet_CX.ckpt")
    listener = Wav2Clip.from_pretrained(tmp_path / "ResNet_CX.ckpt")
    waves = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    found = listener.embed_sound(waves)
    assert found.shape == (2, 512)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(found[1:], listener.embed_sound(waves[1:]))  # whatever its company
    torch.testing.assert_close(found, listener.embed_sound(3 * waves), rtol=0, atol=1e-3)  # loudness is taken out


def test_a_tone_stands_at_its_frequency():
    tone = torch.sin(2 * math.pi * 1_000 * torch.arange(16_000) / 16_000)[None]
    found = log_spectrogram(tone)
    assert found.shape == (1, N_FFT // 2 + 1, 1 + 16_000 // HOP_SAMPLES)
    assert (found[0, :, 5:40].argmax(0) == 1_000 * N_FFT // 16_000).all()
    # half of the amplitude times the sum of the window, squared
    assert found[0, 32, 20].item() == pytest.approx(2 * math.log(0.5 * N_FFT / 2), abs=1e-2)


def test_files_that_are_something_else_are_named(tmp_path):
    torch.save({"model": {}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="does not hold `state_dict`"):
        Wav2Clip.from_pretrained(tmp_path / "a.ckpt")
    torch.save(published(state_dict={"x": torch.zeros(1)}), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="is no Wav2CLIP"):
        Wav2Clip.from_pretrained(tmp_path / "a.ckpt")
    (tmp_path / "a.ckpt").write_bytes(b"no")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        Wav2Clip.from_pretrained(tmp_path / "a.ckpt")


def test_sounds_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match="at least 512"):
        Wav2Clip(Wav2ClipNetwork(), weights_sha256="").embed_sound(torch.zeros(1, 100))
