"""Which network is handed to which stage: the only file that makes them.

A stage takes a picklable `build` and the identity of what it builds; search takes an embedder. The networks speak
torch, the stages NumPy; the small adapters between them are here too.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from captioning.caption import Caption
from captioning.labels import LABEL_CAPTIONER, LABEL_PROMPT, LabelCaptioner
from captioning.prompt import load_prompt
from curation.dataset import Dataset
from curation.encode import Encode
from curation.errors import ArgumentError, DatasetError
from retrieval_index.embed import Embed
from retrieval_index.index import Index

if TYPE_CHECKING:
    from models.codecs.codec import Codec
    from models.encoders.clap import ClapEncoder

UNLOADABLE = (OSError, ValueError, RuntimeError, SafetensorError)
"""What loading weights raises: files that are missing, that do not fit together, of other shapes, or damaged."""


def device_name() -> str:
    """`cuda` where there is one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def caption_stage(
    dataset: Dataset,
    captioner: str,
    *,
    prompt: str | None = None,
    revision: str | None = None,
    called: str | None = None,
) -> Caption:
    """The stage `caption` with sentences from labels (`label`), or with an audio-language model by name or folder.

    Raises:
        ArgumentError: The model is of a kind that is not known here, or cannot be found.
    """
    if captioner == LABEL_CAPTIONER:
        asked, identity = load_prompt(prompt or LABEL_PROMPT), LabelCaptioner().identity()
        return Caption(captioner=identity, prompt=asked, build=LabelCaptioner, media=dataset.media, called=called)
    from captioning import qwen2_audio
    from captioning.pretrained import Pretrained

    source = Pretrained.find(captioner, revision=revision)
    if source.model_type() != qwen2_audio.MODEL_TYPE:
        raise ArgumentError(
            f"{captioner!r} is a model of type {source.model_type()!r}; give {LABEL_CAPTIONER!r}, or a model of type "
            f"{qwen2_audio.MODEL_TYPE!r}"
        )
    device = qwen2_audio.default_device()
    dtype = qwen2_audio.default_dtype(device)
    return Caption(
        captioner=qwen2_audio.identity_of(source, dtype=dtype),
        prompt=load_prompt(prompt or "sound-v1"),
        build=qwen2_audio.builder(source, device=device, dtype=dtype),
        media=dataset.media,
        called=called,
    )


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
        blobs=dataset.folder("vectors"),
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


@dataclass(frozen=True, slots=True)
class NumpyCodec:
    """A codec as the stage `encode` wants it."""

    codec: "Codec"

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""
        return self.codec.sample_rate_hz

    @property
    def channels(self) -> int:
        """Channels that it wants."""
        return self.codec.channels

    def encode(self, wave_CT: np.ndarray) -> np.ndarray:
        """(C, T) float32 -> (F, D) float32."""
        import torch

        with torch.no_grad():
            return self.codec.encode(torch.from_numpy(wave_CT)[None])[0].cpu().numpy()


def load_numpy_codec(name_or_path: str) -> NumpyCodec:
    """A codec from a folder or the Hub.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    from models.codecs.codec import load_codec

    try:
        return NumpyCodec(load_codec(name_or_path))
    except UNLOADABLE as error:
        raise ArgumentError(f"no codec can be loaded from {name_or_path!r}: {error}") from error


def encode_stage(dataset: Dataset, codec: str, *, called: str, frame_rate_hz: float, frame_size_px: int) -> Encode:
    """The stage `encode` with a codec."""
    return Encode(
        codec=load_numpy_codec(codec).codec.identity(),
        frame_rate_hz=frame_rate_hz,
        frame_size_px=frame_size_px,
        build=partial(load_numpy_codec, codec),
        media=dataset.media,
        blobs=dataset.folder("latents"),
        called=called,
    )
