"""ROUGE-L of captions. Source: Lin 2004, section 3; beta 1.2 and the best of several references as in coco-caption."""

from collections.abc import Sequence

from captioning.metrics.words import Words, checked_pairs

BETA = 1.2
"""Weight of recall against precision. Source: coco-caption."""


def rouge_l(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """Mean over clips of the F measure of the longest common subsequence; 0 to 1.

    Precision and recall are each the best over the references, which need not be the same one.

    Raises:
        ValueError: The two do not belong together.
    """
    checked_pairs(candidates, references)
    scores = [_score(candidate, sentences) for candidate, sentences in zip(candidates, references, strict=True)]
    return sum(scores) / len(scores)


def _score(candidate: Words, references: Sequence[Words]) -> float:
    common = [common_length(candidate, reference) for reference in references]
    precision = max(common) / max(len(candidate), 1)
    recall = max(n / max(len(reference), 1) for n, reference in zip(common, references, strict=True))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def common_length(left: Words, right: Words) -> int:
    """Length of the longest common subsequence of two sentences, words."""
    row = [0] * (len(right) + 1)
    for word in left:
        before = 0
        for column, other in enumerate(right, 1):
            before, row[column] = row[column], before + 1 if word == other else max(row[column], row[column - 1])
    return row[-1]
