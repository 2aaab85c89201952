"""Kaldi's mel bands: by arithmetic, and beside transformers'."""

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank

from models.encoders.kaldi_bands import kaldi_bands


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize(
    ("n_fft", "rate_hz", "bins", "low_hz", "high_hz"), [(1024, 32_000, 128, 0, 15_000), (512, 16_000, 64, 20, 8_000)]
)
def test_equal_transformers(n_fft, rate_hz, bins, low_hz, high_hz):
    ours = kaldi_bands(n_fft=n_fft, sample_rate_hz=rate_hz, mel_bins=bins, f_min_hz=low_hz, f_max_hz=high_hz)
    theirs = mel_filter_bank(
        num_frequency_bins=n_fft // 2 + 1,
        num_mel_filters=bins,
        min_frequency=low_hz,
        max_frequency=high_hz,
        sampling_rate=rate_hz,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    assert ours.shape == (n_fft // 2 + 1, bins)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-9)


def test_between_the_outer_centres_bands_share_every_frequency_out():
    bands = kaldi_bands(n_fft=1024, sample_rate_hz=32_000, mel_bins=40, f_min_hz=0.0, f_max_hz=16_000.0)
    mel = 1127 * np.log1p(np.arange(513) * 31.25 / 700)
    step = mel[-1] / 41
    inside = torch.from_numpy((mel >= step) & (mel <= 40 * step))
    torch.testing.assert_close(bands[inside].sum(1), torch.ones(int(inside.sum()), dtype=torch.float64))
    assert bands[0].sum() == 0 and float(bands[-1].sum()) == pytest.approx(0, abs=1e-9)
