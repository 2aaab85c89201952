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
from transformers import AutoTokenizer

from models.encoders.pe_av import WINDOW_S, PeAvParts

TEXT_TOKENS = 512
"""Longer texts are cut. Source: ours; a caption has fewer than 100."""

# Measured with transformers 5.23: a tokenizer whose files are missing may load and know hardly any tokens.
FALLBACK_TOKENS = 5

Of = Literal["sound", "picture", "both"]
OF: tuple[Of, ...] = ("sound", "picture", "both")
"""What a vector is of, and what a text's vector is compared with."""


class PeAvEncoder:
    """A frozen PE-AV. Make one with `from_pretrained`.

    Args:
        parts: what it is made of.
        tokenizer: that of its text tower.

    Raises:
        ValueError: the tokenizer does not belong to the network.
    """

    window_s = WINDOW_S

    def __init__(self, parts: PeAvParts, tokenizer: Any) -> None:
        known, vocabulary = len(tokenizer), parts.model.config.text_config.vocab_size
        if known <= FALLBACK_TOKENS or known > vocabulary:
            raise ValueError(
                f"the tokenizer knows {known} tokens and the network {vocabulary}: it is not the one it was trained "
                "with (its files are probably missing beside the weights); get the whole model again"
            )
        self._parts, self._model, self._tokenizer = parts, parts.model, tokenizer
        # The text is read at its first token, so padding must stand behind.
        self._tokenizer.padding_side = "right"
        self.sample_rate_hz = parts.rate_hz
        """Rate that it expects."""
        self.frames, self.frame_size_px = parts.picture.frames, parts.picture.side_px
        """Frames that it looks at, and their side, px."""
        self.dimension = int(parts.model.config.text_config.hidden_size)
        """Length of its vectors."""

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
    ) -> Self:
        """Loads a PE-AV from a folder or by its name on the Hub; as `PeAvParts.load`.

        Raises:
            ValueError: the weights or the tokenizer do not belong to the configuration.
        """
        name = str(name_or_path)
        parts = PeAvParts.load(name, device=device, revision=revision)
        return cls(parts, AutoTokenizer.from_pretrained(name, revision=revision))

    def identity(self) -> dict[str, Any]:
        """What decides the vectors: equal identities give equal vectors on one machine."""
        return self._parts.identity(self)

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
        found = audio.audio_encoder(input_values=self._parts.sounds(wave_BT))
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
        found = video.video_encoder(pixel_values_videos=self._parts.pictures(frames_BNSSC))
        return _unit(video.video_head(found.pooler_output))

    @torch.inference_mode()
    def embed_both(self, wave_BT: Tensor, frames_BNSSC: Tensor) -> Tensor:
        """Embeds sounds together with their pictures; see `embed_sound` and `embed_picture`."""
        found = self._model.get_audio_video_embeds(
            input_values=self._parts.sounds(wave_BT),
            pixel_values_videos=self._parts.pictures(frames_BNSSC),
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
