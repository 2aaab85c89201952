"""Fusion: nothing at its start, later a summary of what is there, whatever stands at absent places."""

import pytest
import torch

from models.audiox.fusion import Fusion, FusionConfig
from models.diffusion.guidance import Context

SMALL = FusionConfig(modalities=2, queries=3, layers=1, heads=2)


@pytest.fixture
def fusion():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Fusion(SMALL, 8).eval().requires_grad_(False)


@pytest.fixture
def parts():
    generator = torch.Generator().manual_seed(1)
    masks = [torch.tensor([[True, True, False], [True, False, False]]), None]
    return [Context(tokens_BLC=torch.randn(2, 3, 8, generator=generator), mask_BL=mask) for mask in masks]


def test_nothing_changes_at_its_start(fusion, parts):
    for before, after in zip(parts, fusion(parts), strict=True):
        torch.testing.assert_close(after.tokens_BLC, before.tokens_BLC, atol=1e-3, rtol=0)
        assert after.mask_BL is before.mask_BL


def test_an_open_gate_adds_one_summary_a_modality_that_absent_tokens_do_not_reach(fusion, parts):
    fusion.opening_M.fill_(10.0)
    added = [after.tokens_BLC - before.tokens_BLC for before, after in zip(parts, fusion(parts), strict=True)]
    for one in added:
        torch.testing.assert_close(one, one[:, :1].expand_as(one))
        assert float(one.abs().max()) > 0.1
    tokens = parts[0].tokens_BLC.clone()
    tokens[:, 2] = 1e3
    other = fusion([Context(tokens_BLC=tokens, mask_BL=parts[0].mask_BL), parts[1]])
    torch.testing.assert_close(other[1].tokens_BLC - parts[1].tokens_BLC, added[1])
    tokens[:, 0] += 1
    other = fusion([Context(tokens_BLC=tokens, mask_BL=parts[0].mask_BL), parts[1]])
    assert float((other[1].tokens_BLC - parts[1].tokens_BLC - added[1]).abs().max()) > 1e-3


def test_its_published_size():
    with torch.device("meta"):
        counts = [
            sum(parameter.numel() for parameter in Fusion(FusionConfig(layers=layers), 768).parameters())
            for layers in (8, 4)
        ]
    assert counts == [60_991_494, 32_640_006]


def test_another_number_of_modalities_is_refused(fusion, parts):
    with pytest.raises(ValueError, match="1 modalities"):
        fusion(parts[:1])
    with pytest.raises(ValueError, match="queries of the fusion is 0"):
        FusionConfig(queries=0)
