"""What an embedder offers: sounds and texts as unit vectors of one space.

The networks themselves are not here: `models/encoders` has them, and `pipelines/wiring/` hands them in.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    """Maps sounds and texts to unit vectors; deterministic, and the same for a batch as one by one."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""

    @property
    def window_s(self) -> float:
        """Longest sound that it takes at once, s."""

    @property
    def dimension(self) -> int:
        """Length of its vectors."""

    def embed_sound(self, wave_BT: npt.NDArray[np.float32]) -> Vectors:
        """Mono sounds of equal length, float32 in [-1, 1] -> (B, dimension) float32 of norm 1."""

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Texts, at least one -> (B, dimension) float32 of norm 1."""

    def identity(self) -> dict[str, Any]:
        """Class, sha256 of the weights and preprocessing: equal identities give equal vectors."""
