"""Embedders: CLAP, PE-AV and taggers as search and embedding want them, and where an index finds its own again."""

import json
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
from curation.facts import IDENTITY_FILE
from pipelines.wiring.devices import UNLOADABLE, device_name, load_quietly, loading
from pipelines.wiring.hub import give_up_without_network
from pipelines.wiring.laion_package import PREFIX as LAION_PREFIX
from pipelines.wiring.laion_package import load_laion_package
from pipelines.wiring.taggers import NumpyTagger, load_tagger
from retrieval_index.embed import Embed
from retrieval_index.embed_text import EmbedText
from retrieval_index.embedder import OF, Embedder, Of
from retrieval_index.index import Index

if TYPE_CHECKING:
    from models.encoders.clap import ClapEncoder
    from models.encoders.pe_av_vectors import PeAvEncoder

TAGGER_PREFIX = "tag:"
"""Before the name or file of a tagger whose vectors are to be searched."""

PE_AV = "pe_audio_video"
"""What the configuration of a PE-AV names as its kind."""


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


@dataclass(frozen=True, slots=True)
class PeAvEmbedder:
    """PE-AV as search and embedding want it; its texts are for vectors of what `of` says."""

    encoder: "PeAvEncoder"
    of: Of = "sound"

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""
        return self.encoder.sample_rate_hz

    @property
    def window_s(self) -> float:
        """Longest stretch at once, s."""
        return self.encoder.window_s

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self.encoder.dimension

    @property
    def frames(self) -> int:
        """Frames of a picture that it looks at."""
        return self.encoder.frames

    @property
    def frame_size_px(self) -> int:
        """Side of the square frames, px."""
        return self.encoder.frame_size_px

    def embed_sound(self, wave_BT: np.ndarray) -> np.ndarray:
        """(B, T) float32 -> (B, dimension) float32 of norm 1."""
        import torch

        return self.encoder.embed_sound(torch.from_numpy(np.ascontiguousarray(wave_BT))).cpu().numpy()

    def embed_picture(self, frames_BNSSC: np.ndarray) -> np.ndarray:
        """(B, N, S, S, 3) uint8 -> (B, dimension) float32 of norm 1."""
        import torch

        return self.encoder.embed_picture(torch.from_numpy(np.ascontiguousarray(frames_BNSSC))).cpu().numpy()

    def embed_both(self, wave_BT: np.ndarray, frames_BNSSC: np.ndarray) -> np.ndarray:
        """(B, T) float32 and (B, N, S, S, 3) uint8 -> (B, dimension) float32 of norm 1."""
        import torch

        wave, frames = (torch.from_numpy(np.ascontiguousarray(one)) for one in (wave_BT, frames_BNSSC))
        return self.encoder.embed_both(wave, frames).cpu().numpy()

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> (B, dimension) float32 of norm 1."""
        return self.encoder.embed_text(list(texts), self.of).cpu().numpy()

    def identity(self) -> dict[str, Any]:
        """What determines its vectors."""
        return {**self.encoder.identity(), "of": self.of}


@dataclass(frozen=True, slots=True)
class TagEmbedder:
    """A tagger as an embedder of sounds: the vectors before its classifier, of length 1. It knows no words."""

    tagger: NumpyTagger

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""
        return self.tagger.sample_rate_hz

    @property
    def window_s(self) -> float:
        """Longest sound at once, s."""
        return self.tagger.window_s

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self.tagger.dimension

    def embed_sound(self, wave_BT: np.ndarray) -> np.ndarray:
        """(B, T) float32 -> (B, dimension) float32 of norm 1."""
        vectors_BD = self.tagger.tag(wave_BT)[1]
        length_B1 = np.linalg.norm(vectors_BD, axis=1, keepdims=True)
        return np.asarray(vectors_BD / np.maximum(length_B1, np.finfo(np.float32).tiny), np.float32)

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Refuse.

        Raises:
            ArgumentError: Always.
        """
        raise ArgumentError(
            f"{str(texts[0])!r} cannot be looked for: a tagger's vectors are of sounds only; ask with --sound FILE or "
            "--clip ID, or an index of CLAP vectors"
        )

    def identity(self) -> dict[str, Any]:
        """What determines its vectors."""
        return {"class": "TagEmbedder", "tagger": dict(self.tagger.tagger.identity())}


