"""Networks as stages want them: the networks speak torch, the stages NumPy. `wiring.py` makes the networks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from models.encoders.ast import Ast
    from models.encoders.efficientat import EfficientAt
    from models.encoders.pe_av import PeAv


@dataclass(frozen=True, slots=True)
class NumpyTagger:
    """EfficientAT or AST as the stage `tag` wants it."""

    tagger: "EfficientAt | Ast"

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""
        return self.tagger.sample_rate_hz

    @property
    def window_s(self) -> float:
        """Length of the windows that are tagged and embedded, s."""
        return self.tagger.window_s

    @property
    def share_window_s(self) -> float:
        """Length of the windows of which shares are counted, s."""
        return self.tagger.share_window_s

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its classes."""
        return self.tagger.labels

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self.tagger.dimension

    def tag(self, wave_BT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, T) float32 -> scores (B, L) in [0, 1] and vectors (B, D), float32."""
        import torch

        scores_BL, vectors_BD = self.tagger.tag(torch.from_numpy(np.ascontiguousarray(wave_BT)))
        return scores_BL.cpu().numpy(), vectors_BD.cpu().numpy()


@dataclass(frozen=True, slots=True)
class NumpyScorer:
    """PE-AV as the stage `agree` wants it."""

    scorer: "PeAv"

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""
        return self.scorer.sample_rate_hz

    @property
    def window_s(self) -> float:
        """Longest stretch at once, s."""
        return self.scorer.window_s

    @property
    def frames(self) -> int:
        """Number of frames of a stretch."""
        return self.scorer.frames

    @property
    def frame_size_px(self) -> int:
        """Side of the frames, px."""
        return self.scorer.frame_size_px

    def score(self, wave_T: np.ndarray, frames_NSSC: np.ndarray) -> float:
        """(T,) float32 and (N, S, S, 3) uint8 -> a logit."""
        import torch

        sound_T = torch.from_numpy(np.ascontiguousarray(wave_T))
        return self.scorer.score(sound_T, torch.from_numpy(np.ascontiguousarray(frames_NSSC)))
