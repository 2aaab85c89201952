"""CLAP as a frozen encoder: sounds and texts become unit vectors of one space, texts also a row of tokens.

The same code loads LAION's published models, as `ClapModel` or as laion-clap's own `.pt` files, and a tiny one from a
folder. It does not cut, resample or mix down: a sound is mono, at the encoder's rate, at most one window long. It never
takes a random part of a sound.

Shapes: B sounds or texts, T samples, L tokens, F frames, M mel bands.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

from models.encoders.clap_checkpoint import COMPUTED_BUFFERS, CONVERSION_VERSION, load_checkpoint
from models.encoders.clap_mel import ClapMel, ClapMelConfig, int16_round_trip
from models.weights import safetensors_paths, sha256_of_files

PREPROCESSING_VERSION = 1
# Source: laion-clap 1.1.7, hook.py, `tokenizer(..., truncation=True, max_length=77)`.
TEXT_TOKENS = 77
# Measured with transformers 5.23: a tokenizer whose files are missing loads without an error and knows 5 tokens.
FALLBACK_TOKENS = 5
# Ours, measured with HTSAT-tiny on a CPU: of 8 sounds at once each takes 0.19 s of a core, of 32 0.25 s, alone 0.21 s.
SOUNDS_AT_ONCE_CPU = 8
# Source: laion-clap 1.1.7, hook.py: the tokenizer of all its checkpoints, which do not hold it.
CHECKPOINT_TOKENIZER = "roberta-base"
TOKENIZER_FILES = ("tokenizer.json", "vocab.json")


class ClapEncoder:
    """A frozen, deterministic CLAP. Make one with `from_pretrained`."""

    def __init__(
        self,
        *,
        model: ClapModel,
        tokenizer: Any,
        mel: ClapMelConfig,
        weights_sha256: str,
        conversion: int | None = None,
    ) -> None:
        """Takes the loaded parts.

        Args:
            model: the network; it is put into evaluation mode on the device it is on.
            tokenizer: the fast tokenizer that belongs to it.
            mel: settings of its log-mel.
            weights_sha256: hex digest of the files the network came from.
            conversion: version of the rules by which those files became this network; None: they are its own.

        Raises:
            ValueError: the tokenizer does not belong to the network.
        """
        text = model.config.text_config
        _check_tokenizer(tokenizer, vocabulary=text.vocab_size)
        self._model = model.eval().requires_grad_(False)
        self._mel = ClapMel(mel).to(model.device)
        self._tokenizer = tokenizer
        # The text vector is read at the first token, so padding must stand behind.
        self._tokenizer.padding_side = "right"
        # Positions count from pad_token_id + 1.
        self._text_tokens = min(TEXT_TOKENS, text.max_position_embeddings - text.pad_token_id - 1)
        self._weights_sha256 = weights_sha256
        self._conversion = {} if conversion is None else {"conversion": str(conversion)}
        self._tokenizer_sha256 = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
    ) -> "ClapEncoder":
        """Loads a CLAP from a folder written by `save_pretrained`, by its name on the Hub, or from laion-clap's file.

        Args:
            name_or_path: for example `laion/clap-htsat-unfused`; a folder with safetensors; or a checkpoint of
                laion-clap (`.pt`), whose tokenizer lies beside it or is roberta-base of the Hub.
            device: where it computes.
            revision: branch, tag or commit on the Hub.

        Raises:
            OSError: files are missing.
            ValueError: the weights or the tokenizer do not belong to the configuration.
        """
        if Path(name_or_path).is_file():
            return cls._from_checkpoint(Path(name_or_path), device=device, revision=revision)
        return cls.from_parts(name_or_path, name_or_path, name_or_path, device=device, revision=revision)

    @classmethod
    def from_parts(
        cls,
        weights: str | Path,
        tokenizer: str | Path,
        extractor: str | Path,
        *,
        device: str | torch.device = "cpu",
        revision: str | None = None,
    ) -> "ClapEncoder":
        """Loads a CLAP whose parts lie in folders of their own, as pipelines keep them.

        Args:
            weights: with safetensors.
            tokenizer: with its files.
            extractor: with the settings of its log-mel.
            device: where it computes.
            revision: branch, tag or commit on the Hub.

        Raises:
            OSError: files are missing.
            ValueError: the weights or the tokenizer do not belong to the configuration.
        """
        name = str(weights)
        model, loading = ClapModel.from_pretrained(
            name, revision=revision, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        missing = sorted(key for key in loading["missing_keys"] if not key.endswith(COMPUTED_BUFFERS))
        if missing:
            raise ValueError(
                f"the weights of {name} lack {len(missing)} tensors of ClapModel, the first is {missing[0]}; "
                "they would be random, so the encoder is refused: get a checkpoint that matches its config.json"
            )
        settings = ClapFeatureExtractor.from_pretrained(str(extractor), revision=revision).to_dict()
        return cls(
            model=model.to(device),
            tokenizer=AutoTokenizer.from_pretrained(str(tokenizer), revision=revision),
            mel=ClapMelConfig.from_extractor(settings),
            weights_sha256=sha256_of_files(safetensors_paths(name, revision=revision)),
        )

    @classmethod
    def _from_checkpoint(cls, file: Path, *, device: str | torch.device, revision: str | None) -> "ClapEncoder":
        model, mel = load_checkpoint(file)
        beside = any((file.parent / name).is_file() for name in TOKENIZER_FILES)
        source = str(file.parent) if beside else CHECKPOINT_TOKENIZER
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, revision=None if beside else revision)
            _check_tokenizer(tokenizer, vocabulary=model.config.text_config.vocab_size)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{file} holds no tokenizer, and that of {source} cannot be used ({error}); put the files of "
                f"{CHECKPOINT_TOKENIZER}'s tokenizer (tokenizer.json, tokenizer_config.json) beside the checkpoint"
            ) from error
        return cls(
            model=model.to(device),
            tokenizer=tokenizer,
            mel=mel,
            weights_sha256=sha256_of_files([file]),
            conversion=CONVERSION_VERSION,
        )

    @property
    def model(self) -> ClapModel:
        """The network, for whoever saves it elsewhere."""
        return self._model

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, likewise."""
        return self._tokenizer

    @property
    def mel(self) -> ClapMelConfig:
        """Settings of its log-mel, likewise."""
        return self._mel.config

    @property
    def text_tokens_at_most(self) -> int:
        """Tokens that are read of a text."""
        return int(self._text_tokens)

    @property
    def sample_rate_hz(self) -> int:
        """Rate that `embed_sound` expects."""
        return self._mel.config.sample_rate_hz

    @property
    def window_s(self) -> float:
        """Longest sound that `embed_sound` takes, and the length every sound is filled up to."""
        return self._mel.config.window_s

    @property
    def dimension(self) -> int:
        """Length of the vectors of `embed_sound` and `embed_text`."""
        return int(self._model.config.projection_dim)

    @property
    def text_width(self) -> int:
        """Width of the tokens of `text_tokens`."""
        return int(self._model.config.text_config.hidden_size)

    def identity(self) -> dict[str, str]:
        """What decides the vectors: equal identities give equal vectors on one machine."""
        mel = self._mel.config
        preprocessing = (
            f"clap_mel {PREPROCESSING_VERSION}: int16, {mel.padding} to {mel.window_s:g} s at {mel.sample_rate_hz} Hz, "
            f"hann {mel.n_fft}/{mel.hop_samples}, {mel.mel_bins} {mel.mel_scale} mels "
            f"{mel.f_min_hz:g}-{mel.f_max_hz:g} Hz; text {self._text_tokens} tokens"
        )
        return {
            "class": type(self).__name__,
            "weights_sha256": self._weights_sha256,
            "tokenizer_sha256": self._tokenizer_sha256,
            "preprocessing": preprocessing,
            **self._conversion,
        }

    @torch.no_grad()
    def embed_sound(self, wave_BT: Tensor) -> Tensor:
        """Embeds sounds.

        Args:
            wave_BT: float32 (B, T) at `sample_rate_hz`, full scale 1, at most `window_s` long.

        Returns:
            float32 (B, dimension) on the encoder's device, length 1.

        Raises:
            ValueError: not (B, T), empty, too long, or not finite.
        """
        wave_BT = wave_BT.to(device=self._model.device, dtype=torch.float32)
        if not bool(wave_BT.isfinite().all()):
            raise ValueError("the sound holds samples that are not finite; its embedding would be too: set it aside")
        mel_BFM = self._mel(int16_round_trip(wave_BT))
        at_once = SOUNDS_AT_ONCE_CPU if mel_BFM.device.type == "cpu" else len(mel_BFM)
        return torch.cat([self._vectors(part_BFM) for part_BFM in mel_BFM.split(at_once)])

    def _vectors(self, mel_BFM: Tensor) -> Tensor:
        # A model with fusion reads four spectrograms; for sounds within one window all are the same.
        views = 4 if self._model.config.audio_config.enable_fusion else 1
        mel_BVFM = mel_BFM[:, None].expand(-1, views, -1, -1)
        is_longer_B1 = torch.zeros(mel_BFM.shape[0], 1, dtype=torch.bool, device=mel_BFM.device)
        # `pooler_output` is projected and normalised already.
        vector_BD = self._model.get_audio_features(input_features=mel_BVFM, is_longer=is_longer_B1).pooler_output
        return torch.as_tensor(vector_BD)

    @torch.no_grad()
    def embed_text(self, texts: list[str]) -> Tensor:
        """Embeds texts.

        Args:
            texts: at least one; what is beyond 77 tokens is cut.

        Returns:
            float32 (B, dimension) on the encoder's device, length 1.

        Raises:
            ValueError: no text.
        """
        vector_BD = self._model.get_text_features(**self._tokens(texts)).pooler_output
        return torch.as_tensor(vector_BD)

    @torch.no_grad()
    def text_tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Gives the last hidden states of the text tower, a condition for a generator.

        Args:
            texts: at least one; what is beyond 77 tokens is cut.

        Returns:
            hidden (B, L, text_width) float32, zero where there is no token, and mask (B, L) bool, true at tokens.

        Raises:
            ValueError: no text.
        """
        tokens = self._tokens(texts)
        mask_BL = tokens["attention_mask"].bool()
        hidden_BLW = self._model.text_model(**tokens).last_hidden_state
        return hidden_BLW * mask_BL[..., None], mask_BL

    def _tokens(self, texts: list[str]) -> dict[str, Tensor]:
        if not texts:
            raise ValueError("there is no text to embed; give a list of at least one string")
        batch = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._text_tokens, return_tensors="pt"
        ).to(self._model.device)
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def _check_tokenizer(tokenizer: Any, *, vocabulary: int) -> None:
    known = len(tokenizer)
    if known <= FALLBACK_TOKENS or known > vocabulary:
        raise ValueError(
            f"the tokenizer knows {known} tokens and the network {vocabulary}: it is not the one it was trained with "
            "(its files are probably missing beside the weights); get the whole model again"
        )
