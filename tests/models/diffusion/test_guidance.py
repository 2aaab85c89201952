"""Guidance: identity at scale 1, the published formula elsewhere, one call of the network."""

import pytest
import torch

from models.diffusion.guidance import Context, classifier_free_weights, guided, modality_weights


class CountingNetwork:
    """Predicts x + the sum of its real tokens, and counts its calls and rows."""

    def __init__(self):
        self.rows = []

    def __call__(self, x_BFD, t_B, tokens_BLC, mask_BL):
        self.rows.append(len(x_BFD))
        return x_BFD * t_B[:, None, None] + (tokens_BLC * mask_BL[..., None]).sum((1, 2))[:, None, None] * x_BFD.sign()


def context(value):
    return Context(tokens_BLC=torch.full((2, 3, 4), value), mask_BL=torch.tensor([[True, True, False]] * 2))


@pytest.fixture
def start():
    return torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))


T_B = torch.tensor([0.5, 0.25])


def test_scale_one_is_the_prediction_itself_at_half_the_cost(start):
    network = CountingNetwork()
    found = guided(network, [context(0.2), context(0.0)], classifier_free_weights(1.0))(start, T_B)
    assert network.rows == [2]
    assert torch.equal(found, network(start, T_B, context(0.2).tokens_BLC, context(0.2).mask_BL))


def test_scale_three_goes_three_times_as_far_in_one_call(start):
    network = CountingNetwork()
    found = guided(network, [context(0.2), context(0.1)], classifier_free_weights(3.0))(start, T_B)
    assert network.rows == [4]
    with_it = network(start, T_B, context(0.2).tokens_BLC, context(0.2).mask_BL)
    without = network(start, T_B, context(0.1).tokens_BLC, context(0.1).mask_BL)
    torch.testing.assert_close(found, without + 3 * (with_it - without))


def test_full_rescaling_gives_the_spread_of_the_followed_prediction(start):
    network = CountingNetwork()
    found = guided(network, [context(0.2), context(0.1)], classifier_free_weights(5.0), rescale=1.0)(start, T_B)
    followed = network(start, T_B, context(0.2).tokens_BLC, context(0.2).mask_BL)
    torch.testing.assert_close(found.flatten(1).std(1), followed.flatten(1).std(1))


def test_rescaling_takes_the_spread_of_the_first_context_also_where_its_weight_is_zero(start):
    network = CountingNetwork()
    contexts = [context(0.2), context(0.1), context(0.4)]
    found = guided(network, contexts, (0.0, 0.0, 1.0), rescale=1.0)(start, T_B)
    assert network.rows == [4], "the second is not computed"
    followed = network(start, T_B, context(0.2).tokens_BLC, context(0.2).mask_BL)
    torch.testing.assert_close(found.flatten(1).std(1), followed.flatten(1).std(1))
    alone = CountingNetwork()
    guided(alone, contexts, (0.0, 0.0, 1.0))(start, T_B)
    assert alone.rows == [2]


@pytest.mark.parametrize(
    ("weights", "rescale", "said"),
    [
        ((2.0,), 0.0, "1 weights"),
        ((2.0, 1.0), 0.0, "sum to 3"),
        ((2.0, -1.0), 1.5, "1.5"),
        (classifier_free_weights(float("nan")), 0.0, "sum to nan"),
        (classifier_free_weights(float("inf")), 0.0, "sum to nan"),
    ],
)
def test_what_does_not_fit_is_refused(weights, rescale, said):
    with pytest.raises(ValueError, match=said):
        guided(CountingNetwork(), [context(0.2), context(0.1)], weights, rescale=rescale)


def test_scales_of_modalities_add_what_each_of_them_says():
    assert modality_weights([1.0, 1.0]) == (1.0, 0.0, 0.0)
    assert modality_weights([3.0]) == classifier_free_weights(3.0)
    weights = modality_weights([3.0, 1.5])
    assert weights == (3.5, -2.0, -0.5)
    assert sum(weights) == pytest.approx(1)
    with pytest.raises(ValueError, match="no scales"):
        modality_weights([])


def test_contexts_without_masks_are_passed_on_without_one():
    def network(x_BFD, t_B, context_BLC, context_mask_BL):
        assert context_mask_BL is None
        return x_BFD + context_BLC.mean(1, keepdim=True)

    contexts = [Context(tokens_BLC=torch.full((1, 2, 3), value), mask_BL=None) for value in (1.0, 0.0)]
    made = guided(network, contexts, (2.0, -1.0))(torch.zeros(1, 4, 3), torch.zeros(1))
    torch.testing.assert_close(made, torch.full((1, 4, 3), 2.0))
    masked = Context(tokens_BLC=torch.zeros(1, 2, 3), mask_BL=torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="some contexts have a mask"):
        guided(network, [contexts[0], masked], (2.0, -1.0))
