"""BLEU over a corpus of captions. Source: Papineni et al. 2002."""

import math
from collections import Counter
from collections.abc import Sequence

from captioning.metrics.words import Words, checked_pairs, ngrams


def bleu(candidates: Sequence[Words], references: Sequence[Sequence[Words]], *, longest: int = 4) -> float:
    """Geometric mean of the clipped n-gram precisions of the whole corpus, times the brevity penalty; 0 to 1.

    Of several references the one of the closest length counts for brevity, the shorter of two equally close (as
    coco-caption does). Without a single n-gram in common of some length it is 0.

    Args:
        candidates: One sentence a clip.
        references: The sentences by people for each clip.
        longest: n of the longest n-grams, 1 to 4 usually.

    Raises:
        ValueError: The two do not belong together.
    """
    checked_pairs(candidates, references)
    right, made = [0] * longest, [0] * longest
    length = closest = 0
    for candidate, sentences in zip(candidates, references, strict=True):
        most: Counter[tuple[str, ...]] = Counter()
        for sentence in sentences:
            most |= ngrams(sentence, longest)
        for gram, count in ngrams(candidate, longest).items():
            made[len(gram) - 1] += count
            right[len(gram) - 1] += min(count, most[gram])
        length += len(candidate)
        closest += min((abs(len(sentence) - len(candidate)), len(sentence)) for sentence in sentences)[1]
    if not all(right):
        return 0.0
    precision = math.exp(sum(math.log(hit / n) for hit, n in zip(right, made, strict=True)) / longest)
    return precision * min(1.0, math.exp(1 - closest / length))
