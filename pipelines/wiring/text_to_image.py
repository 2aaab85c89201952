"""Frozen models of AudioToken: text-to-image models, also as the stage `encode_pictures` wants them, and BEATs."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curation.dataset import Dataset
from curation.encode_pictures import EncodePictures
from models.model_folder import RUN_MODEL
from pipelines.wiring.devices import device_name, load_quietly, loading

if TYPE_CHECKING:
    from models.audiotoken.generate import FrozenSources
    from models.audiotoken.text_to_image import TextToImage
    from models.encoders.beats import Beats


@dataclass(frozen=True, slots=True)
class NumpyPictures:
    """The autoencoder of a text-to-image model with NumPy arrays on both sides.

    Args:
        model: The whole model; only its autoencoder works here.
    """

    model: "TextToImage"

    @property
    def side_px(self) -> int:
        """Side of the pictures, px."""
        return self.model.picture_side_px

    def encode_picture(self, picture_HW3: np.ndarray) -> np.ndarray:
        """Mean and spread of one picture's latents, (2, Z, h, w); one by one, so that its company changes no bit."""
        import torch

        mean, spread = self.model.latent_moments(torch.from_numpy(picture_HW3)[None])
        return torch.cat([mean, spread]).float().cpu().numpy()

    def identity(self) -> dict[str, Any]:
        """What decides the latents: the autoencoder, and the side of the pictures."""
        return {"vae_sha256": self.model.identity()["vae_sha256"], "side_px": self.side_px}


def frozen_sources(pictures: str, listener: str) -> "FrozenSources":
    """Where the frozen models are, each by its own folder, by that of the run that made it, or by name."""
    from models.audiotoken.generate import FrozenSources

    return FrozenSources(pictures=_inside(pictures), listener=_inside(listener))


def load_text_to_image(name_or_path: str, device: str | None = None) -> "TextToImage":
    """A text-to-image model, on the GPU where there is one.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    from models.audiotoken.text_to_image import TextToImage

    quiet()
    with loading("text-to-image model", name_or_path):
        return TextToImage.from_pretrained(_inside(name_or_path), device=device or device_name())


def load_beats(name_or_path: str, device: str | None = None) -> "Beats":
    """A BEATs, on the GPU where there is one.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    from models.encoders.beats import Beats

    with loading("BEATs", name_or_path):
        return Beats.from_pretrained(_inside(name_or_path), device=device or device_name())


def encode_pictures_stage(
    dataset: Dataset, pictures: str, model: "TextToImage", *, rate_hz: float, called: str
) -> EncodePictures:
    """The stage `encode_pictures` with the autoencoder of a text-to-image model.

    Args:
        dataset: The dataset.
        pictures: Where workers load the model from.
        model: The same, for its identity.
        rate_hz: Pictures a second.
        called: Name of the latents.
    """
    return EncodePictures(
        encoder=NumpyPictures(model).identity(),
        rate_hz=rate_hz,
        build=partial(_numpy_pictures, pictures),
        media=dataset.media,
        blobs=dataset.root("latents"),
        called=called,
    )


def quiet() -> None:
    """Have transformers and diffusers load and save without a bar for each part, which takes a moment."""
    from diffusers.utils import logging as of_diffusers

    load_quietly()
    of_diffusers.disable_progress_bar()


def _numpy_pictures(name_or_path: str) -> NumpyPictures:
    return NumpyPictures(load_text_to_image(name_or_path))


def _inside(name_or_path: str) -> str:
    """The model of a run; anything else is what it is."""
    inside = Path(name_or_path) / RUN_MODEL
    return str(inside) if inside.is_dir() else name_or_path
