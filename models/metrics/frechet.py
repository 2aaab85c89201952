"""The Fréchet distance between two clouds of features, and what it would be with infinitely many sounds.

Everything is float64, and the square root of a covariance is taken through symmetric eigenvectors: a general matrix
square root of a product of covariances comes out negative or imaginary when features are more than sounds.

Shapes: N sounds, D features.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Mean and covariance of features.

    Attributes:
        mean_D: (D,) float64.
        covariance_DD: (D, D) float64, with N - 1 in the denominator.
        sounds: N.
    """

    mean_D: Float
    covariance_DD: Float
    sounds: int

    @classmethod
    def of(cls, features_ND: npt.ArrayLike) -> "Moments":
        """Of (N, D) features.

        Raises:
            ValueError: Fewer than two sounds, not two dimensions, or values that are not finite.
        """
        features = np.asarray(features_ND, np.float64)
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"a covariance needs features of shape (at least 2, D), not {features.shape}")
        if not np.isfinite(features).all():
            bad = int((~np.isfinite(features).all(axis=1)).sum())
            raise ValueError(f"the features of {bad} of {len(features)} sounds are not finite")
        mean_D = features.mean(axis=0)
        centred = features - mean_D
        return cls(mean_D=mean_D, covariance_DD=centred.T @ centred / (len(features) - 1), sounds=len(features))


def frechet_distance(real: Moments, generated: Moments) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2), at least 0.

    Source: Dowson and Landau 1982; as a distance of sounds Kilgour et al. 2019, arXiv 1812.08466. The
    symmetric product has the eigenvalues of C1 C2, which are real and not negative; rounding below 0 is cut off.

    Args:
        real: Moments of the reference.
        generated: Moments of what is judged, with as many features.

    Raises:
        ValueError: They have different numbers of features.
    """
    if real.mean_D.shape != generated.mean_D.shape:
        raise ValueError(f"features of {len(real.mean_D)} and {len(generated.mean_D)} dimensions cannot be compared")
    root_DD = _square_root(real.covariance_DD)
    product_DD = root_DD @ generated.covariance_DD @ root_DD
    shift = np.square(real.mean_D - generated.mean_D).sum()
    spread = np.trace(real.covariance_DD) + np.trace(generated.covariance_DD) - 2 * _trace_of_root(product_DD)
    return max(float(shift + spread), 0.0)


def _square_root(covariance_DD: Float) -> Float:
    """The symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(covariance_DD)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T, np.float64)


def _trace_of_root(product: Float) -> float:
    """Trace of the square root of a matrix that is symmetric but for rounding."""
    return float(np.sqrt(np.clip(np.linalg.eigvalsh((product + product.T) / 2), 0.0, None)).sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class Extrapolation:
    """A Fréchet distance without the bias of a finite number of sounds.

    Attributes:
        distance: The intercept of the line through the distances over 1 / n: what infinitely many sounds would have.
        low, high: Its 95 % interval over the resamplings; the sounds that are at hand stay the same.
        slope: Of the line; the distance of n sounds is about `distance + slope / n`.
        r_squared: How well the line fits, at most 1.
    """

    distance: float
    low: float
    high: float
    slope: float
    r_squared: float


def frechet_infinity(
    real: Moments,
    generated_ND: npt.ArrayLike,
    *,
    seed: int = 0,
    steps: int = 15,
    smallest: int = 500,
    repeats: int = 20,
) -> Extrapolation:
    """FD-infinity: the distance at several numbers of sounds, extrapolated to infinitely many.

    Source: Chong and Forsyth 2020, arXiv 1911.07023 (15 points, a line over 1 / n); for sound Gui et al.
    2024, arXiv 2311.01616. The interval is ours: the line is drawn `repeats` times over other draws.

    Args:
        real: Moments of the reference.
        generated_ND: (N, D) features of what is judged.
        seed: Of the draws; the same seed gives the same numbers.
        steps: Different numbers of sounds, evenly from the smallest to N.
        smallest: Fewest sounds drawn. 500: fadtk's; a tenth of N where N is below 5,000 and that is fewer.
        repeats: Lines that make the interval.

    Raises:
        ValueError: Fewer than 20 sounds, counts below 2, or features that cannot be compared.
    """
    features = np.asarray(generated_ND, np.float64)
    sounds = len(features)
    if sounds < 20 or steps < 2 or repeats < 2 or smallest < 2:
        raise ValueError(f"{sounds} sounds (at least 20), {steps} steps, {repeats} repeats, {smallest} smallest (2)")
    counts = np.unique(np.linspace(max(2, min(smallest, sounds // 10)), sounds, steps).astype(int))
    rng = np.random.default_rng(seed)
    inverse = 1.0 / counts
    draws = _Draws.of(real, features)
    distances = np.array(
        [[draws.distance(rng.choice(sounds, n, replace=False)) for n in counts] for _ in range(repeats)]
    )
    lines = np.polyfit(inverse, distances.T, 1)
    slope, distance = (float(value) for value in np.polyfit(inverse, distances.mean(axis=0), 1))
    residual = distances.mean(axis=0) - (slope * inverse + distance)
    total = np.square(distances.mean(axis=0) - distances.mean()).sum()
    low, high = np.percentile(lines[1], [2.5, 97.5])
    return Extrapolation(
        distance=distance,
        low=float(low),
        high=float(high),
        slope=slope,
        r_squared=float(1 - np.square(residual).sum() / total) if total > 0 else 1.0,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Draws:
    """Features of which many draws are compared with one reference, whose square root is taken once.

    Attributes:
        real: The reference.
        features_ND: All of them.
        turned_ND: The same times the root of the reference's covariance: C1^1/2 C2 C1^1/2 is their covariance.
    """

    real: Moments
    features_ND: Float
    turned_ND: Float

    @classmethod
    def of(cls, real: Moments, features_ND: Float) -> "_Draws":
        if features_ND.ndim != 2 or features_ND.shape[1] != len(real.mean_D):
            raise ValueError(f"features of {features_ND.shape} cannot be compared with {len(real.mean_D)} dimensions")
        if not np.isfinite(features_ND).all():
            raise ValueError("some features are not finite")
        return cls(real=real, features_ND=features_ND, turned_ND=features_ND @ _square_root(real.covariance_DD))

    def distance(self, rows: npt.NDArray[np.int64]) -> float:
        """Of the sounds with these numbers; the same as `frechet_distance`."""
        drawn, turned, degrees = self.features_ND[rows], self.turned_ND[rows], len(rows) - 1
        mean_D, centred = drawn.mean(axis=0), turned - turned.mean(axis=0)
        # The larger of the two products has the same eigenvalues, and zeros.
        product = centred @ centred.T if len(rows) < centred.shape[1] else centred.T @ centred
        shift = np.square(self.real.mean_D - mean_D).sum()
        own = np.square(drawn - mean_D).sum() / degrees
        spread = np.trace(self.real.covariance_DD) + own - 2 * _trace_of_root(product / degrees)
        return max(float(shift + spread), 0.0)
