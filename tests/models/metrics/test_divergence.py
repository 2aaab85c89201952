"""Divergences with answers known by arithmetic."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from models.metrics.divergence import inception_score, paired_kl, paired_kl_of_scores, probabilities


def test_equal_probabilities_do_not_diverge() -> None:
    values = probabilities(np.random.default_rng(0).normal(size=(6, 5)))
    assert paired_kl(values, values) == pytest.approx(0.0, abs=1e-12)


def test_it_is_the_mean_of_scipys_divergences() -> None:
    rng = np.random.default_rng(1)
    real, generated = probabilities(rng.normal(size=(7, 9))), probabilities(rng.normal(size=(7, 9)))
    expected = np.mean([entropy(p, q) for p, q in zip(real, generated, strict=True)])
    assert paired_kl(real, generated) == pytest.approx(expected, rel=1e-9)


def test_an_offset_bounds_what_one_sound_can_cost() -> None:
    real, generated = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert paired_kl(real, generated, offset=1e-6) == pytest.approx(6 * np.log(10), rel=1e-5)
    assert paired_kl(real, generated) == pytest.approx(12 * np.log(10), rel=1e-5)
    with pytest.raises(ValueError, match="cannot be below 0"):
        paired_kl(real, generated, offset=-1e-9)


def test_the_direction_is_from_real_to_generated() -> None:
    real, generated = np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])
    assert paired_kl(real, generated) == pytest.approx(np.log(2), rel=1e-6)
    assert paired_kl(generated, real) > 10


def test_of_independent_scores_it_is_the_published_sum() -> None:
    """audioldm_eval: `kl_div((generated.sigmoid() + eps).log(), real.sigmoid(), reduction="sum") / N`."""
    rng = np.random.default_rng(2)
    real, generated = rng.normal(-2, 2, (7, 9)), rng.normal(-2, 2, (7, 9))
    scores = [torch.from_numpy(logits).sigmoid() for logits in (real, generated)]
    for offset in (0.0, 1e-6, 1e-2):
        expected = torch.nn.functional.kl_div((scores[1] + offset).log(), scores[0], reduction="sum") / 7
        found = paired_kl_of_scores(scores[0].numpy(), scores[1].numpy(), offset=offset)
        assert found == pytest.approx(float(expected), rel=1e-9)
    assert paired_kl_of_scores([[0.5, 0.5]], [[0.25, 1.0]]) == pytest.approx(0.0, abs=1e-12)
    assert paired_kl_of_scores([[0.5]], [[1.0]]) == pytest.approx(-0.5 * np.log(2)), "no divergence in the strict sense"


@pytest.mark.parametrize("values", [np.full((2, 3), 1.01), np.full((2, 3), -0.01), np.zeros((0, 3)), np.ones(3)])
def test_what_is_no_score_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="scores"):
        paired_kl_of_scores(values, values)


def test_clear_sounds_of_every_class_score_the_number_of_classes() -> None:
    assert inception_score(np.tile(np.eye(4), (5, 1)), parts=1).mean == pytest.approx(4.0, rel=1e-6)


def test_sounds_all_alike_score_one() -> None:
    assert inception_score(np.tile([0.7, 0.2, 0.1], (20, 1)), parts=2).mean == pytest.approx(1.0)


@pytest.mark.parametrize("values", [np.zeros((2, 3)), np.full((2, 3), -1.0), np.zeros((0, 3)), np.ones(3)])
def test_what_is_no_probability_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        paired_kl(values, values)


def test_pairs_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="not pairs"):
        paired_kl(np.eye(3), np.eye(3)[:2])


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer parts"):
        inception_score(np.eye(10), parts=6)
