"""The embedder: its potentials by arithmetic, its size, and that nothing is dropped at inference."""

import pytest
import torch

from models.audiotoken.network import AttentivePooling, AudioTokenConfig, AudioTokenNetwork
from models.training.averaged import seeded


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("token_width", [768, 1024])
def test_the_published_sizes(token_width):
    h, d = 2304, token_width
    with torch.device("meta"):
        network = AudioTokenNetwork(AudioTokenConfig(token_width=d))
    # two layers; the unary potential's two; the pairwise potential's two; two numbers that mix them
    assert count(network) == (h * h + h) + (h * d + d) + (d * d + d) + (d + 1) + 2 * (d * d + d) + 2
    assert count(network) == {768: 8_853_507, 1024: 10_820_867}[d]


def pooling(width=6, dropout=0.5):
    return seeded(lambda: AttentivePooling(width, dropout), 1)


def test_the_pairwise_potential_is_the_mean_of_all_cosines():
    pool = pooling().eval()
    with torch.no_grad():
        pool.mix.weight.copy_(torch.tensor([[0.0, 3.0]]))  # the pairwise one alone
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    cosines = torch.nn.functional.cosine_similarity(pool.asking(x)[:, :, None], pool.asked(x)[:, None], dim=-1)
    torch.testing.assert_close(pool.weights(x), (3 * cosines.mean(2)).softmax(1))


def test_the_unary_potential_looks_at_each_alone():
    pool = pooling().eval()
    with torch.no_grad():
        pool.mix.weight.copy_(torch.tensor([[2.0, 0.0]]))
    x = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0))
    alone = pool.unary_potential(pool.unary(x).relu())[..., 0]
    torch.testing.assert_close(pool.weights(x), (2 * alone).softmax(1))


def test_equal_vectors_are_their_own_mean_whatever_the_weights():
    x = torch.randn(1, 1, 6).expand(3, 7, 6)
    torch.testing.assert_close(pooling().eval()(x), x[:, 0])


def test_the_order_of_patches_changes_nothing():
    network = seeded(lambda: AudioTokenNetwork(AudioTokenConfig(heard_width=9, token_width=6)), 0).eval()
    heard = torch.randn(2, 8, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(heard), network(heard.flip(1)))


def test_dropout_is_on_while_training_and_off_at_inference():
    network = seeded(lambda: AudioTokenNetwork(AudioTokenConfig(heard_width=9, token_width=6)), 0)
    heard = torch.randn(2, 8, 9, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(network.train()(heard), network.train()(heard))
    assert torch.equal(network.eval()(heard), network.eval()(heard))


@pytest.mark.parametrize(("name", "value"), [("heard_width", 0), ("token_width", 0), ("dropout", 1.0)])
def test_bad_sizes_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        AudioTokenConfig(**{name: value})
