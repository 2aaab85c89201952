"""Kaldi's filter bank: by arithmetic, beside transformers' extractors, and inside and outside its bounds."""

import math

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from models.encoders.beats import FBANK
from models.encoders.kaldi_bands import kaldi_bands
from models.encoders.kaldi_fbank import KaldiFbank, KaldiFbankConfig

RAW = KaldiFbankConfig(window="hann", full_scale=1.0, mean=0.0, deviation=0.5)


def noise(samples, count=1):
    return torch.from_numpy(np.random.default_rng(1).uniform(-0.5, 0.5, (count, samples)).astype(np.float32))


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("window", ["povey", "hann"])
def test_equals_transformers(window):
    """With Kaldi's settings as transformers' speech extractors have them, scaled to 16 bits."""
    wave_BT = noise(8_000)
    bands = mel_filter_bank(
        num_frequency_bins=257,
        num_mel_filters=128,
        min_frequency=20,
        max_frequency=8_000,
        sampling_rate=16_000,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    theirs = spectrogram(
        wave_BT[0].double().numpy() * 2**15,
        window_function(400, window, periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=bands,
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    ).T
    config = KaldiFbankConfig(window=window, full_scale=2.0**15, mean=15.41663, deviation=6.55582)
    ours = KaldiFbank(config)(wave_BT)[0].numpy()
    assert ours.shape == theirs.shape == (48, 128)
    np.testing.assert_allclose(ours, (theirs - 15.41663) / (2 * 6.55582), atol=1e-5)


def test_a_single_click_by_hand():
    """One sample within a frame has a flat spectrum but for the mean that is taken out and the pre-emphasis."""
    wave_BT = torch.zeros(1, 400)
    wave_BT[0, 200] = 1.0
    frame = np.zeros(400)
    frame[200] = 1.0
    frame -= 1 / 400
    emphasised = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    angle = 2 * np.pi * np.outer(np.arange(257), np.arange(400)) / 512
    power = np.abs((np.exp(-1j * angle) * (emphasised * hann)).sum(1)) ** 2
    bands = kaldi_bands(n_fft=512, sample_rate_hz=16_000, mel_bins=128, f_min_hz=20, f_max_hz=8_000).numpy()
    expected = np.log(np.maximum(power @ bands, 2.0**-23))
    np.testing.assert_allclose(KaldiFbank(RAW)(wave_BT)[0, 0].numpy(), expected, atol=1e-5)


def test_a_constant_is_silence_and_silence_is_the_floor():
    floor = math.log(2.0**-23)
    for wave_BT in (torch.zeros(1, 800), torch.full((1, 800), 0.25)):
        torch.testing.assert_close(KaldiFbank(RAW)(wave_BT), torch.full((1, 3, 128), floor))


def test_ten_times_as_loud_is_twice_ln_10_more():
    mel_BFM, louder_BFM = (KaldiFbank(RAW)(scale * noise(4_000)) for scale in (0.1, 1.0))
    heard = mel_BFM > math.log(2.0**-23) + 1
    torch.testing.assert_close((louder_BFM - mel_BFM)[heard], torch.full_like(mel_BFM[heard], 2 * math.log(10)))
    same = KaldiFbank(KaldiFbankConfig(window="hann", full_scale=10.0, mean=0.0, deviation=0.5))(0.1 * noise(4_000))
    torch.testing.assert_close(same, louder_BFM, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("samples", "frames"), [(0, 1), (1, 1), (400, 1), (559, 1), (560, 2), (80_000, 498)])
def test_only_frames_within_the_sound_count(samples, frames):
    assert KaldiFbank(FBANK)(torch.zeros(2, samples)).shape == (2, frames, 128)


def test_fixed_lengths_are_filled_with_logarithms_of_0_and_bounded():
    config = KaldiFbankConfig(window="hann", full_scale=1.0, mean=-4.0, deviation=2.0, frames=4)
    assert config.longest_samples == 3 * 160 + 400
    mel_BFM = KaldiFbank(config)(noise(560))
    assert mel_BFM.shape == (1, 4, 128)
    assert torch.equal(mel_BFM[:, 2:], torch.ones(1, 2, 128))
    assert not torch.equal(mel_BFM[:, 1], torch.ones(1, 128))
    assert KaldiFbank(config)(noise(880)).shape == (1, 4, 128)
    with pytest.raises(ValueError, match="at most 880 samples"):
        KaldiFbank(config)(noise(881))
    with pytest.raises(ValueError, match="needs mono sounds"):
        KaldiFbank(config)(torch.zeros(100))


def test_batch_equals_one_by_one():
    wave_BT = noise(4_000, count=3)
    whole = KaldiFbank(FBANK)(wave_BT)
    torch.testing.assert_close(whole, torch.cat([KaldiFbank(FBANK)(one[None]) for one in wave_BT]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"window": "hamming"}, "hamming"),
        ({"full_scale": 0.0}, "0.0"),
        ({"deviation": 0.0}, "0.0"),
        ({"sample_rate_hz": 40}, "40"),
        ({"mel_bins": 0}, "got 0"),
        ({"frames": 0}, "and 0"),
    ],
)
def test_config_names_the_bad_value(changes, value):
    with pytest.raises(ValueError, match=value):
        KaldiFbankConfig(**{"window": "povey", "full_scale": 1.0, "mean": 0.0, "deviation": 1.0} | changes)
