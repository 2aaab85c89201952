"""CIDEr-D of captions. Source: Vedantam et al. 2015, arXiv 1411.5726, section 5 and equation 7; 10 times the value."""

import math
from collections import Counter
from collections.abc import Sequence

from captioning.metrics.words import Words, checked_pairs, ngrams

LONGEST, SIGMA = 4, 6.0
"""n of the longest n-grams; width of the Gaussian over the difference of lengths, words. Source: the paper."""

Grams = Counter[tuple[str, ...]]


def cider_d(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """Mean over clips of the tf-idf similarity to their references; 0 to 10.

    How telling an n-gram is, is counted over the references of all clips given: the value depends on which clips stand
    together, and a single clip always has 0.

    Raises:
        ValueError: The two do not belong together.
    """
    scores = cider_d_scores(candidates, references)
    return sum(scores) / len(scores)


def cider_d_scores(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    """CIDEr-D of each clip, in order."""
    checked_pairs(candidates, references)
    counted = [[ngrams(sentence, LONGEST) for sentence in sentences] for sentences in references]
    clips: Counter[tuple[str, ...]] = Counter()
    for of_clip in counted:
        clips.update({gram for grams in of_clip for gram in grams})
    weigh = _Weights(clips, math.log(len(references)))
    scores = []
    for words, sentences, grams in zip(candidates, references, counted, strict=True):
        candidate = ngrams(words, LONGEST)
        values = [
            _similarity(candidate, reference, weigh) * math.exp(-((len(words) - len(sentence)) ** 2) / (2 * SIGMA**2))
            for sentence, reference in zip(sentences, grams, strict=True)
        ]
        scores.append(10 * sum(values) / len(values))
    return scores


class _Weights:
    """The tf-idf weight of an n-gram: its count times the log of clips over clips that have it."""

    def __init__(self, clips: Grams, log_clips: float) -> None:
        self._clips = clips
        self._log_clips = log_clips

    def __call__(self, gram: tuple[str, ...], count: float) -> float:
        return count * (self._log_clips - math.log(max(1, self._clips[gram])))


def _similarity(candidate: Grams, reference: Grams, weigh: _Weights) -> float:
    """Mean over n of the cosine of two sentences' weights, with the candidate's cut to the reference's."""
    products, candidate_squares, reference_squares = [0.0] * LONGEST, [0.0] * LONGEST, [0.0] * LONGEST
    for gram, count in candidate.items():
        weight, other = weigh(gram, count), weigh(gram, reference[gram])
        products[len(gram) - 1] += min(weight, other) * other
        candidate_squares[len(gram) - 1] += weight**2
    for gram, count in reference.items():
        reference_squares[len(gram) - 1] += weigh(gram, count) ** 2
    cosines = [
        product / math.sqrt(left * right) if left > 0 and right > 0 else 0.0
        for product, left, right in zip(products, candidate_squares, reference_squares, strict=True)
    ]
    return sum(cosines) / LONGEST
