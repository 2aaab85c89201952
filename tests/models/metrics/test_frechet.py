"""Distances known by arithmetic, scipy's own matrix square root, and the extrapolation of a known bias."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from models.metrics.frechet import Moments, frechet_distance, frechet_infinity


def cloud(sounds: int, features: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (sounds, features))


def test_of_one_dimension_it_is_the_known_formula() -> None:
    real = Moments(mean_D=np.array([1.0]), covariance_DD=np.array([[4.0]]), sounds=9)
    generated = Moments(mean_D=np.array([4.0]), covariance_DD=np.array([[25.0]]), sounds=9)
    assert frechet_distance(real, generated) == pytest.approx(3.0**2 + (5.0 - 2.0) ** 2)


def test_it_agrees_with_the_general_matrix_square_root() -> None:
    mix = np.random.default_rng(3).normal(size=(12, 12))
    real, generated = Moments.of(cloud(400, 12, 0) @ mix), Moments.of(cloud(300, 12, 1, 0.3, 1.4))
    root = sqrtm(real.covariance_DD @ generated.covariance_DD).real
    shift = np.square(real.mean_D - generated.mean_D).sum()
    expected = shift + np.trace(real.covariance_DD + generated.covariance_DD - 2 * root)
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-9)


def test_it_is_symmetric_and_zero_only_for_equals() -> None:
    real, generated = Moments.of(cloud(200, 8, 0)), Moments.of(cloud(200, 8, 1, 0.5))
    assert frechet_distance(real, generated) == pytest.approx(frechet_distance(generated, real), rel=1e-9)
    assert frechet_distance(real, real) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(real, generated) > 1.0


def test_more_features_than_sounds_stay_real_and_not_negative() -> None:
    real, generated = Moments.of(cloud(20, 64, 0)), Moments.of(cloud(20, 64, 1))
    distance = frechet_distance(real, generated)
    assert np.isfinite(distance)
    assert distance >= 0.0


def test_covariances_are_numpys() -> None:
    features = cloud(50, 5, 0)
    assert np.allclose(Moments.of(features).covariance_DD, np.cov(features, rowvar=False))


@pytest.mark.parametrize("features", [np.zeros((1, 3)), np.zeros(3), np.full((4, 2), np.nan)])
def test_features_without_a_covariance_are_refused(features: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"covariance|finite"):
        Moments.of(features)


def test_infinity_takes_the_bias_of_few_sounds_away() -> None:
    """Both clouds are the same normal distribution: the true distance is 0, that of 600 sounds is far above."""
    real = Moments(mean_D=np.zeros(16), covariance_DD=np.eye(16), sounds=10**9)
    generated = cloud(600, 16, 5)
    plain = frechet_distance(real, Moments.of(generated))
    found = frechet_infinity(real, generated)
    assert plain > 0.15
    assert abs(found.distance) < plain / 3
    assert found.low <= found.distance <= found.high
    assert found.slope > 0
    assert found.r_squared > 0.9


def test_infinity_is_repeatable() -> None:
    real, generated = Moments.of(cloud(300, 4, 0)), cloud(100, 4, 1)
    assert frechet_infinity(real, generated, seed=2) == frechet_infinity(real, generated, seed=2)


@pytest.mark.parametrize("features", [5, 60], ids=["fewer features than sounds", "more"])
def test_infinity_draws_distances_as_they_are_computed_alone(features: int) -> None:
    """With two counts the line goes through both: at 1 / n it gives back the plain distance of all sounds.

    Where features are more than sounds, the plain one also sums the roots of eigenvalues that are 0 but for rounding.
    """
    real, generated = Moments.of(cloud(90, features, 0)), cloud(40, features, 1, 0.2)
    found = frechet_infinity(real, generated, steps=2)
    assert found.distance + found.slope / 40 == pytest.approx(frechet_distance(real, Moments.of(generated)), rel=1e-7)


def test_infinity_refuses_what_cannot_be_compared() -> None:
    real = Moments.of(cloud(30, 4, 0))
    with pytest.raises(ValueError, match="cannot be compared"):
        frechet_infinity(real, cloud(30, 5, 0))
    with pytest.raises(ValueError, match="not finite"):
        frechet_infinity(real, np.full((30, 4), np.nan))