def load_clap(name_or_path: str | Path, revision: str | None = None, *, device: str | None = None) -> ClapEmbedder:
    """A CLAP from a folder, the Hub or a checkpoint of laion-clap.

    Args:
        name_or_path: Which one.
        revision: Commit or tag on the Hub.
        device: Where it computes; None: on the GPU where there is one.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    from models.encoders.clap import ClapEncoder

    load_quietly()
    with loading("CLAP", name_or_path):
        encoder = ClapEncoder.from_pretrained(name_or_path, device=device or device_name(), revision=revision)
    return ClapEmbedder(encoder)


def load_pe_av(name_or_path: str | Path, revision: str | None = None, of: Of = "sound") -> PeAvEmbedder:
    """A PE-AV from a folder or the Hub, on the GPU where there is one.

    Raises:
        ArgumentError: It cannot be loaded, or the libraries that it needs are not installed.
    """
    from models.encoders.pe_av_vectors import PeAvEncoder

    load_quietly()
    try:
        encoder = PeAvEncoder.from_pretrained(name_or_path, device=device_name(), revision=revision)
    except (ImportError, *UNLOADABLE) as error:
        raise ArgumentError(f"no PE-AV can be loaded from {name_or_path!r}: {error}") from error
    return PeAvEmbedder(encoder, of)


def load_embedder(name_or_path: str | Path, revision: str | None = None, of: Of = "sound") -> Embedder:
    """An embedder of any kind, on the GPU where there is one.

    Args:
        name_or_path: A CLAP or a PE-AV on the Hub or in a folder, a checkpoint of laion-clap (`.pt`), `tag:` and a
            tagger as the verb `tag` takes it, or `laion-clap:` and a checkpoint that the package itself shall embed
            with.
        revision: Commit or tag on the Hub.
        of: What its vectors are of, and its texts are compared with.

    Raises:
        ArgumentError: It cannot be loaded, or has no vectors of that.
    """
    name = str(name_or_path)
    if name.startswith(TAGGER_PREFIX):
        loaded: Embedder = TagEmbedder(load_tagger(name.removeprefix(TAGGER_PREFIX), revision))
    elif name.startswith(LAION_PREFIX):
        loaded = load_laion_package(name.removeprefix(LAION_PREFIX))
    elif _model_type(name, revision) == PE_AV:
        return load_pe_av(name, revision, of)
    else:
        loaded = load_clap(name, revision)
    if of != "sound":
        raise ArgumentError(f"{name!r} has vectors of sounds, not of {of}; take facebook/pe-av-base-16-frame for these")
    return loaded


def knows_words(name_or_path: str | Path) -> bool:
    """Whether an embedder has vectors of texts; a tagger has none."""
    return not str(name_or_path).startswith(TAGGER_PREFIX)


def _model_type(name_or_path: str, revision: str | None) -> str | None:
    """What a model's configuration says it is; None where there is none."""
    from transformers import PreTrainedConfig

    if Path(name_or_path).is_file():
        return None
    give_up_without_network()
    try:
        config, _ = PreTrainedConfig.get_config_dict(name_or_path, revision=revision)
    except (OSError, ValueError):
        return None  # whoever loads it says what is wrong
    kind = config.get("model_type") if isinstance(config, dict) else None
    return kind if isinstance(kind, str) else None


def embed_stage(
    dataset: Dataset,
    name_or_path: str,
    *,
    called: str = "clap",
    revision: str | None = None,
    of: Of | None = None,
) -> Embed:
    """The stage `embed`; `of` None takes what the stored vectors of this name are of."""
    of = of or _stored_of(dataset, called)
    return Embed(
        embedder=load_embedder(name_or_path, revision, of).identity(),
        build=partial(load_embedder, name_or_path, revision, of),
        media=dataset.media,
        blobs=dataset.root("vectors"),
        called=called,
        of=of,
    )


def embed_text_stage(
    dataset: Dataset, name_or_path: str, *, called: str = "clap", revision: str | None = None
) -> EmbedText:
    """The stage `embed_text`, with texts for what the stored vectors of this name are of."""
    of = _stored_of(dataset, called)
    return EmbedText(
        embedder=load_embedder(name_or_path, revision, of).identity(),
        candidates=candidates_sql(dataset),
        build=partial(load_embedder, name_or_path, revision, of),
        blobs=dataset.root("vectors"),
        called=called,
    )


def _stored_of(dataset: Dataset, called: str) -> Of:
    """What the stored vectors of a name are of; sounds, where there are none yet."""
    folder = dataset.current_facts("embed").get(called)
    if folder is None:
        return "sound"
    return of_identity(json.loads((folder / IDENTITY_FILE).read_text(encoding="utf-8")).get("embedder", {}))


def of_identity(identity: dict[str, Any]) -> Of:
    """What the vectors of an embedder are of, by its identity."""
    return next((of for of in OF if of == identity.get("of")), "sound")


def _prefix_of(name: str) -> str:
    """What stands before the place of an embedder; empty for most."""
    return next((prefix for prefix in (TAGGER_PREFIX, LAION_PREFIX) if name.startswith(prefix)), "")


def embedder_source(name_or_path: str, dataset: Path, index: Path) -> str:
    """How an index names its embedder: a name on the Hub, a folder or a file.

    What lies inside the dataset is named as seen from the index, so that the dataset may be moved.
    """
    name = str(name_or_path)
    prefix = _prefix_of(name)
    place = Path(name.removeprefix(prefix)).resolve()
    if not place.exists():
        return name
    inside = place.is_relative_to(dataset.resolve())
    return prefix + (os.path.relpath(place, index.resolve()) if inside else str(place))


def embedder_of(index: str | Path) -> Embedder:
    """The embedder that an index was made with, loaded from where its manifest says.

    Raises:
        ArgumentError: It is not there any more.
        DatasetError: There is no index, or it does not name an embedder.
    """
    folder = Path(index)
    manifest = Index.read_manifest(folder)
    source = manifest.get("source", {})
    if not isinstance(source.get("embedder"), str):
        raise DatasetError(f"{folder} does not say how its embedder is loaded; open it with Index.open(..., embedder=)")
    prefix = _prefix_of(source["embedder"])
    local = (folder.resolve() / source["embedder"].removeprefix(prefix)).resolve()
    name = prefix + str(local) if local.exists() else source["embedder"]
    return load_embedder(name, source.get("revision"), of_identity(manifest.get("embedder", {})))
