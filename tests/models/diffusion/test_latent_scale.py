"""The scale of latents: unit variance, there and back, kept with the weights."""

import pytest
import torch

from models.diffusion.latent_scale import LatentScale


def test_latents_get_mean_zero_and_unit_variance_over_all_batches():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(8, 50, 3, generator=generator) * torch.tensor([1.0, 10.0, 0.1]) + torch.tensor(
        [5.0, 0.0, -1.0]
    )
    scale = LatentScale(3)
    scale.fit([latents[:3], latents[3:]])
    scaled = scale.scaled(latents)
    torch.testing.assert_close(scaled.mean((0, 1)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std((0, 1), correction=0), torch.ones(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(scale.unscaled(scaled), latents)
    again = LatentScale(3)
    again.load_state_dict(scale.state_dict())
    assert torch.equal(again.scaled(latents), scaled)


def test_a_channel_that_never_moves_stays_finite():
    latents = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.0])
    scale = LatentScale(2)
    scale.fit([latents])
    assert torch.equal(scale.scaled(latents)[..., 1], torch.zeros(2, 50))


def test_no_latents_are_refused():
    with pytest.raises(ValueError, match="no latents"):
        LatentScale(2).fit([])
