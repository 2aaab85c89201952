"""How well sounds come back, with answers by arithmetic."""

import math

import numpy as np
import pytest
import torch

from models.metrics.reconstruction import MEL_BANDS, _filters, mel_distance, reconstruction, si_sdr_db

RATE_HZ = 16_000


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)) * 0.1


def test_a_tenth_of_the_power_beside_a_tone_is_ten_decibels():
    turns = 2 * math.pi * torch.arange(1600, dtype=torch.float64) / 1600
    tone, other = torch.sin(8 * turns)[None], torch.sin(9 * turns)[None]  # orthogonal, of equal power
    assert si_sdr_db(tone + math.sqrt(0.1) * other, tone) == pytest.approx(10, abs=1e-6)
    assert si_sdr_db(tone + other, tone) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("gain", [0.01, -3.0])
def test_its_scale_says_nothing(gain):
    made, wanted = noise(2, 800), noise(2, 800, seed=1)
    assert si_sdr_db(gain * made, wanted) == pytest.approx(si_sdr_db(made, wanted), abs=1e-3)


def test_equal_and_unrelated_sounds_are_at_the_limits():
    tone = torch.sin(torch.arange(1600) * (2 * math.pi / 16))[None]
    assert si_sdr_db(0.5 * tone, tone) == 100
    assert si_sdr_db(torch.zeros(1, 1600), tone) == -100
    assert si_sdr_db(torch.cos(torch.arange(1600) * (2 * math.pi / 16))[None], tone) == -100


@pytest.mark.parametrize("bad", [torch.zeros(1, 8), torch.full((1, 8), float("nan"))])
def test_no_ratio_to_silence_or_nan(bad):
    with pytest.raises(ValueError, match=r"silent|finite"):
        si_sdr_db(torch.ones(1, 8), bad)


def test_equal_sounds_have_no_mel_distance_and_a_gain_a_known_one():
    wave = noise(2, 4000)
    assert mel_distance(wave, wave, RATE_HZ) == 0
    # Bands without a bin are equal in all sounds, so they count as no difference.
    heard = [float((_filters(w, b, RATE_HZ).sum(0) > 0).double().mean()) for w, b in MEL_BANDS.items()]
    assert mel_distance(0.1 * wave, wave, RATE_HZ) == pytest.approx(sum(heard), rel=1e-3)


def test_the_mel_distance_hears_no_sign_but_an_added_tone():
    wave = noise(1, 32_000)
    tone = 0.5 * torch.sin(torch.arange(32_000) * (2 * math.pi * 1000 / RATE_HZ))[None]
    assert mel_distance(-wave, wave, RATE_HZ) == 0
    assert 0 < mel_distance(0.99 * wave, wave, RATE_HZ) < mel_distance(wave + tone, wave, RATE_HZ)


@pytest.mark.parametrize("shape", [(1, 1024), (1, 1, 4000)])
def test_sounds_too_short_or_of_other_shape_are_refused(shape):
    with pytest.raises(ValueError, match="T above 1024"):
        mel_distance(torch.zeros(shape), torch.zeros(shape), RATE_HZ)
    assert mel_distance(torch.zeros(1, 1025), torch.zeros(1, 1025), RATE_HZ) == 0


class HalfCodec:
    """Gives back half of each sound, and a frame too much."""

    sample_rate_hz = RATE_HZ

    def encode(self, wave_BCT):
        return wave_BCT

    def decode(self, latents):
        return torch.nn.functional.pad(0.5 * latents, (0, 7))


def test_a_codec_is_measured_over_sounds_and_silence_is_left_out():
    found = reconstruction(HalfCodec(), [noise(1, 2000), torch.zeros(1, 2000), noise(1, 3000, seed=2)])
    assert (found.sounds, found.silent, found.si_sdr_db) == (2, 1, 100)
    assert 0 < found.mel_distance < 7 * math.log10(2) + 1e-6
    with pytest.raises(ValueError, match="1 silent"):
        reconstruction(HalfCodec(), [torch.zeros(1, 2000)])
