"""Frozen text encoders as the stage `encode_text` wants them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from captioning.candidates import candidates_sql, choose
from curation.dataset import Dataset
from curation.encode_text import EncodeText
from curation.errors import ArgumentError
from pipelines.wiring.devices import device_name, load_quietly, loading

if TYPE_CHECKING:
    from models.audiox.conditioning import TextEncoder
    from models.audiox.encoder_source import EncoderSource

TEXTS_AT_ONCE = 512
"""Texts that a worker gets at a time. Source: ours; some 10 MB of a T5-base's tokens."""


@dataclass(frozen=True, slots=True)
class NumpyTextEncoder:
    """A text encoder with NumPy arrays on its far side."""

    encoder: "TextEncoder"

    def encode_text(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Hidden states of each text, (L, T) float32; one by one, since beside others a text has other last bits."""
        return [self._tokens(text) for text in texts]

    def _tokens(self, text: str) -> np.ndarray:
        if not text.strip():
            return np.zeros((1, self.encoder.text_width), np.float32)  # as training has it; some cannot read nothing
        hidden_BLT, mask_BL = self.encoder.text_tokens([text])
        return np.asarray(hidden_BLT[0][mask_BL[0].bool()].float().cpu().numpy())


def text_source(name_or_path: str) -> "EncoderSource":
    """A text encoder by the kind that its configuration says.

    Raises:
        ArgumentError: It cannot be read, or is neither CLAP nor T5.
    """
    from transformers import AutoConfig

    from models.audiox.encoder_source import EncoderSource

    load_quietly()
    with loading("text encoder", name_or_path):
        kind = AutoConfig.from_pretrained(name_or_path).model_type
    if kind not in ("clap", "t5"):
        raise ArgumentError(f"the text encoder {name_or_path!r} is of kind {kind!r}; give a CLAP or a T5")
    return EncoderSource(kind=kind, path=name_or_path)


def load_text_encoder(source: "EncoderSource") -> NumpyTextEncoder:
    """A text encoder, on the GPU where there is one.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    load_quietly()
    with loading("text encoder", source.path):
        return NumpyTextEncoder(source.text_encoder(device_name()))


def encode_text_stage(dataset: Dataset, source: "EncoderSource", *, called: str) -> EncodeText:
    """The stage `encode_text` with a text encoder, over the captions that `select` would choose."""
    return EncodeText(
        encoder=_identity(source),
        chosen=choose(candidates_sql(dataset)),
        build=partial(load_text_encoder, source),
        blobs=dataset.root("latents"),
        called=called,
    )


def _identity(source: "EncoderSource") -> dict[str, Any]:
    """What decides the tokens of a text; the network itself is not loaded for a T5."""
    from transformers import AutoTokenizer

    from models.audiox.pretrained import T5_TOKENS
    from models.encoders.clap import ClapEncoder
    from models.weights import safetensors_paths, sha256_of_files

    with loading("text encoder", source.path):
        if source.kind == "clap":
            return dict(ClapEncoder.from_pretrained(source.path).identity())
        tokenizer = AutoTokenizer.from_pretrained(source.path).backend_tokenizer.to_str()
        return {
            "class": "T5TextTokens",
            "weights_sha256": sha256_of_files(safetensors_paths(source.path)),
            "tokenizer_sha256": hashlib.sha256(tokenizer.encode()).hexdigest(),
            "most_tokens": T5_TOKENS,
        }
