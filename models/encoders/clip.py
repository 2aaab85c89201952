"""CLIP as a frozen, deterministic encoder of pictures and of texts in one space.

It loads whatever `CLIPModel` of transformers does, as `openai/clip-vit-base-patch32`. Pictures are prepared here, as
CLIP's own processor does but for one level of 255, so that neither torchvision nor Pillow is needed.

Shapes: B pictures or texts, S side of a prepared picture, D numbers of a vector.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.weights import safetensors_paths, sha256_of_files

PREPROCESSING_VERSION = 1
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the channels. Source: `preprocessor_config.json` of openai/clip-vit-base-patch32."""


class ClipEncoder:
    """A frozen CLIP. Make one with `from_pretrained`."""

    def __init__(self, model: Any, tokenizer: Any, *, weights_sha256: str) -> None:
        """Takes a loaded `CLIPModel`, its tokenizer, and the hex digest of the weights."""
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self._weights_sha256 = weights_sha256

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
    ) -> Self:
        """Loads a folder or a model of the Hub; safetensors only.

        Raises:
            OSError: Files are missing.
            ValueError: The tokenizer is an empty one.
        """
        from transformers import CLIPModel, CLIPTokenizer

        name = str(name_or_path)
        tokenizer = CLIPTokenizer.from_pretrained(name, revision=revision or "main")
        if len(tokenizer) < 10:  # what comes of a name that is not in the cache, without an error
            raise ValueError(f"{name} has a tokenizer of {len(tokenizer)} tokens: its files are missing")
        model = CLIPModel.from_pretrained(name, revision=revision or "main", use_safetensors=True, dtype=torch.float32)
        digest = sha256_of_files(safetensors_paths(name, revision=revision))
        return cls(model.to(device), tokenizer, weights_sha256=digest)

    @property
    def side_px(self) -> int:
        """Side of the pictures that its network sees, px."""
        return int(self.model.config.vision_config.image_size)

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.model.config.projection_dim)

    def identity(self) -> dict[str, Any]:
        """What determines its vectors."""
        return {"class": "ClipEncoder", "weights_sha256": self._weights_sha256, "preprocessing": PREPROCESSING_VERSION}

    def prepared(self, picture_HW3: npt.NDArray[np.uint8]) -> Tensor:
        """A picture as the network sees it, float32 (3, S, S): shorter side to S (bicubic), the middle, standardised.

        Raises:
            ValueError: It is not uint8 (H, W, 3).
        """
        if picture_HW3.dtype != np.uint8 or picture_HW3.ndim != 3 or picture_HW3.shape[2] != 3:
            raise ValueError(f"a picture is uint8 (H, W, 3), not {picture_HW3.dtype} {picture_HW3.shape}")
        height, width = picture_HW3.shape[:2]
        side, shorter = self.side_px, min(height, width)
        size = int(side * height / shorter), int(side * width / shorter)
        picture_3HW = torch.tensor(picture_HW3).permute(2, 0, 1)
        whole_3HW = nn.functional.interpolate(picture_3HW[None], size, mode="bicubic", antialias=True)[0]
        top, left = (whole_3HW.shape[1] - side) // 2, (whole_3HW.shape[2] - side) // 2
        middle_3SS = whole_3HW[:, top : top + side, left : left + side].float() / 255
        mean, deviation = (torch.tensor(one)[:, None, None] for one in (MEAN, DEVIATION))
        return (middle_3SS - mean) / deviation

    @torch.no_grad()
    def embed_picture(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        """Pictures of any sizes, uint8 (H, W, 3) -> float32 (B, D) of norm 1."""
        pixels_B3SS = torch.stack([self.prepared(picture) for picture in pictures]).to(self.model.device)
        found = self.model.vision_model(pixel_values=pixels_B3SS).pooler_output
        return torch.nn.functional.normalize(self.model.visual_projection(found), dim=-1)

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> float32 (B, D) of norm 1; longer ones are cut."""
        tokens = self.tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
        found = self.model.text_model(
            input_ids=tokens.input_ids.to(self.model.device),
            attention_mask=tokens.attention_mask.to(self.model.device),
        ).pooler_output
        return torch.nn.functional.normalize(self.model.text_projection(found), dim=-1)
