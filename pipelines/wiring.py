"""Which network is handed to which stage: the only file that makes them.

A stage takes a picklable `build` and the identity of what it builds; search takes an embedder. The networks speak
torch, the stages NumPy; the small adapters between them are here too.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from captioning.cache import CAPTION_CACHE
from captioning.candidates import candidates_sql, further_sql
from captioning.caption import Caption
from captioning.captioner import Captioner, CaptionerIdentity
from captioning.decoding import Decoding, Drawing
from captioning.labels import LABEL_CAPTIONER, LABEL_PROMPT, LabelCaptioner
from captioning.prompt import load_prompt
from captioning.score import Score
from curation.agree import Agree
from curation.annotated import ANNOTATED
from curation.dataset import Dataset
from curation.encode import Encode
from curation.errors import ArgumentError, DatasetError
from curation.facts import IDENTITY_FILE
from curation.keys import canonical
from curation.storage import cache_folder
from curation.tag import Tag
from pipelines.adapters import NumpyScorer, NumpyTagger
from retrieval_index.embed import Embed
from retrieval_index.embed_text import EmbedText
from retrieval_index.index import Index

if TYPE_CHECKING:
    from models.codecs.codec import Codec
    from models.encoders.clap import ClapEncoder

STRUCTURED_TOKENS = 768
"""Longest JSON answer, tokens. Source: ours; ten events take about 400."""

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
    candidates: int = 1,
    questions: int = 16,
) -> Caption:
    """The stage `caption`: sentences from labels, a model by name or folder, or a server.

    Args:
        dataset: Whose clips.
        captioner: `label`, the address of a server, a folder, or a name on the Hub.
        prompt: Name or file; None takes the captioner's own.
        revision: Commit or tag on the Hub.
        called: Label of the captions.
        candidates: Answers a clip; above 1 the others are drawn.
        questions: Questions that a server gets at once.

    Raises:
        ArgumentError: The model is of a kind that is not known here, or cannot be found.
    """
    if captioner == LABEL_CAPTIONER:
        if candidates != 1:
            raise ArgumentError(f"captioner {LABEL_CAPTIONER!r} makes one sentence a clip, not {candidates}")
        asked, identity = load_prompt(prompt or LABEL_PROMPT), LabelCaptioner().identity()
        return Caption(captioner=identity, prompt=asked, build=LabelCaptioner, media=dataset.media, called=called)
    asked = load_prompt(prompt or "sound-v1")
    decoding = Decoding(
        max_new_tokens=STRUCTURED_TOKENS if asked.is_structured else Decoding().max_new_tokens,
        drawing=Drawing(draws=candidates - 1) if candidates != 1 else None,
    )
    identity, build = _speaker(captioner, revision, decoding, questions)
    return Caption(
        captioner=identity,
        prompt=asked,
        build=build,
        media=dataset.media,
        cache=cache_folder() / CAPTION_CACHE,
        called=called,
    )


def _speaker(
    name: str, revision: str | None, decoding: Decoding, questions: int
) -> tuple[CaptionerIdentity, Callable[[], Captioner]]:
    """Who answers, and how it is made in a worker: a model in process, or a server."""
    if name.startswith(("http://", "https://")):
        from captioning.chat_server import ChatCaptioner, ChatServer

        server = ChatServer.at(name, concurrency=questions, decoding=decoding)
        return server.identity(), partial(ChatCaptioner, server)
    from captioning import audio_language
    from captioning.pretrained import Pretrained

    source = Pretrained.find(name, revision=revision)
    device = audio_language.default_device()
    dtype = audio_language.default_dtype(device)
    build = audio_language.builder(source, device=device, dtype=dtype, decoding=decoding)
    return audio_language.identity_of(source, dtype=dtype, decoding=decoding), build


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


def score_stage(
    dataset: Dataset,
    captions: str,
    embedder: str,
    *,
    vectors: str = "clap",
    tags: str | None = None,
    revision: str | None = None,
) -> Score:
    """The stage `score` over the captions of one name.

    Raises:
        ArgumentError: Captions, vectors or tags of that name are not there, or the vectors are another embedder's.
    """
    for stage, name, verb in (("caption", captions, "caption"), ("embed", vectors, "embed"), ("tag", tags, "tag")):
        known = dataset.current_facts(stage)
        if name is not None and name not in known:
            raise ArgumentError(
                f"{dataset.path} has no {name!r} of stage {stage!r} (there are: {', '.join(sorted(known)) or 'none'}); "
                f"run `foundsound {verb}` first"
            )
    identity = load_clap(embedder, revision).identity()
    made_by = json.loads((dataset.current_facts("embed")[vectors] / IDENTITY_FILE).read_text(encoding="utf-8"))
    if made_by["embedder"] != json.loads(canonical(identity)):
        raise ArgumentError(
            f"the vectors {vectors!r} were not made by {embedder}; give the embedder that made them, or embed again"
        )
    return Score(
        captions=captions,
        embedder=identity,
        annotated=ANNOTATED,
        build=partial(load_clap, embedder, revision),
        vectors=vectors,
        blobs=dataset.root("vectors"),
        further=further_sql(dataset),
        tags=tags,
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
        blobs=dataset.root("latents"),
        called=called,
    )


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
    from transformers.utils import logging

    from models.encoders.ast import Ast
    from models.encoders.efficientat import EfficientAt
    from pipelines.weights import PUBLISHED, published_weights

    if sha256 and tagger not in PUBLISHED:
        raise ArgumentError(f"--sha256 is for weights that are fetched ({', '.join(PUBLISHED)}), not for {tagger!r}")
    logging.disable_progress_bar()
    path = published_weights(tagger, sha256=sha256) if tagger in PUBLISHED else Path(tagger).expanduser()
    try:
        if path.is_file() or (path.is_dir() and not (path / "config.json").is_file()):
            return NumpyTagger(EfficientAt.from_pretrained(path, device=device_name()))
        return NumpyTagger(
            Ast.from_pretrained(path if path.is_dir() else tagger, device=device_name(), revision=revision)
        )
    except UNLOADABLE as error:
        raise ArgumentError(f"no tagger can be loaded from {tagger!r}: {error}") from error


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
    from transformers.utils import logging

    from models.encoders.pe_av import PeAv

    logging.disable_progress_bar()
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
