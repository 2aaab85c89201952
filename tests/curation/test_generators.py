"""Generators of rows: one row's numbers do not depend on the others asked for, and are as spread as any."""

import numpy as np
import pytest

from curation.generators import Generators


def test_a_row_has_its_own_numbers_whenever_and_beside_whomever_it_is_asked() -> None:
    one, other = Generators([3, 5], 4), Generators([3, 5], 4)
    last = other.of(3).random(8)
    np.testing.assert_array_equal(one.of(3).random(8), last)
    assert not np.array_equal(one.of(2).random(8), last)
    np.testing.assert_array_equal(one.of(3).random(8), last)
    assert not np.array_equal(Generators([3, 6], 4).of(3).random(8), last)


def test_first_numbers_of_rows_are_uniform_and_unlike_each_other() -> None:
    drawn = np.array(
        [[rows.of(row).random() for row in range(64)] for rows in (Generators([7, b], 64) for b in range(64))]
    )
    counts, _ = np.histogram(drawn, bins=16, range=(0, 1))
    assert ((counts - 256) ** 2 / 256).sum() < 37.7, "chi-squared with 15 degrees of freedom, one in a thousand above"
    assert abs(np.corrcoef(drawn[:, :-1].ravel(), drawn[:, 1:].ravel())[0, 1]) < 4 / 63.5, "four standard deviations"


def test_words_are_of_pcg64_alone() -> None:
    seed = Generators([1], 1).of(0).bit_generator.seed_seq
    with pytest.raises(ValueError, match="4 words of uint64, not 8"):
        seed.generate_state(8, np.uint64)
