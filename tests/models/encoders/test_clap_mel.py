"""The log-mel against transformers' extractor, and against arithmetic."""

import math

import numpy as np
import pytest
import torch
from transformers import ClapFeatureExtractor

from models.encoders.clap_mel import ClapMel, ClapMelConfig, int16_round_trip

RATE_HZ = 48_000
SECONDS = {"whole": 10.0, "short": 3.0, "odd": 2.345, "tiny": 0.013}


def extractor(**changes):
    settings = {"frequency_min": 50, "frequency_max": 14_000, "truncation": "rand_trunc", "padding": "repeatpad"}
    return ClapFeatureExtractor(**{**settings, **changes})


def sine(seconds, hz=1_000.0, amplitude=0.5, rate_hz=RATE_HZ):
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def noise(seconds, rate_hz=RATE_HZ):
    return np.random.default_rng(1).uniform(-0.5, 0.5, int(seconds * rate_hz)).astype(np.float32)


def theirs(wave, features, **arguments):
    mel = features(wave, sampling_rate=features.sampling_rate, return_tensors="np", **arguments)["input_features"]
    return mel[0, 0]


@pytest.mark.parametrize("make", [sine, noise])
@pytest.mark.parametrize("seconds", SECONDS.values(), ids=SECONDS)
def test_equals_the_extractor(make, seconds):
    wave = make(seconds)
    ours = ClapMel(ClapMelConfig())(torch.from_numpy(wave)[None])[0].numpy()
    assert ours.shape == (1001, 64)
    np.testing.assert_allclose(ours, theirs(wave, extractor()), atol=1e-4, rtol=0)


def test_equals_the_extractor_at_silence():
    ours = ClapMel(ClapMelConfig())(torch.zeros(1, RATE_HZ))
    assert torch.all(ours == -100.0)


def steep():
    """Noise that falls by 6 dB an octave: its high bands lie about where single precision ends."""
    return (1e-4 * np.cumsum(np.random.default_rng(2).standard_normal(4 * RATE_HZ))).astype(np.float32)


def chirp():
    hz = np.linspace(20, 20_000, 4 * RATE_HZ)
    return (0.5 * np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ)).astype(np.float32)


def tone_over_noise(share):
    return sine(4.0) + share * noise(4.0)


@pytest.mark.parametrize("wave", [steep(), chirp(), *map(tone_over_noise, (0.1, 0.03, 0.01, 1e-3))], ids=range(6))
def test_no_band_is_too_quiet_for_single_precision(wave):
    ours = ClapMel(ClapMelConfig())(torch.from_numpy(wave)[None])[0].numpy()
    np.testing.assert_allclose(ours, theirs(wave, extractor()), atol=1e-3, rtol=0)


@pytest.mark.parametrize("padding", ["repeat", "pad"])
def test_equals_the_extractor_with_other_padding(padding):
    features = extractor(padding=padding)
    ours = ClapMel(ClapMelConfig.from_extractor(features.to_dict()))(torch.from_numpy(noise(2.345))[None])[0]
    np.testing.assert_allclose(ours.numpy(), theirs(noise(2.345), features), atol=1e-4, rtol=0)


def test_equals_the_extractor_of_a_small_model_with_fusion():
    features = extractor(
        sampling_rate=16_000, feature_size=32, hop_length=320, max_length_s=4, frequency_max=7_600, truncation="fusion"
    )
    config = ClapMelConfig.from_extractor(features.to_dict())
    assert config.mel_scale == "htk"
    wave = noise(2.0, rate_hz=16_000)
    ours = ClapMel(config)(torch.from_numpy(wave)[None])[0].numpy()
    assert ours.shape == (config.frames, 32) == (201, 32)
    np.testing.assert_allclose(ours, theirs(wave, features), atol=1e-4, rtol=0)


def test_twice_the_amplitude_is_six_decibels():
    mel = ClapMel(ClapMelConfig())
    quiet, loud = mel(torch.from_numpy(np.stack([noise(10.0), 2 * noise(10.0)])))
    torch.testing.assert_close(loud - quiet, torch.full_like(quiet, 20 * math.log10(2)), atol=1e-4, rtol=0)


def test_batch_equals_one_by_one():
    mel = ClapMel(ClapMelConfig(window_s=1.0))
    wave_BT = torch.from_numpy(np.stack([noise(1.0) * gain for gain in np.linspace(0.1, 1, 18, dtype=np.float32)]))
    torch.testing.assert_close(mel(wave_BT), torch.cat([mel(wave_T[None]) for wave_T in wave_BT]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing_and_are_left_as_they_were(threads):
    mel = ClapMel(ClapMelConfig(window_s=1.0))
    wave_BT = torch.from_numpy(np.stack([noise(1.0) * gain for gain in (0.1, 0.5, 1.0)]))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = mel(wave_BT)
        torch.set_num_threads(threads)
        assert torch.equal(mel(wave_BT), alone)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_bands_that_hear_no_bin_are_silent():
    with pytest.warns(UserWarning, match="all zero"):
        mel = ClapMel(ClapMelConfig(window_s=1.0, f_min_hz=50.0, f_max_hz=60.0, mel_bins=1))
    assert torch.all(mel(torch.from_numpy(noise(1.0))[None]) == -100.0)


@pytest.mark.parametrize("shape", [(1, 480_001), (1, 0), (480,), (0, 480), (1, 1, 480)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="CLAP's log-mel needs"):
        ClapMel(ClapMelConfig())(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"f_max_hz": 24_001.0}, "24001"),
        ({"f_min_hz": -1.0}, "-1.0"),
        ({"n_fft": 1023}, "1023"),
        ({"hop_samples": 0}, "0"),
        ({"window_s": 0.01}, "0.01"),
        ({"mel_scale": "bark"}, "bark"),
        ({"padding": "mirror"}, "mirror"),
    ],
)
def test_config_names_the_bad_value(changes, value):
    with pytest.raises(ValueError, match=value):
        ClapMelConfig(**changes)


def test_settings_of_something_else_are_refused():
    with pytest.raises(ValueError, match="fft_window_size"):
        ClapMelConfig.from_extractor({"sampling_rate": 16_000, "feature_size": 80})


def test_int16_round_trip_truncates_and_clips():
    step = 1 / 32_767
    wave = torch.tensor([0.0, 0.4 * step, -0.9 * step, 1.5 * step, 1.0, 3.0, -3.0])
    torch.testing.assert_close(int16_round_trip(wave) / step, torch.tensor([0.0, 0, 0, 1, 32_767, 32_767, -32_767]))
    samples = np.random.default_rng(0).uniform(-1.2, 1.2, 10_000).astype(np.float32)
    reference = ((np.clip(samples, -1, 1) * 32767.0).astype(np.int16) / 32767.0).astype(np.float32)
    np.testing.assert_array_equal(int16_round_trip(torch.from_numpy(samples)).numpy(), reference)
