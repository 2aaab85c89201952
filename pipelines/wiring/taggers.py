"""Taggers, and what scores sound against picture, as the stages `tag` and `agree` want them."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curation.agree import Agree
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.tag import Tag
from pipelines.wiring.devices import UNLOADABLE, device_name, load_quietly, loading

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


def load_tagger(tagger: str, revision: str | None = None, sha256: str | None = None) -> NumpyTagger:
    """A tagger by path or name, on the GPU where there is one.

    Args:
        tagger: A name of `pipelines.weights.PUBLISHED`; a file of EfficientAT's weights or a folder with one; an AST
            in a folder (it has a config.json) or on the Hub.
        revision: Commit or tag on the Hub.
        sha256: Checksum of named weights, where none is known.

    Raises:
        ArgumentError: It cannot be loaded, or weights have no checksum.
        StoppedError: Named weights cannot be fetched.
    """
    from models.encoders.ast import Ast
    from models.encoders.efficientat import EfficientAt
    from pipelines.weights import PUBLISHED, published_weights

    if sha256 and tagger not in PUBLISHED:
        raise ArgumentError(f"--sha256 is for weights that are fetched ({', '.join(PUBLISHED)}), not for {tagger!r}")
    load_quietly()
    path = published_weights(tagger, sha256=sha256) if tagger in PUBLISHED else Path(tagger).expanduser()
    with loading("tagger", tagger):
        if path.is_file() or (path.is_dir() and not (path / "config.json").is_file()):
            return NumpyTagger(EfficientAt.from_pretrained(path, device=device_name()))
        return NumpyTagger(
            Ast.from_pretrained(path if path.is_dir() else tagger, device=device_name(), revision=revision)
        )


def tag_stage(
    dataset: Dataset,
    tagger: str,
    *,
    called: str = "audioset",
    revision: str | None = None,
    sha256: str | None = None,
) -> Tag:
    """The stage `tag` with EfficientAT or AST."""
    return Tag(
        tagger=load_tagger(tagger, revision, sha256).tagger.identity(),
        build=partial(load_tagger, tagger, revision, sha256),
        media=dataset.media,
        blobs=dataset.root("vectors"),
        called=called,
    )


def load_scorer(name_or_path: str, revision: str | None = None) -> NumpyScorer:
    """A PE-AV from a folder or the Hub, on the GPU where there is one.

    Raises:
        ArgumentError: It cannot be loaded, or the libraries that it needs are not installed.
    """
    from models.encoders.pe_av import PeAv

    load_quietly()
    try:
        return NumpyScorer(PeAv.from_pretrained(name_or_path, device=device_name(), revision=revision))
    except (ImportError, *UNLOADABLE) as error:
        raise ArgumentError(f"no scorer can be loaded from {name_or_path!r}: {error}") from error


def agree_stage(dataset: Dataset, name_or_path: str, *, called: str = "pe-av", revision: str | None = None) -> Agree:
    """The stage `agree` with a PE-AV."""
    return Agree(
        scorer=load_scorer(name_or_path, revision).scorer.identity(),
        build=partial(load_scorer, name_or_path, revision),
        media=dataset.media,
        called=called,
    )
