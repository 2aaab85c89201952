"""Drawing by seed: only what is likely enough, as often as it is likely, and the same in any company."""

from collections import Counter

import pytest
import torch

from captioning.decoding import Drawing
from captioning.in_process.draws import SeededChoice
from curation.errors import ArgumentError


def chosen(choice: SeededChoice, scores_BV: torch.Tensor) -> list[int]:
    only_BV = choice(torch.zeros(len(scores_BV), 1, dtype=torch.long), scores_BV)
    assert ((only_BV == 0).sum(dim=1) == 1).all()
    return only_BV.argmax(dim=1).tolist()


def test_words_come_as_often_as_they_are_likely() -> None:
    drawing = Drawing(draws=1, temperature=1.0, top_p=1.0, top_k=4)
    scores_V = torch.log(torch.tensor([0.1, 0.6, 0.3, 1e-9]))
    choice = SeededChoice([f"clip {n}" for n in range(500)], 1, drawing)
    counts = Counter(word for _ in range(8) for word in chosen(choice, scores_V.expand(500, 4)))
    assert [counts[word] / 4000 for word in range(3)] == pytest.approx([0.1, 0.6, 0.3], abs=0.03)
    assert counts[3] == 0


def test_a_low_temperature_is_the_most_likely_word() -> None:
    choice = SeededChoice(["a"] * 50, 1, Drawing(draws=1, temperature=0.01, top_p=1.0))
    assert set(chosen(choice, torch.tensor([[0.0, 1.0, 0.5]]).expand(50, 3))) == {1}


@pytest.mark.parametrize(("top_p", "words"), [(0.59, {1}), (0.61, {1, 2}), (0.91, {0, 1, 2})])
def test_top_p_takes_the_fewest_words_that_reach_it(top_p: float, words: set[int]) -> None:
    drawing = Drawing(draws=1, temperature=1.0, top_p=top_p, top_k=9)
    choice = SeededChoice([f"clip {n}" for n in range(400)], 1, drawing)
    assert set(chosen(choice, torch.log(torch.tensor([0.1, 0.6, 0.3])).expand(400, 3))) == words


def test_a_clip_draws_the_same_words_alone_and_in_company() -> None:
    drawing = Drawing(draws=2, temperature=1.0, top_p=1.0)
    scores_V = torch.randn(40, generator=torch.Generator().manual_seed(0))
    alone, together = SeededChoice(["b"], 2, drawing), SeededChoice(["a", "b", "c"], 2, drawing)
    for _ in range(5):
        assert chosen(alone, scores_V[None])[0] == chosen(together, scores_V.expand(3, 40))[1]


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"top_p": 1.1}, {"top_k": 0}])
def test_numbers_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ArgumentError, match="out of range"):
        Drawing(**{"draws": 1, **wrong})


@pytest.mark.parametrize("draws", [-1, 0, 64])
def test_the_number_of_answers_is_bounded(draws: int) -> None:
    with pytest.raises(ArgumentError, match=f"candidates must lie in 1 to 64, not {draws + 1}"):
        Drawing(draws=draws)
