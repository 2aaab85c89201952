"""Queries that are sums and differences: "dog barking" without "music", this clip but with "rain".

Each term is a unit vector with a weight; the query is the direction of their weighted sum. What is subtracted lowers
the score of what is near it; nothing is excluded.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.errors import ArgumentError
from retrieval_index.embedder import Vectors

LEAST_LENGTH = 1e-3
"""A weighted sum shorter than this has no direction worth following. Source: ours; float16 rounds to about as much."""

_WEIGHTED = re.compile(
    r"\s*([+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|inf(?:inity)?))\s*\*\s*(.*)",
    re.DOTALL | re.IGNORECASE,
)
"""Every number that Python reads: one that is no weight is refused and not taken for words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One part of an expression.

    Args:
        what: What it is, for messages.
        weight: Any finite number but 0; negative is subtracted.
        vectors_WD: Unit vectors of a text (one) or of a sound's windows; their mean direction counts.
    """

    what: str
    weight: float
    vectors_WD: Vectors

    def __post_init__(self) -> None:
        if not np.isfinite(self.weight) or self.weight == 0:
            raise ArgumentError(f"the weight of {self.what!r} must be a finite number other than 0, not {self.weight}")


def parse_term(text: str) -> tuple[float, str]:
    """`0.5 * music` as (0.5, "music"); a text without a weight has 1.

    Raises:
        ArgumentError: There are no words.
    """
    found = _WEIGHTED.fullmatch(text)
    weight, words = (float(found[1]), found[2]) if found else (1.0, text)
    if not words.strip():
        raise ArgumentError(f"the term {text!r} has no words")
    return weight, words.strip()


def direction(vectors_WD: Vectors, what: str) -> Vectors:
    """The direction of a sum of vectors, (D,) of length 1.

    Raises:
        ArgumentError: They cancel each other.
    """
    sum_D = np.asarray(vectors_WD, np.float64).sum(axis=0)
    length = float(np.linalg.norm(sum_D))
    if not length > LEAST_LENGTH:
        raise ArgumentError(f"{what} cancel each other and leave nothing to look for")
    return np.asarray(sum_D / length, np.float32)


def combined(terms: Sequence[Term]) -> Vectors:
    """The query of an expression, (1, D) of length 1.

    Raises:
        ArgumentError: There are no terms, or they cancel each other.
    """
    if not terms:
        raise ArgumentError("an expression has no terms")
    unit_TD = np.stack([direction(term.vectors_WD, f"the windows of {term.what!r}") for term in terms])
    weights_T1 = np.array([[float(term.weight)] for term in terms])
    weights_T1 /= np.abs(weights_T1).max()  # only their proportions count, and no square overflows
    return direction(weights_T1 * unit_TD, f"the terms {', '.join(repr(term.what) for term in terms)}")[None]
