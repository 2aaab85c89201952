"""Metrics of captions by arithmetic, and on the five sentences that people gave to real sounds.

The values on Clotho were compared once with aac-metrics 0.6.0 on the same words: equal to six digits (docs/log.md).
"""

import csv
import math
from pathlib import Path

import pytest

from captioning.metrics.bleu import bleu
from captioning.metrics.cider import cider_d, cider_d_scores
from captioning.metrics.rouge import common_length, rouge_l
from captioning.metrics.words import words

DOG, RAIN = ["a", "dog", "barks", "twice", "in", "the", "yard"], ["rain", "falls", "on", "a", "tin", "roof"]


def test_words_are_small_and_without_punctuation() -> None:
    assert words("A dog\u2019s bark, then a high-pitched  BEEP!") == [
        "a",
        "dog's",
        "bark",
        "then",
        "a",
        "high-pitched",
        "beep",
    ]


def test_a_reference_itself_is_perfect() -> None:
    references = [[DOG], [RAIN]]
    assert bleu([DOG, RAIN], references) == pytest.approx(1.0)
    assert rouge_l([DOG, RAIN], references) == pytest.approx(1.0)
    assert cider_d([DOG, RAIN], references) == pytest.approx(10.0)


def test_bleu_clips_what_is_repeated_and_punishes_brevity() -> None:
    assert bleu([["the"] * 7], [[["the", "cat", "is", "on", "the", "mat"]]], longest=1) == pytest.approx(2 / 7)
    assert bleu([["the", "cat"]], [[["the", "cat", "is", "on", "the", "mat"]]], longest=1) == pytest.approx(
        math.exp(1 - 6 / 2)
    )


def test_bleu_is_zero_without_a_common_run() -> None:
    assert bleu([["a", "b", "c", "d"]], [[["a", "c", "b", "d"]]]) == 0.0


def test_rouge_follows_the_longest_common_subsequence() -> None:
    assert common_length(["a", "b", "c", "d", "e"], ["a", "x", "c", "e"]) == 3
    precision, recall = 3 / 5, 3 / 4
    expected = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)
    assert rouge_l([list("abcde")], [[["a", "x", "c", "e"]]]) == pytest.approx(expected)


def test_cider_gives_nothing_for_words_that_every_clip_has() -> None:
    assert cider_d([["a", "sound"], ["a", "sound"]], [[["a", "sound"]], [["a", "sound"]]]) == 0.0


def test_cider_of_a_longer_sentence_is_lowered_by_the_gaussian() -> None:
    unigrams = cider_d_scores([["dog", "dog"], RAIN], [[["dog"]], [RAIN]])[0]
    assert unigrams == pytest.approx(10 * math.exp(-1 / 72) * (1 * 1) / (2 * 1) / 4)


@pytest.mark.parametrize("metric", [bleu, rouge_l, cider_d])
def test_what_does_not_belong_together_is_refused(metric) -> None:
    with pytest.raises(ValueError, match="belong together"):
        metric([DOG], [[DOG], [RAIN]])
    with pytest.raises(ValueError, match="has no reference"):
        metric([DOG], [[]])


@pytest.mark.slow
def test_people_agree_with_people_more_than_with_another_clip(real_data: Path) -> None:
    with (real_data / "annotations" / "clotho" / "test.csv").open(encoding="utf-8") as file:
        rows = [[words(row[f"caption_{n}"]) for n in range(1, 6)] for row in csv.DictReader(file)][:300]
    first, others = [row[0] for row in rows], [row[1:] for row in rows]
    assert cider_d(first, others) == pytest.approx(0.78825, abs=1e-5)
    assert bleu(first, others) == pytest.approx(0.28120, abs=1e-5)
    assert rouge_l(first, others) == pytest.approx(0.47066, abs=1e-5)
    assert cider_d(first[1:] + first[:1], others) < 0.1
