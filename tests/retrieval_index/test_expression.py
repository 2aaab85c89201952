"""Sums and differences of queries, by arithmetic."""

import numpy as np
import pytest

from curation.errors import ArgumentError
from retrieval_index.expression import LEAST_LENGTH, Term, combined, direction, parse_term

X, Y, Z = np.eye(3, dtype=np.float32)[:, None]


def test_a_difference_points_away() -> None:
    query = combined([Term(what="dog", weight=1, vectors_WD=X), Term(what="music", weight=-1, vectors_WD=Y)])
    assert query == pytest.approx(np.array([[1, -1, 0]]) / np.sqrt(2))


def test_weights_count_and_the_order_does_not() -> None:
    terms = [Term(what="a", weight=3, vectors_WD=X), Term(what="b", weight=-4, vectors_WD=Z)]
    assert combined(terms) == pytest.approx(np.array([[0.6, 0, -0.8]]))
    assert combined(terms[::-1]) == pytest.approx(combined(terms))
    assert np.linalg.norm(combined(terms)) == pytest.approx(1, abs=1e-6)


def test_a_sound_counts_by_the_mean_of_its_windows_whatever_their_number() -> None:
    windows_WD = np.concatenate([X, Y, X, Y])
    query = combined([Term(what="s", weight=1, vectors_WD=windows_WD), Term(what="t", weight=1, vectors_WD=Z)])
    assert query == pytest.approx(np.array([[0.5, 0.5, np.sqrt(0.5)]]))


def test_terms_that_cancel_are_refused() -> None:
    with pytest.raises(ArgumentError, match="'a', 'b' cancel each other"):
        combined([Term(what="a", weight=1, vectors_WD=X), Term(what="b", weight=-1, vectors_WD=X)])
    assert direction(np.array([[1.01 * LEAST_LENGTH, 0]]), "it") == pytest.approx([1, 0])
    with pytest.raises(ArgumentError, match="it cancel"):
        direction(np.array([[0.99 * LEAST_LENGTH, 0]]), "it")
    with pytest.raises(ArgumentError, match="no terms"):
        combined([])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("music", (1.0, "music")),
        ("0.5*music", (0.5, "music")),
        (" 2 * loud music ", (2.0, "loud music")),
        (".25 * a * b", (0.25, "a * b")),
        ("4 dogs", (1.0, "4 dogs")),
        ("1e38 * rain", (1e38, "rain")),
        ("-2.5E-1*rain", (-0.25, "rain")),
        ("nano * rain", (1.0, "nano * rain")),
    ],
)
def test_a_weight_stands_before_a_star(text: str, expected: tuple[float, str]) -> None:
    assert parse_term(text) == expected


@pytest.mark.parametrize("text", ["nan * rain", "-Inf * rain", "infinity*rain", "1e999 * rain", "0e5 * rain"])
def test_a_number_that_is_no_weight_is_refused_and_not_searched_for(text: str) -> None:
    weight, what = parse_term(text)
    with pytest.raises(ArgumentError, match="the weight of 'rain' must be a finite number"):
        Term(what=what, weight=weight, vectors_WD=X)


@pytest.mark.parametrize("size", [1e-300, 1.0, 1e300])
def test_only_the_proportions_of_weights_count(size: float) -> None:
    terms = [Term(what="a", weight=3 * size, vectors_WD=X), Term(what="b", weight=-4 * size, vectors_WD=Z)]
    assert combined(terms) == pytest.approx(np.array([[0.6, 0, -0.8]]))


@pytest.mark.parametrize("text", ["", "  ", "2 * ", "0.5*"])
def test_a_term_without_words_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="has no words"):
        parse_term(text)


@pytest.mark.parametrize("weight", [0.0, np.nan, np.inf])
def test_a_weight_is_a_finite_number(weight: float) -> None:
    with pytest.raises(ArgumentError, match="the weight of 'a'"):
        Term(what="a", weight=weight, vectors_WD=X)
