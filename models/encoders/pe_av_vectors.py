"""PE-AV as an embedder: sounds, pictures, both together, and texts as unit vectors of one space.

The network has one vector for a sound, one for its picture and one for both, and a text has a vector for each of the
three, by a head of its own: that of the text which is compared with sounds, with pictures, or with both. The published
scores are inner products; here all vectors have length 1, so what is compared are cosines.

Shapes: B clips, T samples, N frames, S side of a frame, D embedding.
"""

from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PeAudioFeatureExtractor, PeAudioVideoModel

from models.encoders.pe_av import WINDOW_S, PictureConfig, colours, filled, load_network, video_processor
from models.weights import safetensors_paths, sha256_of_files

PREPROCESSING_VERSION = 1

TEXT_TOKENS = 512
"""Longer texts are cut. Source: ours; a caption has fewer than 100."""

# Measured with transformers 5.23: a tokenizer whose files are missing may load and know hardly any tokens.
FALLBACK_TOKENS = 5

Of = Literal["sound", "picture", "both"]
OF: tuple[Of, ...] = ("sound", "picture", "both")
"""What a vector is of, and what a text's vector is compared with."""


class PeAvEncoder:
    """A frozen PE-AV. Make one with `from_pretrained`."""

    window_s = WINDOW_S

    def __init__(
        self,
        model: PeAudioVideoModel,
        sound: PeAudioFeatureExtractor,
        picture: PictureConfig,
        tokenizer: Any,
        *,
        weights_sha256: str,
    ) -> None:
        """Takes the loaded parts.

        Args:
            model: the network; it is put into evaluation mode on the device it is on.
            sound: rate of the sounds, and the step that their length is filled up to.
            picture: how frames are made.
            tokenizer: that of its text tower.
            weights_sha256: hex digest of the files the network came from.

        Raises:
            ValueError: the tokenizer does not belong to the network.
        """
        known, vocabulary = len(tokenizer), model.config.text_config.vocab_size
        if known <= FALLBACK_TOKENS or known > vocabulary:
            raise ValueError(
                f"the tokenizer knows {known} tokens and the network {vocabulary}: it is not the one it was trained "
                "with (its files are probably missing beside the weights); get the whole model again"
            )
        self._model = model.eval().requires_grad_(False)
        self._rate_hz, self._step = int(sound.sampling_rate), int(sound.hop_length)
        self._picture, self._tokenizer = picture, tokenizer
        # The text is read at its first token, so padding must stand behind.
        self._tokenizer.padding_side = "right"
        self._weights_sha256 = weights_sha256

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
    ) -> Self:
        """Loads a PE-AV from a folder or by its name on the Hub; safetensors only.

        Args:
            name_or_path: for example `facebook/pe-av-base-16-frame`, or a folder.
            device: where it computes.
            revision: branch, tag or commit on the Hub.

        Raises:
            ImportError: timm or torchvision are not installed; says how.
            OSError: files are missing.
            ValueError: the weights or the tokenizer do not belong to the configuration.
        """
        name = str(name_or_path)
        return cls(
            load_network(name, revision).to(device),
            PeAudioFeatureExtractor.from_pretrained(name, revision=revision),
            PictureConfig.of_processor(video_processor(name, revision)),
            AutoTokenizer.from_pretrained(name, revision=revision),
            weights_sha256=sha256_of_files(safetensors_paths(name, revision=revision)),
        )

    @property
    def sample_rate_hz(self) -> int:
        """Rate that it expects."""
        return self._rate_hz

    @property
    def frames(self) -> int:
        """Frames that it looks at."""
        return self._picture.frames

    @property
    def frame_size_px(self) -> int:
        """Side of the frames, px."""
        return self._picture.side_px

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return int(self._model.config.text_config.hidden_size)

    def identity(self) -> dict[str, Any]:
        """What decides the vectors: equal identities give equal vectors on one machine."""
        picture = self._picture
        return {
            "class": "PeAvEncoder",
            "weights_sha256": self._weights_sha256,
            "frames": [picture.frames, picture.side_px, list(picture.mean), list(picture.deviation)],
            "preprocessing": PREPROCESSING_VERSION,
        }

    @torch.inference_mode()
    def embed_sound(self, wave_BT: Tensor) -> Tensor:
        """Embeds sounds.

        Args:
            wave_BT: float32 (B, T) at `sample_rate_hz`, full scale 1, at least one sample.

        Returns:
            float32 (B, dimension), length 1.

        Raises:
            ValueError: not (B, T), or empty.
        """
        audio = self._model.audio_model
        found = audio.audio_encoder(input_values=filled(wave_BT, self._step, self._model.device))
        return _unit(audio.audio_head(found.pooler_output))

    @torch.inference_mode()
    def embed_picture(self, frames_BNSSC: Tensor) -> Tensor:
        """Embeds pictures.

        Args:
            frames_BNSSC: uint8 (B, N, S, S, 3), RGB, of `frame_size_px`.

        Returns:
            float32 (B, dimension), length 1.

        Raises:
            ValueError: frames of another size, or none.
        """
        video = self._model.video_model
        found = video.video_encoder(pixel_values_videos=colours(frames_BNSSC, self._picture, self._model.device))
        return _unit(video.video_head(found.pooler_output))

    @torch.inference_mode()
    def embed_both(self, wave_BT: Tensor, frames_BNSSC: Tensor) -> Tensor:
        """Embeds sounds together with their pictures; see `embed_sound` and `embed_picture`."""
        found = self._model.get_audio_video_embeds(
            input_values=filled(wave_BT, self._step, self._model.device),
            pixel_values_videos=colours(frames_BNSSC, self._picture, self._model.device),
        )
        return _unit(found.audio_video_embeds)

    @torch.inference_mode()
    def embed_text(self, texts: list[str], of: Of = "sound") -> Tensor:
        """Embeds texts.

        Args:
            texts: at least one; what is beyond 512 tokens is cut.
            of: what the text's vector is to be compared with.

        Returns:
            float32 (B, dimension), length 1.

        Raises:
            ValueError: no text.
        """
        if not texts:
            raise ValueError("there is no text to embed; give a list of at least one string")
        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=TEXT_TOKENS, return_tensors="pt")
        read = self._model.text_model(
            input_ids=batch["input_ids"].to(self._model.device),
            attention_mask=batch["attention_mask"].to(self._model.device),
            output_hidden_states=True,
        )
        return _unit(self._text_head(of)(read.hidden_states[-1][:, 0]))

    def _text_head(self, of: Of) -> nn.Module:
        heads: dict[Of, nn.Module] = {
            "sound": self._model.audio_model.text_audio_head,
            "picture": self._model.video_model.text_video_head,
            "both": self._model.text_audio_video_head,
        }
        return heads[of]


def _unit(vector_BD: Tensor) -> Tensor:
    return nn.functional.normalize(vector_BD.float(), dim=-1)
