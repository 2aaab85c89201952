"""What a classifier makes of generated sounds: the Kullback-Leibler divergence to their references, and the IS.

Probabilities are of one classifier for both sides, and a sum of one over the classes: of a tagger with independent
classes, take the softmax of its logits. What is published as KL is one of two: over these, or over the tagger's own
independent scores (`paired_kl_of_scores`), which is several times as large; each belongs under its name.

Shapes: N sounds, C classes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

SMALLEST = 1e-12
"""Probabilities below count as this. Source: ours; far below what float32 logits can tell apart."""

PUBLISHED_OFFSET = 1e-6
"""What evaluations of sound add to q before its logarithm, so that no sound can cost more than 14 nats. Source:
audioldm_eval's `calculate_kl`."""


def probabilities(logits_NC: npt.ArrayLike) -> Float:
    """Softmax of (N, C) logits: (N, C) float64, each row with a sum of 1."""
    logits = np.asarray(logits_NC, np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def paired_kl(real_NC: npt.ArrayLike, generated_NC: npt.ArrayLike, *, offset: float = 0.0) -> float:
    """Mean over pairs of KL(real || generated), nats: how far a sound's classes are from those of its reference.

    Source: Yang et al. 2023 (DiffSound), arXiv 2207.09983; AudioGen and AudioLDM report it with softmax
    probabilities of a PaSST or PANNs tagger.

    Args:
        real_NC: Probabilities of the references.
        generated_NC: Probabilities of the sounds made for the same prompts, in the same order.
        offset: Added to `generated_NC` before the logarithm, at least 0; `PUBLISHED_OFFSET` in published numbers.

    Raises:
        ValueError: As `checked`; or the two have different shapes.
    """
    real, generated = checked(real_NC), checked(generated_NC)
    if real.shape != generated.shape:
        raise ValueError(f"{real.shape} and {generated.shape} are not pairs: give as many references as sounds")
    return _mean_kl(real, generated, offset)


def _mean_kl(real: Float, generated: Float, offset: float) -> float:
    if not offset >= 0:
        raise ValueError(f"offset is {offset}: it cannot be below 0")
    return float((real * (np.log(real) - np.log(generated + offset))).sum(axis=1).mean())


def paired_kl_of_scores(real_NC: npt.ArrayLike, generated_NC: npt.ArrayLike, *, offset: float = 0.0) -> float:
    """Mean over pairs of the sum over classes of p ln(p / q), p the scores of the reference, q those of the sound.

    Scores of independent classes have no sum of 1, so this is no divergence in the strict sense and may be below 0.

    Source: audioldm_eval's `kullback_leibler_divergence_sigmoid` (Liu et al. 2023, AudioLDM, arXiv 2301.12503), of
    the sigmoid of a PANNs tagger's logits.

    Args:
        real_NC: Scores of the references, each in [0, 1].
        generated_NC: Of the sounds made for the same prompts, in the same order.
        offset: As of `paired_kl`.

    Raises:
        ValueError: Not of shape (N, C), not of one shape, or a score outside of [0, 1].
    """
    real, generated = (np.asarray(scores, np.float64) for scores in (real_NC, generated_NC))
    if real.shape != generated.shape or real.ndim != 2 or real.size == 0:
        raise ValueError(f"{real.shape} and {generated.shape} are not pairs of scores (N, C)")
    if not all(((scores >= 0) & (scores <= 1)).all() for scores in (real, generated)):
        raise ValueError("scores must lie in [0, 1]; take the sigmoid of logits first")
    real, generated = (np.clip(scores, SMALLEST, None) for scores in (real, generated))
    return _mean_kl(real, generated, offset)


@dataclass(frozen=True, kw_only=True, slots=True)
class InceptionScore:
    """Attributes: `mean` of the scores of the parts and their standard `deviation`; 1 (all alike) to C."""

    mean: float
    deviation: float


def inception_score(generated_NC: npt.ArrayLike, *, parts: int = 10, seed: int = 0) -> InceptionScore:
    """exp of the mean KL(p(c | x) || p(c)): high when single sounds are clear and all together are many kinds.

    Source: Salimans et al. 2016, arXiv 1606.03498, section 4, with its ten parts.

    Args:
        generated_NC: Probabilities.
        parts: The sounds are shuffled and scored in so many parts.
        seed: Of the shuffling.

    Raises:
        ValueError: As `checked`; or fewer than two sounds a part.
    """
    generated = checked(generated_NC)
    if parts < 1 or len(generated) < 2 * parts:
        raise ValueError(f"{len(generated)} sounds do not make {parts} parts of at least two: ask for fewer parts")
    order = np.random.default_rng(seed).permutation(len(generated))
    scores = [_score(generated[part]) for part in np.array_split(order, parts)]
    return InceptionScore(mean=float(np.mean(scores)), deviation=float(np.std(scores)))


def _score(generated: Float) -> float:
    marginal_C = generated.mean(axis=0)
    return float(np.exp((generated * (np.log(generated) - np.log(marginal_C))).sum(axis=1).mean()))


def checked(probabilities_NC: npt.ArrayLike) -> Float:
    """Probabilities in float64, none below `SMALLEST`.

    Raises:
        ValueError: Not of shape (N, C), or rows that are no probabilities.
    """
    values = np.asarray(probabilities_NC, np.float64)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"probabilities have the shape (N, C), not {values.shape}")
    if not ((values >= 0).all() and np.allclose(values.sum(axis=1), 1.0, atol=1e-3)):
        raise ValueError("each row must hold probabilities whose sum is 1; take the softmax of logits first")
    return np.clip(values, SMALLEST, None)
