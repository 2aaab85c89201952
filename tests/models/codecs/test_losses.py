"""Losses of codecs, with answers by arithmetic."""

import math

import numpy as np
import pytest
import torch

from models.codecs.losses import (
    SpectralLoss,
    SpectralSettings,
    Verdict,
    a_weighting,
    feature_distance,
    judge_loss,
    latent_divergence,
    persuasion_loss,
)

PLAIN = SpectralSettings(windows_samples=(256, 64), sample_rate_hz=16_000, is_weighted=False)


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


@pytest.mark.parametrize("is_weighted", [False, True])
def test_equal_sounds_have_no_distance(is_weighted):
    settings = SpectralSettings(windows_samples=(256, 64), sample_rate_hz=16_000, is_weighted=is_weighted)
    assert float(SpectralLoss(settings)(noise(2, 1, 1024), noise(2, 1, 1024))) == 0


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_a_gain_is_a_relative_error_and_a_logarithm(gain):
    wanted = noise(3, 1, 1024)
    found = float(SpectralLoss(PLAIN)(gain * wanted, wanted))
    assert found == pytest.approx(abs(1 - gain) + abs(math.log(gain)), rel=1e-4)


def test_of_two_equal_channels_the_difference_is_silent_and_right():
    wanted = noise(2, 1, 1024).expand(2, 2, 1024)
    expected = 1.5 * (0.5 + math.log(2))  # the mean of left and right, and half for the sum
    assert float(SpectralLoss(PLAIN)(0.5 * wanted, wanted)) == pytest.approx(expected, rel=1e-4)


def test_a_batch_is_the_mean_of_its_clips():
    made, wanted = noise(4, 2, 1024), noise(4, 2, 1024, seed=1)
    loss = SpectralLoss(PLAIN)
    alone = [float(loss(made[row : row + 1], wanted[row : row + 1])) for row in range(4)]
    assert float(loss(made, wanted)) == pytest.approx(np.mean(alone), rel=1e-5)


def test_a_little_noise_in_silence_is_no_large_error():
    """-80 dB against silence: without a floor the error would be ten times that of missing a whole sound."""
    settings = SpectralSettings(windows_samples=(256,), sample_rate_hz=16_000, is_weighted=False)
    noise_BCT = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 4_096), np.float32))
    loss, silence_BCT = SpectralLoss(settings), torch.zeros(1, 1, 4_096)
    logarithms = math.log(1e-4 * (3 / 8 * 256) ** 0.5 / 1e-4)
    assert float(loss(1e-4 * noise_BCT, silence_BCT)) < 0.2 + logarithms
    assert float(loss(silence_BCT, 0.1 * noise_BCT)) > 1


def test_the_gradient_is_finite_where_all_is_silent():
    made = torch.zeros(1, 1, 512, requires_grad=True)
    SpectralLoss(PLAIN)(made, torch.zeros(1, 1, 512)).backward()
    assert bool(made.grad.isfinite().all())


@pytest.mark.parametrize(("made", "message"), [((1, 1, 128), "too short"), ((1, 2, 512), "not two batches")])
def test_sounds_that_cannot_be_compared_are_refused(made, message):
    wanted = torch.zeros(1, 1, made[2])
    with pytest.raises(ValueError, match=message):
        SpectralLoss(PLAIN)(torch.zeros(made), wanted)


@pytest.mark.parametrize("changes", [{"windows_samples": ()}, {"windows_samples": (30,)}, {"sample_rate_hz": 0}])
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match="got"):
        SpectralSettings(**changes)


# IEC 61672-1, table 3; its 16 kHz is 10 ** 4.2 Hz.
CURVE = {31.5: -39.4, 100: -19.1, 1000: 0.0, 2500: 1.3, 8000: -1.1, 15_849: -6.6}


@pytest.mark.parametrize(("taps", "from_hz", "within_db"), [(16_383, 30, 0.1), (101, 900, 0.5)])
def test_the_weighting_follows_the_curve_of_the_standard(taps, from_hz, within_db):
    filter_T = a_weighting(48_000, taps=taps).double().numpy()
    for hz, gain_db in CURVE.items():
        if hz >= from_hz:
            turns = np.exp(-2j * np.pi * hz / 48_000 * np.arange(taps))
            assert 20 * math.log10(abs(filter_T @ turns)) == pytest.approx(gain_db, abs=within_db), hz


def test_the_divergence_of_a_standard_normal_is_zero_and_grows_with_the_mean():
    mean, std = torch.zeros(2, 5, 3), torch.ones(2, 5, 3)
    assert float(latent_divergence(mean, std)) == 0
    assert float(latent_divergence(mean + 2, std)) == pytest.approx(5 * 4)
    assert float(latent_divergence(mean, std * 2)) == pytest.approx(5 * (4 - math.log(4) - 1))


def verdict(*marks, features=1.0):
    return Verdict([torch.tensor([mark]) for mark in marks], [[torch.tensor([features])] for _ in marks])


def test_a_judge_that_knows_nothing_loses_two_and_a_sure_one_nothing():
    assert float(judge_loss(verdict(0.0, 0.0), verdict(0.0, 0.0))) == 2
    assert float(judge_loss(verdict(1.0, 5.0), verdict(-1.0, -7.0))) == 0
    assert float(judge_loss(verdict(0.5, 1.0), verdict(-1.0, 0.0))) == pytest.approx((0.5 + 1.0) / 2)


def test_the_maker_wants_high_marks_and_the_features_of_real_sounds():
    assert float(persuasion_loss(verdict(3.0, 1.0))) == -2
    assert float(feature_distance(verdict(0.0, features=1.0), verdict(0.0, features=-2.0))) == 3


def test_features_of_real_sounds_get_no_gradient():
    real, made = torch.ones(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    feature_distance(Verdict([], [[real]]), Verdict([], [[made]])).backward()
    assert real.grad is None
    assert made.grad.tolist() == [-0.5, -0.5]
