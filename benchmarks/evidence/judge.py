"""Says by features of a network of others which class a sound is of: the nearest mean of real recordings' features.

It is fitted apart from whatever makes the sounds, on recordings that were not trained on, so that a sound counts only
when it is like other recordings of its class. How often it is right about real recordings that it was not fitted on
stands beside every answer: it is the most that made sounds can be expected to reach.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from curation.errors import ArgumentError
from pipelines.evaluations.sound_sets import decoded
from pipelines.wiring.listeners import Listener, load_listener

Float = npt.NDArray[np.float32]

EFFICIENTAT = Path("weights") / "efficientat_mn04" / "mn04_as_mAP_432.pt"
"""In the folder of real data."""


def efficientat_weights() -> Path:
    """The file of EfficientAT's weights.

    Raises:
        ArgumentError: It is not there.
    """
    file = Path(os.environ.get("FOUNDSOUND_REAL_DATA", "../shared/data")).resolve() / EFFICIENTAT
    if not file.is_file():
        raise ArgumentError(f"there is no {file}; set FOUNDSOUND_REAL_DATA to the folder of real data")
    return file


def efficientat() -> Listener:
    """EfficientAT with those weights: 384 features of AudioSet's training, at 32 kHz."""
    return load_listener(f"efficientat:{efficientat_weights()}")


def features_of(listener: Listener, files: Sequence[Path], seconds: float | None = None) -> Float:
    """What a listener hears in sound files, (files, D), of no more than their first `seconds`."""
    waves = [decoded(file.read_bytes(), listener.sample_rate_hz, str(file), seconds) for file in files]
    return np.stack([heard.features_ED.mean(axis=0) for heard in listener.hear(waves)])


def of_length_1(features_ND: Float) -> Float:
    """Features without their length, which is loudness more than kind."""
    lengths_N1 = np.linalg.norm(features_ND, axis=1, keepdims=True)
    return np.asarray(features_ND / np.maximum(lengths_N1, 1e-9), np.float32)


@dataclass(frozen=True, slots=True)
class Judge:
    """The class whose mean is nearest by cosine.

    Args:
        labels: Of the classes.
        centres_CD: Mean of the features of each, of length 1.
    """

    labels: tuple[str, ...]
    centres_CD: Float

    @classmethod
    def fit(cls, features_ND: Float, labels: Sequence[str]) -> Self:
        """A judge of the classes of some sounds.

        Args:
            features_ND: Of the sounds.
            labels: Their classes, N.

        Raises:
            ValueError: There are not as many labels as features, or none.
        """
        if len(features_ND) != len(labels) or not len(labels):
            raise ValueError(f"{len(features_ND)} features and {len(labels)} labels: give as many, and at least one")
        classes, said = tuple(sorted(set(labels))), np.array(labels)
        unit_ND = of_length_1(features_ND)
        centres_CD = np.stack([unit_ND[said == label].mean(axis=0) for label in classes])
        return cls(classes, of_length_1(centres_CD))

    def answers(self, features_ND: Float) -> list[str]:
        """The class of each sound."""
        nearest = (of_length_1(features_ND) @ self.centres_CD.T).argmax(axis=1)
        return [self.labels[number] for number in nearest]

    def right(self, features_ND: Float, labels: Sequence[str]) -> int:
        """How many sounds are of the classes that were asked for."""
        return sum(own == asked for own, asked in zip(self.answers(features_ND), labels, strict=True))
