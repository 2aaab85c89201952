"""Pictures made from sounds, judged by vectors of networks: AIS, IIS and AIC. FID is `frechet.py`'s distance.

Source: AudioToken, G. Yariv et al. 2023 (arXiv 2305.13050): AIS compares a made picture with its sound, IIS with the
true picture, both as ranks among all of the set, by cosine; AIC asks whether a picture is of its sound's class. What is
not published, as how equal scores count, is ours.

Shapes: N made pictures, of which each has its sound and its true picture; D numbers of a vector.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.metrics.similarity import unit

Float = npt.NDArray[np.float64]


def rank_fraction(made_ND: npt.ArrayLike, wanted_ND: npt.ArrayLike) -> float:
    """How far up the own partner stands: the mean share of the others that are less like a made picture, 0 to 1.

    Chance is 0.5, also for vectors that cannot be told apart: of equal ones half count.

    Args:
        made_ND: Vectors of the made pictures.
        wanted_ND: Of each the sound (AIS) or the true picture (IIS), in the same space.

    Raises:
        ValueError: Fewer than two, other shapes, or a vector without direction.
    """
    return float(rank_fractions(made_ND, wanted_ND).mean())


def rank_fractions(made_ND: npt.ArrayLike, wanted_ND: npt.ArrayLike) -> Float:
    """The same of each made picture, (N,)."""
    made, wanted = unit(made_ND), unit(wanted_ND)
    if made.shape != wanted.shape or len(made) < 2:
        raise ValueError(f"pairs of at least two pictures are compared, not {made.shape} and {wanted.shape}")
    score_NN = np.round(made @ wanted.T, 12)  # beyond it products of equal vectors differ by rounding
    own_N1 = np.diag(score_NN)[:, None]
    less_N = (score_NN < own_N1).sum(axis=1)
    equal_N = (score_NN == own_N1).sum(axis=1) - 1
    return np.asarray((less_N + equal_N / 2) / (len(made) - 1), np.float64)


def class_agreement(seen: Sequence[str], heard: Sequence[str]) -> float:
    """AIC: the share of pictures whose class, as a classifier sees it, is their sound's label, 0 to 1.

    Raises:
        ValueError: There are none, or not as many labels as pictures.
    """
    if len(seen) != len(heard) or not len(seen):
        raise ValueError(f"{len(seen)} pictures and {len(heard)} labels: give as many, and at least one")
    return sum(one == other for one, other in zip(seen, heard, strict=True)) / len(seen)


def nearest_class(pictures_ND: npt.ArrayLike, texts_CD: npt.ArrayLike, labels: Sequence[str]) -> list[str]:
    """Zero-shot classes: of each picture the label whose text is nearest by cosine, the first of equal ones.

    Args:
        pictures_ND: Vectors of pictures.
        texts_CD: Of a text for each label, in the same space.
        labels: C names.

    Raises:
        ValueError: There are other counts of texts and labels, or a vector without direction.
    """
    texts = unit(texts_CD)
    if len(texts) != len(labels):
        raise ValueError(f"{len(texts)} texts and {len(labels)} labels: give as many")
    return [labels[number] for number in (unit(pictures_ND) @ texts.T).argmax(axis=1)]
