"""A T5 of some captions' words: the same for equal words, told apart otherwise, read by T5's own classes."""

from pathlib import Path

import pytest
import torch

from models.audiox.pretrained import T5TextTokens
from models.encoders.word_t5 import save_word_t5

CAPTIONS = ["A dog barks, twice", "rain falls on the roof", "the dog's bark"]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> T5TextTokens:
    return T5TextTokens.from_pretrained(save_word_t5(CAPTIONS, tmp_path_factory.mktemp("words"), width=32, depth=1))


def tokens(words: T5TextTokens, text: str) -> torch.Tensor:
    hidden, mask = words.text_tokens([text])
    return hidden[0][mask[0]]


def test_a_word_is_a_token_whatever_its_first_letter(words: T5TextTokens) -> None:
    from transformers import T5Tokenizer

    assert isinstance(words.tokenizer, T5Tokenizer)
    assert tokens(words, "a dog barks").shape == (4, 32), "three words and the end"
    torch.testing.assert_close(tokens(words, "A Dog barks"), tokens(words, "a dog barks"))
    assert float((tokens(words, "a dog falls") - tokens(words, "a dog barks")).abs().max()) > 0.1
    assert words.tokenizer.unk_token_id not in words.tokenizer("the dog's bark, twice").input_ids
    assert words.tokenizer.unk_token_id in words.tokenizer("a cat").input_ids
    assert tokens(words, "").shape == (1, 32), "nothing is the end alone"


def test_it_is_a_function_of_its_words_and_the_seed(tmp_path: Path, words: T5TextTokens) -> None:
    again, other = (
        T5TextTokens.from_pretrained(
            save_word_t5(reversed(CAPTIONS), tmp_path / str(seed), width=32, depth=1, seed=seed)
        )
        for seed in (0, 1)
    )
    torch.testing.assert_close(tokens(again, "rain"), tokens(words, "rain"))
    assert not torch.allclose(tokens(other, "rain"), tokens(words, "rain"))


def test_no_words_and_odd_widths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no word in them"):
        save_word_t5(["", "  "], tmp_path)
    with pytest.raises(ValueError, match="multiple of 16"):
        save_word_t5(CAPTIONS, tmp_path, width=20)
