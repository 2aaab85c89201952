"""A T5 of words, for recipes without published weights: a frozen encoder of random weights that knows some words.

It was taught nothing: each word is a random vector, mixed with those beside it, which is enough to tell captions apart.
Take a FLAN-T5 for everything else. It is a real T5 with T5's own tokenizer, so that whatever takes one takes it.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

WORD = re.compile(r"[^\W_]+|[^\w\s]")
SPECIAL = ("<pad>", "</s>", "<unk>")
SPACE = "▁"
"""What T5's tokenizer puts before a word."""
MOST_TOKENS = 128


def save_word_t5(captions: Iterable[str], folder: Path, *, width: int = 64, depth: int = 2, seed: int = 0) -> Path:
    """Makes a T5 of the words of captions.

    Args:
        captions: With at least one word.
        folder: Where it is written, as transformers does.
        width: Of its hidden states, a multiple of 16.
        depth: Blocks.
        seed: Of its weights.

    Raises:
        ValueError: there is no word, or the width is no multiple of 16.
    """
    from transformers import T5Config, T5EncoderModel

    if width < 16 or width % 16:
        raise ValueError(f"width is {width}: it must be a multiple of 16")
    words = sorted({word for caption in captions for word in WORD.findall(caption.lower())})
    if not words:
        raise ValueError("a T5 of words is made from captions, and there is no word in them")
    sizes = {"d_model": width, "d_kv": 16, "num_heads": width // 16, "d_ff": 2 * width, "num_layers": depth}
    tokenizer, same = _tokenizer(words)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5EncoderModel(T5Config(vocab_size=len(tokenizer), dropout_rate=0.0, decoder_start_token_id=0, **sizes))
    with torch.no_grad():
        for copy, original in same.items():
            model.shared.weight[copy] = model.shared.weight[original]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(words: list[str]) -> tuple[Any, dict[int, int]]:
    """A tokenizer of words, alone and behind a space; and which of its tokens mean the same as which others.

    T5's tokenizer knows no lower-casing, so a word with a capital is a token of its own that means the same.
    """
    from transformers import T5Tokenizer

    score = -math.log(len(words) + 1)
    pieces: dict[str, int] = {}
    same: dict[int, int] = {}
    for word in words:
        first = len(SPECIAL) + len(pieces)
        for piece in dict.fromkeys(f"{space}{form}" for space in (SPACE, "") for form in (word, word.capitalize())):
            if piece not in pieces:
                pieces[piece] = len(SPECIAL) + len(pieces)
                same[pieces[piece]] = first
    vocabulary = [*((name, 0.0) for name in SPECIAL), *((piece, score) for piece in pieces)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=MOST_TOKENS), same
