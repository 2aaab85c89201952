"""The transformer: shapes, real masks, rotary positions, and what it is at its start."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from models.audiox.network import AudioXConfig, AudioXTransformer, rotary_angles, rotated

CONFIG = AudioXConfig(
    latent_channels=4,
    text_width=6,
    frame_width=48,
    frame_patches=4,
    width=16,
    depth=2,
    heads=2,
    context_width=12,
    time_features=16,
)


def random_transformer(config):
    """A transformer in which no layer is zero, so that every input can be felt in the output."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AudioXTransformer(config)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2)
    return network.double().eval().requires_grad_(False)


@pytest.fixture
def given():
    generator = torch.Generator().manual_seed(1)
    x_BFD = torch.randn(3, 7, 4, generator=generator, dtype=torch.float64)
    context_BLC = torch.randn(3, 5, 12, generator=generator, dtype=torch.float64)
    mask_BL = torch.tensor([[True, True, True, False, False], [True] * 5, [False, False, True, False, True]])
    return x_BFD, torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64), context_BLC, mask_BL


KINDS = [
    {"time_conditioning": kind, "frames_per_token": together, "gains": gains}
    for kind in ("adaln", "token")
    for together, gains in ((1, False), (2, False), (2, True))
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_gets_a_prediction_in_float32_too(kind, given):
    x_BFD, t_B, context_BLC, mask_BL = (tensor.float() if tensor.is_floating_point() else tensor for tensor in given)
    v_BFD = random_transformer(replace(CONFIG, **kind)).float()(x_BFD, t_B, context_BLC, mask_BL)
    assert v_BFD.shape == x_BFD.shape
    assert v_BFD.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_masked_tokens_change_nothing_and_real_ones_do(kind, given):
    x_BFD, t_B, context_BLC, mask_BL = given
    network = random_transformer(replace(CONFIG, **kind))
    v_BFD = network(x_BFD, t_B, context_BLC, mask_BL)
    elsewhere = torch.where(mask_BL[..., None], context_BLC, 1e3)
    torch.testing.assert_close(network(x_BFD, t_B, elsewhere, mask_BL), v_BFD, atol=1e-12, rtol=0)
    torch.testing.assert_close(network(x_BFD[:1], t_B[:1], context_BLC[:1, :3], mask_BL[:1, :3]), v_BFD[:1])
    moved = torch.where(mask_BL[..., None], context_BLC + 0.5, context_BLC)
    assert float((network(x_BFD, t_B, moved, mask_BL) - v_BFD).abs().amax((1, 2)).min()) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_time_and_neighbouring_frames_are_felt(kind, given):
    x_BFD, t_B, context_BLC, mask_BL = given
    network = random_transformer(replace(CONFIG, **kind))
    v_BFD = network(x_BFD, t_B, context_BLC, mask_BL)
    assert float((network(x_BFD, t_B + 0.05, context_BLC, mask_BL) - v_BFD).abs().amax((1, 2)).min()) > 1e-4
    other = x_BFD.clone()
    other[:, 6] += 1
    assert float((network(other, t_B, context_BLC, mask_BL) - v_BFD)[:, 0].abs().amax(1).min()) > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_network_predicts_zero_and_learns_in_every_parameter_after_few_steps(kind, given):
    x_BFD, t_B, context_BLC, mask_BL = (tensor.float() if tensor.is_floating_point() else tensor for tensor in given)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AudioXTransformer(replace(CONFIG, **kind))
    assert torch.equal(network(x_BFD, t_B, context_BLC, mask_BL), torch.zeros_like(x_BFD))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        (network(x_BFD, t_B, context_BLC, mask_BL) - x_BFD.flip(1)).square().mean().backward()
        optimizer.step()
    still = [name for name, parameter in network.named_parameters() if not parameter.grad.abs().max() > 0]
    assert still == []


def test_rotary_products_depend_on_the_distance_only():
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 1, 1, 8, generator=generator).expand(1, 1, 40, 8) for _ in range(2))
    rotation = rotary_angles(40, 8)
    products = rotated(query, rotation)[0, 0] @ rotated(key, rotation)[0, 0].T
    for distance in (-7, 0, 3):
        along = torch.diagonal(products, distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-4, rtol=1e-4)
    assert float((products[0, 0] - products[0, 3]).abs()) > 1e-2
    torch.testing.assert_close(rotated(query, rotation).norm(dim=-1), query.norm(dim=-1))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"width": 18, "heads": 4}, "18"), ({"depth": 0}, "depth is 0"), ({"context_width": 5}, "5"),
     ({"time_conditioning": "film"}, "film"), ({"frames_per_token": 0}, "frames_per_token is 0")],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused_with_the_value(changes, said):
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **changes)
