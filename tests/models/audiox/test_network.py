"""The transformer: shapes, real masks, rotary positions, and what it is at its start."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from models.audiox.adapters import Adapters
from models.audiox.attention import rotary_angles
from models.audiox.conditioning import Features
from models.audiox.fusion import FusionConfig
from models.audiox.network import AudioXConfig, AudioXNetwork, AudioXTransformer
from models.training.execution import blocks_of

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
        for name, parameter in network.named_parameters():
            nn.init.normal_(parameter, mean=float(name.endswith("norm.weight")), std=0.2)
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
] + [
    {"time_conditioning": "token", "published_ends": True, "qk_norm": "none", "context_heads": 1, "turned_channels": 4},
    {"qk_norm": "l2", "context_heads": 1},
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


@pytest.mark.parametrize("kind", [{}, {"time_conditioning": "token"}, KINDS[-2]])
def test_a_block_compiles_as_one_graph(kind, given):
    import torch._dynamo

    block = random_transformer(replace(CONFIG, **kind)).float().blocks[0].train()
    torch._dynamo.reset()
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    _, _, context_BLC, mask_BL = given
    h_BNW = torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(2))
    added = torch.zeros(3, 6, 16) if kind == {} else None
    inputs = (h_BNW, added, context_BLC.float(), mask_BL, rotary_angles(6, kind.get("turned_channels", 8)))
    torch.testing.assert_close(compiled(*inputs), block(*inputs))


def test_a_global_condition_is_felt_where_there_is_one(given):
    x_BFD, t_B, context_BLC, mask_BL = given
    network = random_transformer(replace(CONFIG, **KINDS[-2], global_width=3))
    one = network(x_BFD, t_B, context_BLC, mask_BL, torch.ones(3, 3, dtype=torch.float64))
    other = network(x_BFD, t_B, context_BLC, mask_BL, -torch.ones(3, 3, dtype=torch.float64))
    assert float((one - other).abs().amax((1, 2)).min()) > 1e-4
    unmasked = network(x_BFD, t_B, context_BLC)
    torch.testing.assert_close(network(x_BFD, t_B, context_BLC, torch.ones(3, 5, dtype=torch.bool)), unmasked)


def test_a_student_speaks_of_the_middle_of_the_network():
    from models.audiox.network import AudioXNetwork

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AudioXNetwork(replace(CONFIG, teacher_width=5))
    features = Features(
        text_BLT=torch.ones(2, 1, 6),
        text_mask_BL=torch.ones(2, 1, dtype=torch.bool),
        text_lengths=(1, 1),
        has_text_B=torch.tensor([True, False]),
        frames_BNPV=None,
        has_frames_B=torch.zeros(2, dtype=torch.bool),
    )
    predicted = network(torch.randn(2, 7, 4), torch.tensor([0.2, 0.7]), features)
    assert predicted.student_BS.shape == (2, 5)
    predicted.student_BS.square().sum().backward()
    assert network.transformer.blocks[1].mlp.enter.weight.grad is None, "the second half is not asked"
    assert network.transformer.enter.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"width": 18, "heads": 4}, "18"), ({"depth": 0}, "depth is 0"), ({"context_width": 5}, "5"),
     ({"time_conditioning": "film"}, "film"), ({"frames_per_token": 0}, "frames_per_token is 0"),
     ({"qk_norm": "batch"}, "batch"), ({"context_heads": 3}, "context_heads is 3"), ({"turned_channels": 10}, "10"),
     ({"published_ends": True}, "published_ends"), ({"context_heads": 0}, "context_heads is 0")],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused_with_the_value(changes, said):
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **changes)


@pytest.mark.parametrize("is_published", [False, True])
def test_every_batch_goes_through_all_blocks(is_published):
    """One of texts alone gives each of their parameters a gradient: those that only read pictures are no blocks."""
    fusion = None if is_published else FusionConfig(queries=2, layers=1, heads=2)
    adapters = Adapters(
        audio=True, video_tokens=3, video_pictures=2, video_depth=2, published=is_published, fusion=fusion
    )
    ends = {"published_ends": True, "time_conditioning": "token"} if is_published else {}
    network = AudioXNetwork(replace(CONFIG, text_width=12, frame_width=12, adapters=adapters, **ends)).train()
    texts = Features(
        text_BLT=torch.randn(2, 3, 12),
        text_mask_BL=torch.ones(2, 3, dtype=torch.bool),
        text_lengths=(3, 3),
        has_text_B=torch.ones(2, dtype=torch.bool),
        frames_BNPV=None,
        has_frames_B=torch.zeros(2, dtype=torch.bool),
    )
    network(torch.randn(2, 7, 4), torch.rand(2), texts).v_BFD.sum().backward()
    blocks = torch.nn.ModuleList(blocks_of(network))
    assert len(blocks) == CONFIG.depth
    assert [name for name, parameter in blocks.named_parameters() if parameter.grad is None] == []
