"""Pretrained encoders of conditions, frozen: T5 for words, CLIP for pictures. Both load by name or from a folder.

They read files only in `from_pretrained`. Where an encoder came from, and how it is saved with a model, is
`encoder_source.py`'s. CLAP's text encoder is `models/encoders/clap.py`.

Legend: B batch, L text tokens, T width of the text, N pictures, P tokens of a picture, V their width.
"""

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from models.audiox.conditioning import evenly_spaced
from models.weights import safetensors_paths, sha256_of_files

T5_TOKENS = 128
"""Tokens that are kept of a text. Source: AudioX."""

PREPROCESSING_VERSION = 1
"""Of how pictures are prepared for CLIP; grows when that changes."""


class T5TextTokens:
    """T5's encoder. Source: Raffel et al. 2019, arXiv 1910.10683; AudioX uses T5-base and 128 tokens."""

    def __init__(self, model: Any, tokenizer: Any, most_tokens: int = T5_TOKENS) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.most_tokens = most_tokens

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, *, device: torch.device | str = "cpu") -> Self:
        """Loads the encoder and its tokenizer.

        Raises:
            ValueError: if the tokenizer came without its vocabulary (transformers then makes an empty one, silently).
        """
        from transformers import AutoTokenizer, T5EncoderModel

        tokenizer = AutoTokenizer.from_pretrained(name_or_path)
        model = T5EncoderModel.from_pretrained(name_or_path, use_safetensors=True)
        if len(tokenizer) < 32 <= model.config.vocab_size:
            raise ValueError(
                f"the tokenizer of {name_or_path} has {len(tokenizer)} tokens, its model {model.config.vocab_size}: "
                "the tokenizer's files are missing; give a folder or a name that has them"
            )
        return cls(model.to(device), tokenizer)

    @property
    def text_width(self) -> int:
        """T."""
        return int(self.model.config.d_model)

    @torch.no_grad()
    def text_tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Hidden states (B, L, T) float32 and a mask (B, L) bool; a text is cut at `most_tokens`."""
        given = self.tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=self.most_tokens)
        ids_BL = given["input_ids"].to(self.model.device)
        mask_BL = given["attention_mask"].to(self.model.device)
        hidden_BLT = self.model(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
        return hidden_BLT.float(), mask_BL.bool()


class ClipFrames:
    """CLIP's picture tokens. Source: Radford et al. 2021, arXiv 2103.00020; AudioX: ViT-B/32, 50 tokens a picture."""

    def __init__(self, model: Any, mean: tuple[float, ...], std: tuple[float, ...], pictures: int = 50) -> None:
        self.model = model.eval().requires_grad_(False)
        self.mean = mean
        self.std = std
        self.pictures = pictures

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, pictures: int = 50, device: torch.device | str = "cpu"
    ) -> Self:
        """Loads the vision tower, and the pixel statistics it was trained with."""
        from transformers import CLIPImageProcessor, CLIPVisionModel

        processor = CLIPImageProcessor.from_pretrained(name_or_path)
        model = CLIPVisionModel.from_pretrained(name_or_path, use_safetensors=True)
        return cls(model.to(device), tuple(processor.image_mean), tuple(processor.image_std), pictures)

    @staticmethod
    def identity_of(name_or_path: str | Path) -> dict[str, Any]:
        """What determines the tokens of a picture; the network is not loaded.

        Raises:
            OSError: Files are missing.
        """
        from transformers import CLIPImageProcessor

        processor = CLIPImageProcessor.from_pretrained(name_or_path)
        return {
            "class": "ClipFrames",
            "weights_sha256": sha256_of_files(safetensors_paths(name_or_path)),
            "mean": list(processor.image_mean),
            "std": list(processor.image_std),
            "preprocessing": PREPROCESSING_VERSION,
        }

    @property
    def frame_width(self) -> int:
        """V."""
        return int(self.model.config.hidden_size)

    @property
    def frame_patches(self) -> int:
        """P: the patches of a picture, and its class token."""
        config = self.model.config
        return int((config.image_size // config.patch_size) ** 2 + 1)

    @torch.no_grad()
    def frame_features(self, frames_BNHW3: Tensor) -> Tensor:
        """uint8 pictures (B, N, H, W, 3) to float32 tokens (B, at most `pictures`, P, V).

        Pictures are squeezed to the tower's square, not cropped: what sounds is often at the edge. Ours.
        """
        chosen = evenly_spaced(frames_BNHW3, self.pictures)
        side_px = self.model.config.image_size
        pixels = chosen.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        pixels = functional.interpolate(pixels, size=(side_px, side_px), mode="bicubic", antialias=True).clamp(0, 1)
        mean = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(3, 1, 1)
        hidden = self.model(pixel_values=((pixels - mean) / std)).last_hidden_state
        return hidden.float().unflatten(0, (-1, chosen.shape[1]))  # type: ignore[no-any-return]
