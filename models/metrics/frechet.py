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
    values, vectors = np.linalg.eigh(real.covariance_DD)
    root_DD = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    product_DD = root_DD @ generated.covariance_DD @ root_DD
    roots = np.sqrt(np.clip(np.linalg.eigvalsh((product_DD + product_DD.T) / 2), 0.0, None))
    shift = np.square(real.mean_D - generated.mean_D).sum()
    spread = np.trace(real.covariance_DD) + np.trace(generated.covariance_DD) - 2 * roots.sum()
    return max(float(shift + spread), 0.0)


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
        ValueError: Fewer than 20 sounds, or counts below 2.
    """
    features = np.asarray(generated_ND, np.float64)
    sounds = len(features)
    if sounds < 20 or steps < 2 or repeats < 2 or smallest < 2:
        raise ValueError(f"{sounds} sounds (at least 20), {steps} steps, {repeats} repeats, {smallest} smallest (2)")
    counts = np.unique(np.linspace(max(2, min(smallest, sounds // 10)), sounds, steps).astype(int))
    rng = np.random.default_rng(seed)
    inverse = 1.0 / counts
    distances = np.array(
        [
            [frechet_distance(real, Moments.of(features[rng.choice(sounds, n, replace=False)])) for n in counts]
            for _ in range(repeats)
        ]
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
