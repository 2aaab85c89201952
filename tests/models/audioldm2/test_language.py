"""The language model: what is said does not depend on padding, on the company, or on how it is computed."""

import pytest
import torch
from torch import Tensor

from models.audioldm2.language import LanguageConfig, LanguageOfAudio, Stream, StreamConfig
from tests.models.audioldm2.tiny_audioldm2 import CONFIG, random_network

LANGUAGE = random_network().language.requires_grad_(False)
WIDTH, VECTORS = CONFIG.language.width, CONFIG.language.vectors


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def streams(lengths: list[int], longest: int, seed: int = 0) -> dict[str, Stream]:
    tokens = drawn(len(lengths), longest, 16, seed=seed)
    return {
        "clap": Stream.of_vectors(drawn(len(lengths), 8, seed=seed + 1)),
        "t5": Stream.of_tokens(tokens, lengths),
    }


def test_what_is_said_is_what_teacher_forcing_predicts_of_it() -> None:
    told = streams([3, 5], 5)
    said = LANGUAGE.spoken(told)
    assert said.shape == (2, VECTORS, WIDTH)
    torch.testing.assert_close(LANGUAGE.predicted(told, said), said, atol=1e-5, rtol=1e-5)
    other = said.clone()
    other[:, 2] += drawn(2, WIDTH, seed=9)  # a constant would be normalised away
    predicted = LANGUAGE.predicted(told, other)
    torch.testing.assert_close(predicted[:, :3], said[:, :3], atol=1e-5, rtol=1e-5)
    assert float((predicted[:, 3:] - said[:, 3:]).abs().max()) > 1e-2, "what follows depends on what went before"


def test_padding_and_company_change_nothing() -> None:
    told = streams([3, 5], 9)
    alone = {
        name: Stream(tokens_BTC=one.tokens_BTC[:1, :3], shown_BT=one.shown_BT[:1, :3], lengths_B=one.lengths_B[:1])
        for name, one in told.items()
    }
    together, single = LANGUAGE.spoken(told), LANGUAGE.spoken(alone)
    torch.testing.assert_close(together[:1], single, atol=1e-5, rtol=1e-5)
    other = streams([3, 5], 9, seed=7)
    assert float((LANGUAGE.spoken(other)[:1] - single).abs().max()) > 1e-2, "and the words do"


def test_given_vectors_come_out_and_the_rest_goes_on_from_them() -> None:
    told = streams([3, 5], 5)
    said = LANGUAGE.spoken(told)
    torch.testing.assert_close(LANGUAGE.spoken(told, given_BGW=said[:, :3]), said, atol=1e-5, rtol=1e-5)
    given = drawn(2, 3, WIDTH)
    went_on = LANGUAGE.spoken(told, given_BGW=given)
    torch.testing.assert_close(went_on[:, :3], given)
    assert float((went_on[:, 3:] - said[:, 3:]).abs().max()) > 1e-2
    whole = drawn(2, VECTORS + 2, WIDTH)
    torch.testing.assert_close(LANGUAGE.spoken(told, given_BGW=whole), whole[:, :VECTORS])


def test_gradients_go_through_all_that_is_said() -> None:
    language = random_network().language
    last = language.spoken(streams([2], 2))[:, -1].square().sum()
    last.backward()
    for name, parameter in language.adapters.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    assert language.gpt2.wte.weight.grad is None


def test_other_tokens_take_up_as_many_positions() -> None:
    stream = Stream.of_tokens(drawn(2, 4, 3), [4, 2])
    other = stream.replaced(torch.tensor([True, False]), torch.ones(1, 3))
    assert other.lengths_B.tolist() == [4, 2]
    assert other.shown_BT.tolist() == [[True, False, False, False], [True, True, False, False]]
    torch.testing.assert_close(other.tokens_BTC[0], torch.tensor([[1.0] * 3] + [[0.0] * 3] * 3))
    torch.testing.assert_close(other.tokens_BTC[1], stream.tokens_BTC[1])
    long = stream.replaced(torch.tensor([True, True]), torch.ones(7, 3))
    assert long.shown_BT.tolist() == [[True] * 4, [True, True, False, False]], "beyond a sample's length it is cut"


def test_streams_are_any_and_one_may_be_missing() -> None:
    config = LanguageConfig(
        streams=tuple(StreamConfig(name=name, width=4) for name in ("clap", "phonemes", "picture")),
        vectors=3, width=8, depth=1, heads=2, positions=32,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        language = LanguageOfAudio(config).requires_grad_(False)
    told = {
        "picture": Stream.of_tokens(drawn(1, 5, 4), [5]),
        "clap": Stream.of_vectors(drawn(1, 4)),
        "phonemes": Stream.of_rows([drawn(2, 4)]),
    }
    in_order = {name: told[name] for name in ("clap", "phonemes", "picture")}
    torch.testing.assert_close(language.spoken(told), language.spoken(in_order))
    without = language.spoken({name: told[name] for name in ("clap", "picture")})
    assert without.shape == (1, 3, 8) and not torch.allclose(without, language.spoken(told))
    with pytest.raises(ValueError, match=r"is told clap, phonemes, picture; given were \['smell'\]"):
        language.spoken({**told, "smell": told["clap"]})
    with pytest.raises(ValueError, match="no streams"):
        language.spoken({})
    with pytest.raises(ValueError, match="do not fit 32 positions: shorten the text"):
        language.spoken({"phonemes": Stream.of_rows([drawn(28, 4)])})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"width": 9}, "not divisible by heads"),
        ({"vectors": 64}, "leave no room"),
        ({"depth": 0}, "depth is 0"),
        ({"streams": ()}, "at least one, each once"),
        ({"streams": (StreamConfig(name="a", width=1),) * 2}, "each once"),
    ],
)
def test_sizes_that_cannot_be_are_refused(how: dict, message: str) -> None:
    sizes = {"streams": (StreamConfig(name="a", width=1),), "width": 8, "heads": 2, "depth": 1, "positions": 64}
    with pytest.raises(ValueError, match=message):
        LanguageConfig(**{**sizes, **how})
    with pytest.raises(ValueError, match="plain word"):
        StreamConfig(name="not a word", width=1)
