"""Embedders: CLAP as search and embedding want it, and where an index finds its own again."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from captioning.candidates import candidates_sql
from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from pipelines.wiring.devices import UNLOADABLE, device_name
from retrieval_index.embed import Embed
from retrieval_index.embed_text import EmbedText
from retrieval_index.index import Index

if TYPE_CHECKING:
    from models.encoders.clap import ClapEncoder


@dataclass(frozen=True, slots=True)
class ClapEmbedder:
    """CLAP as search and embedding want it: NumPy in, NumPy out."""

    encoder: "ClapEncoder"

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""
        return self.encoder.sample_rate_hz

    @property
    def window_s(self) -> float:
        """Longest sound at once, s."""
        return self.encoder.window_s

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self.encoder.dimension

    def embed_sound(self, wave_BT: np.ndarray) -> np.ndarray:
        """(B, T) float32 -> (B, dimension) float32 of norm 1."""
        import torch

        return self.encoder.embed_sound(torch.from_numpy(np.ascontiguousarray(wave_BT))).cpu().numpy()

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> (B, dimension) float32 of norm 1."""
        return self.encoder.embed_text(list(texts)).cpu().numpy()

    def identity(self) -> dict[str, Any]:
        """What determines its vectors."""
        return dict(self.encoder.identity())


def load_clap(name_or_path: str, revision: str | None = None) -> ClapEmbedder:
    """A CLAP from a folder or the Hub, on the GPU where there is one.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    from transformers.utils import logging

    from models.encoders.clap import ClapEncoder

    logging.disable_progress_bar()  # of "Loading weights", which takes a moment; downloads keep theirs
    try:
        encoder = ClapEncoder.from_pretrained(name_or_path, device=device_name(), revision=revision)
    except UNLOADABLE as error:
        raise ArgumentError(f"no CLAP can be loaded from {name_or_path!r}: {error}") from error
    return ClapEmbedder(encoder)


def embed_stage(dataset: Dataset, name_or_path: str, *, called: str = "clap", revision: str | None = None) -> Embed:
    """The stage `embed` with a CLAP."""
    return Embed(
        embedder=load_clap(name_or_path, revision).identity(),
        build=partial(load_clap, name_or_path, revision),
        media=dataset.media,
        blobs=dataset.root("vectors"),
        called=called,
    )


def embed_text_stage(
    dataset: Dataset, name_or_path: str, *, called: str = "clap", revision: str | None = None
) -> EmbedText:
    """The stage `embed_text` with a CLAP."""
    return EmbedText(
        embedder=load_clap(name_or_path, revision).identity(),
        candidates=candidates_sql(dataset),
        build=partial(load_clap, name_or_path, revision),
        blobs=dataset.root("vectors"),
        called=called,
    )


def embedder_source(name_or_path: str, dataset: Path, index: Path) -> str:
    """How an index names its embedder: a name on the Hub or a folder.

    A folder inside the dataset is named as seen from the index, so that the dataset may be moved.
    """
    folder = Path(name_or_path).resolve()
    if not folder.is_dir():
        return name_or_path
    return os.path.relpath(folder, index.resolve()) if folder.is_relative_to(dataset.resolve()) else str(folder)


def embedder_of(index: str | Path) -> ClapEmbedder:
    """The embedder that an index was made with, loaded from where its manifest says.

    Raises:
        ArgumentError: It is not there any more.
        DatasetError: There is no index, or it does not name a CLAP.
    """
    folder = Path(index)
    source = Index.read_manifest(folder).get("source", {})
    if not isinstance(source.get("embedder"), str):
        raise DatasetError(f"{folder} does not say how its embedder is loaded; open it with Index.open(..., embedder=)")
    local = (folder.resolve() / source["embedder"]).resolve()
    return load_clap(str(local) if local.is_dir() else source["embedder"], source.get("revision"))
