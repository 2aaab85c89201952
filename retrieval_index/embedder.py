"""What an embedder offers: sounds and texts, and of some also pictures, as unit vectors of one space.

The networks themselves are not here: `models/encoders` has them, and `pipelines/wiring/` hands them in.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from curation.errors import ArgumentError

Vectors = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]
"""Frames of pictures, RGB: (B, N, S, S, 3)."""

Of = Literal["sound", "picture", "both"]
OF: tuple[Of, ...] = get_args(Of)
"""What stored vectors are of."""


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


@runtime_checkable
class PictureEmbedder(Embedder, Protocol):
    """An embedder that also sees: pictures, alone and with their sound, in the same space."""

    @property
    def frames(self) -> int:
        """Frames of a picture that it looks at."""

    @property
    def frame_size_px(self) -> int:
        """Side of the square frames, px."""

    def embed_picture(self, frames_BNSSC: Frames) -> Vectors:
        """Frames of pictures -> (B, dimension) float32 of norm 1."""

    def embed_both(self, wave_BT: npt.NDArray[np.float32], frames_BNSSC: Frames) -> Vectors:
        """Sounds with their pictures -> (B, dimension) float32 of norm 1."""


def seeing(embedder: Embedder) -> PictureEmbedder:
    """The same embedder, where it can be asked for pictures.

    Raises:
        ArgumentError: It knows sounds and texts only.
    """
    if isinstance(embedder, PictureEmbedder):
        return embedder
    raise ArgumentError(
        f"the embedder {embedder.identity().get('class')} cannot see pictures; use vectors of one that does, as "
        "`foundsound embed DATASET --embedder facebook/pe-av-base-16-frame --name pe-av` makes them"
    )
