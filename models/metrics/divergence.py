"""What a classifier makes of generated sounds: the Kullback-Leibler divergence to their references, and the IS.

Probabilities are of one classifier for both sides, and a sum of one over the classes: of a tagger with independent
classes, take the softmax of its logits.

Shapes: N sounds, C classes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

SMALLEST = 1e-12
"""Probabilities below count as this. Source: ours; far below what float32 logits can tell apart."""


def probabilities(logits_NC: npt.ArrayLike) -> Float:
    """Softmax of (N, C) logits: (N, C) float64, each row with a sum of 1."""
    logits = np.asarray(logits_NC, np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def paired_kl(real_NC: npt.ArrayLike, generated_NC: npt.ArrayLike) -> float:
    """Mean over pairs of KL(real || generated), nats: how far a sound's classes are from those of its reference.

    Source: Yang et al. 2023 (DiffSound), arXiv 2207.09983; AudioGen and AudioLDM report it with softmax
    probabilities of a PaSST or PANNs tagger.

    Args:
        real_NC: Probabilities of the references.
        generated_NC: Probabilities of the sounds made for the same prompts, in the same order.

    Raises:
        ValueError: As `checked`; or the two have different shapes.
    """
    real, generated = checked(real_NC), checked(generated_NC)
    if real.shape != generated.shape:
        raise ValueError(f"{real.shape} and {generated.shape} are not pairs: give as many references as sounds")
    return float((real * (np.log(real) - np.log(generated))).sum(axis=1).mean())


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
