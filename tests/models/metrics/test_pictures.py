"""AIS, IIS and AIC by arithmetic."""

import numpy as np
import pytest

from models.metrics.pictures import class_agreement, nearest_class, rank_fraction, rank_fractions


def at(*degrees):
    return [(np.cos(np.radians(one)), np.sin(np.radians(one))) for one in degrees]


def test_pictures_like_their_own_partners_have_all_others_below():
    assert rank_fraction(at(0, 40, 80), at(1, 41, 81)) == 1.0


def test_pictures_unlike_their_partners_have_none_below():
    assert rank_fraction(at(0, 90), at(90, 0)) == 0.0


def test_a_rank_is_a_share_of_the_others():
    # from 0 degrees: own partner at 20, others at 10 (nearer) and 50 and 90 (further): 2 of 3 are below
    fractions = rank_fractions(at(0, 10, 50, 90), at(20, 10, 50, 90))
    assert fractions.tolist() == pytest.approx([2 / 3, 1.0, 1.0, 1.0])


def test_what_cannot_be_told_apart_is_chance():
    assert rank_fraction(at(30, 30, 30), at(70, 70, 70)) == 0.5
    rng = np.random.default_rng(0)
    assert rank_fraction(rng.standard_normal((400, 8)), rng.standard_normal((400, 8))) == pytest.approx(0.5, abs=0.05)


def test_lengths_do_not_count():
    made, wanted = np.array(at(0, 40, 80)), np.array(at(1, 41, 81))
    assert rank_fraction(made * [[2], [5], [0.1]], wanted * [[7], [0.3], [1]]) == 1.0


@pytest.mark.parametrize("shapes", [((1, 2), (1, 2)), ((3, 2), (2, 2)), ((3, 2), (3, 4))])
def test_other_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match=r"pairs of at least two|cannot"):
        rank_fraction(*(np.ones(shape) for shape in shapes))


def test_classes_agree_in_three_of_four():
    assert class_agreement(["a", "b", "c", "d"], ["a", "b", "c", "x"]) == 0.75
    with pytest.raises(ValueError, match="1 pictures and 2 labels"):
        class_agreement(["a"], ["a", "b"])


def test_the_nearest_text_names_the_class():
    assert nearest_class(at(5, 85, 44), at(0, 90), ["across", "up"]) == ["across", "up", "across"]
    with pytest.raises(ValueError, match="2 texts and 1 labels"):
        nearest_class(at(5), at(0, 90), ["across"])
