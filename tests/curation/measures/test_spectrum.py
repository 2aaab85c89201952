import numpy as np
import pytest

from curation.measures.spectrum import SpectrumMeter

RATE_HZ = 48_000


def spectrum(sound: np.ndarray, rate_hz: int = RATE_HZ, block_samples: int = 100_000) -> SpectrumMeter:
    meter = SpectrumMeter(rate_hz)
    for start in range(0, sound.shape[1], block_samples):
        meter.add(sound[:, start : start + block_samples].astype(np.float32))
    return meter


def noise(seconds: float = 4.0, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, (channels, round(seconds * RATE_HZ)))


@pytest.mark.parametrize("channels", [1, 2])
def test_white_noise_is_as_flat_as_an_exponential_distribution(channels):
    assert spectrum(noise(channels=channels)).flatness() == pytest.approx(np.exp(-np.euler_gamma), abs=0.01)


def test_a_tone_is_not_flat_and_silence_has_no_flatness():
    time_s = np.arange(RATE_HZ) / RATE_HZ
    assert spectrum(0.5 * np.sin(2 * np.pi * 1_000 * time_s)[None]).flatness() < 0.001
    assert spectrum(np.zeros((1, RATE_HZ))).flatness() is None


def test_a_band_that_a_codec_removed_changes_no_flatness():
    bins = np.fft.rfft(noise())
    bins[:, (10_000 * 4) :] = 0  # 4 s: a bin is 0.25 Hz
    assert spectrum(np.fft.irfft(bins)).flatness() == pytest.approx(np.exp(-np.euler_gamma), abs=0.01)


def test_silent_windows_do_not_count():
    half = np.concatenate([noise(), np.zeros((1, 4 * RATE_HZ))], axis=1)
    assert spectrum(half).flatness() == pytest.approx(np.exp(-np.euler_gamma), abs=0.02)


def test_white_noise_fills_the_band():
    assert spectrum(noise(1.0)).bandwidth_hz(-80.0, 6.0) == pytest.approx(24_000, abs=50)


@pytest.mark.parametrize("samples", [1_000, 4_095, 4_096])
def test_a_sound_shorter_than_a_window_has_a_spectrum(samples):
    found = spectrum(noise()[:, :samples])
    assert found.bandwidth_hz(-80.0, 6.0) == pytest.approx(24_000, abs=100)
    assert found.flatness() is not None


def test_no_sound_has_neither():
    found = spectrum(np.zeros((1, 0)))
    assert found.bandwidth_hz(-80.0, 6.0) is None and found.flatness() is None


@pytest.mark.parametrize("block_samples", [1_000, 4_096, 70_001])
def test_where_a_sound_is_divided_changes_nothing(block_samples):
    whole, parts = spectrum(noise(), block_samples=10**6), spectrum(noise(), block_samples=block_samples)
    assert parts.flatness() == pytest.approx(whole.flatness(), rel=1e-5)
    assert parts.bandwidth_hz(-80.0, 6.0) == whole.bandwidth_hz(-80.0, 6.0)


@pytest.mark.parametrize("rate_hz", [1_000, 8_000, 192_000])
def test_rates_at_which_the_band_does_not_fit_are_measured_too(rate_hz):
    assert 0 < spectrum(noise(), rate_hz).flatness() <= 1
