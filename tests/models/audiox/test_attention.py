"""Attention: rotary positions, norms of queries and keys, and shared heads against an explicit computation."""

import pytest
import torch
from torch import nn

from models.audiox.attention import CrossAttention, SelfAttention, rotary_angles, rotated


def seeded(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture
def random_weights():
    def filled(module):
        generator = torch.Generator().manual_seed(5)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)
        return module.requires_grad_(False)

    return filled


@pytest.mark.parametrize("turned", [8, 4])
def test_rotary_products_depend_on_the_distance_only(turned):
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 1, 1, 8, generator=generator).expand(1, 1, 40, 8) for _ in range(2))
    rotation = rotary_angles(40, turned)
    products = rotated(query, rotation)[0, 0] @ rotated(key, rotation)[0, 0].T
    for distance in (-7, 0, 3):
        along = torch.diagonal(products, distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-4, rtol=1e-4)
    assert float((products[0, 0] - products[0, 3]).abs()) > 1e-2
    torch.testing.assert_close(rotated(query, rotation).norm(dim=-1), query.norm(dim=-1))


def test_channels_that_are_not_turned_stay():
    x_BHNE = seeded(1, 2, 9, 8)
    turned = rotated(x_BHNE, rotary_angles(9, 4))
    assert torch.equal(turned[..., 4:], x_BHNE[..., 4:])
    assert torch.equal(turned[:, :, 0], x_BHNE[:, :, 0])
    assert float((turned - x_BHNE)[:, :, 1:, :4].abs().min()) > 0


def test_query_heads_share_keys_with_their_neighbours(random_weights):
    attention = random_weights(CrossAttention(24, 6, 8, context_heads=2, qk_norm="none"))
    h_BNW, context_BLC = seeded(2, 5, 24), seeded(2, 7, 8)
    mask_BL = torch.tensor([[True] * 7, [True, False, True, True, False, True, True]])
    query = attention.query(h_BNW).reshape(2, 5, 6, 4)
    key, value = (part.reshape(2, 7, 2, 4) for part in attention.key_value(context_BLC).chunk(2, -1))
    heads = []
    for head in range(6):
        scores = query[:, :, head] @ key[:, :, head // 3].transpose(1, 2) / 2
        scores = scores.masked_fill(~mask_BL[:, None], -torch.inf)
        heads.append(scores.softmax(-1) @ value[:, :, head // 3])
    expected = attention.leave(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(h_BNW, context_BLC, mask_BL), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["rms", "l2"])
def test_normalised_queries_and_keys_do_not_grow_with_the_stream(random_weights, kind):
    attention = random_weights(SelfAttention(16, 2, kind))
    for norm in (attention.query_norm, attention.key_norm):
        if kind == "rms":
            nn.init.ones_(norm.weight)
    h_BNW, rotation = seeded(1, 6, 16), rotary_angles(6, 8)
    grown = attention.leave(torch.zeros(16)) + 10 * (attention(h_BNW, rotation) - attention.leave(torch.zeros(16)))
    torch.testing.assert_close(attention(10 * h_BNW, rotation), grown, atol=1e-3, rtol=1e-3)
    plain = random_weights(SelfAttention(16, 2, "none"))
    bias = plain.leave(torch.zeros(16))
    assert float((plain(10 * h_BNW, rotation) - bias - 10 * (plain(h_BNW, rotation) - bias)).abs().max()) > 0.1
