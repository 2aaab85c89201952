"""The lapped transform: orthonormal, exact, and equal to the textbook MDCT inside a sound."""

import math

import pytest
import torch

from models.codecs.lapped import LappedTransform


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("block_samples", [2, 16, 500])
@pytest.mark.parametrize("blocks", [1, 2, 7])
def test_inverse_is_exact_and_energy_is_kept(block_samples, blocks):
    transform, wave_BCT = LappedTransform(block_samples), noise(3, 2, blocks * block_samples)
    coefficients_BCnM = transform(wave_BCT)
    assert coefficients_BCnM.shape == (3, 2, blocks, block_samples)
    torch.testing.assert_close(transform.inverse(coefficients_BCnM), wave_BCT, atol=1e-5, rtol=0)
    torch.testing.assert_close(coefficients_BCnM.square().sum(), wave_BCT.square().sum(), rtol=1e-5, atol=0)


def test_inner_block_equals_the_mdct_by_its_definition():
    size = 16
    wave_T = noise(3 * size)
    sample = torch.arange(2 * size) + 0.5
    window = torch.sin(math.pi / (2 * size) * sample)
    basis = torch.cos(math.pi / size * (sample + size / 2)[:, None] * (torch.arange(size) + 0.5)[None, :])
    # A window of two blocks is centred on the block between two half blocks.
    # The textbook's basis is even at its right edge and ours at its left: the same with time reversed.
    part = wave_T[size // 2 : size // 2 + 2 * size].flip(0)
    expected = math.sqrt(2 / size) * (part * window) @ basis
    ours = LappedTransform(size)(wave_T[None, None])[0, 0, 1]
    torch.testing.assert_close(ours.abs(), expected.abs(), atol=1e-5, rtol=1e-4)


def test_a_steady_sine_gathers_in_few_coefficients():
    wave_T = torch.sin(2 * math.pi * 1_000 / 16_000 * torch.arange(16_000))
    energy_nM = LappedTransform(400)(wave_T[None, None])[0, 0, 1:-1].square()
    # 1 kHz lies at coefficient 1000 / (8000 / 400) = 50.
    assert float(energy_nM[:, 47:53].sum() / energy_nM.sum()) > 0.99


@pytest.mark.parametrize("block_samples", [0, 3])
def test_odd_or_empty_blocks_are_refused(block_samples):
    with pytest.raises(ValueError, match=str(block_samples)):
        LappedTransform(block_samples)
