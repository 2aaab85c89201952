"""The log-mel of HiFi-GAN and AudioLDM, against the formulas written out in double precision."""

import math

import numpy as np
import pytest
import torch

from models.codecs.mel import LogMel, LogMelConfig


def hz_of_mel(mel):
    """Slaney's scale: linear up to 1 kHz, 200 / 3 Hz a mel, then 27 steps for each factor of 6.4."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * math.log(6.4) / 27))


def mel_of_hz(hz):
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def reference(wave_T, config):
    """Frames, a direct Fourier sum, triangles of area 1, a logarithm."""
    edge = (config.n_fft - config.hop_samples) // 2
    padded = np.pad(wave_T.astype(np.float64), edge, mode="reflect")
    starts = range(0, len(padded) - config.n_fft + 1, config.hop_samples)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.n_fft) / config.n_fft)
    frames = np.stack([padded[start : start + config.n_fft] * window for start in starts])
    bins = config.n_fft // 2 + 1
    turns = np.exp(-2j * np.pi * np.outer(np.arange(config.n_fft), np.arange(bins)) / config.n_fft)
    edges = hz_of_mel(np.linspace(mel_of_hz(config.f_min_hz), mel_of_hz(config.f_max_hz), config.mel_bins + 2))
    hz = np.arange(bins) * config.sample_rate_hz / config.n_fft
    filters = np.zeros((bins, config.mel_bins))
    for band, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        rise, fall = (hz - low) / (middle - low), (high - hz) / (high - middle)
        filters[:, band] = np.clip(np.minimum(rise, fall), 0, None) * 2 / (high - low)
    return np.log(np.maximum(np.abs(frames @ turns) @ filters, 1e-5))


@pytest.mark.parametrize(
    "config",
    [LogMelConfig(), LogMelConfig(n_fft=256, hop_samples=64, mel_bins=10, f_min_hz=50.0, f_max_hz=7_000.0)],
)
def test_it_is_what_the_formulas_say(config):
    rng = np.random.default_rng(0)
    wave_T = (rng.uniform(-0.3, 0.3, 10 * config.hop_samples)).astype(np.float32)
    found = LogMel(config)(torch.from_numpy(wave_T)[None])[0].numpy()
    expected = reference(wave_T, config)
    assert found.shape == (10, config.mel_bins)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_silence_is_at_the_floor_and_ten_seconds_are_as_many_frames_as_audioldm_has():
    mel = LogMel(LogMelConfig())(torch.zeros(2, 163_840))
    assert mel.shape == (2, 1024, 64)
    assert float(mel.max()) < math.log(1e-4)
    assert float(mel.min()) >= math.log(1e-5) - 1e-6


def test_the_gradient_at_silence_is_finite():
    wave = torch.zeros(1, 1600, requires_grad=True)
    LogMel(LogMelConfig())(wave).sum().backward()
    assert bool(wave.grad.isfinite().all())


@pytest.mark.parametrize("shape", [(1, 1601), (1, 320), (1, 1, 1600)])
def test_sounds_of_no_whole_frames_or_too_short_are_refused(shape):
    with pytest.raises(ValueError, match="multiple of 160"):
        LogMel(LogMelConfig())(torch.zeros(shape))
    assert LogMel(LogMelConfig())(torch.zeros(1, 480)).shape == (1, 3, 64)


@pytest.mark.parametrize(
    "changes",
    [{"mel_bins": 0}, {"n_fft": 100}, {"n_fft": 1023}, {"f_max_hz": 8_001.0}, {"f_min_hz": -1.0}, {"hop_samples": 0}],
)
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match="got"):
        LogMelConfig(**changes)
