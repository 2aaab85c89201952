"""Codecs as the stage `encode` wants them."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from curation.dataset import Dataset
from curation.encode import Encode
from pipelines.wiring.devices import device_name, loading
from pipelines.wiring.hub import give_up_without_network

if TYPE_CHECKING:
    from models.codecs.codec import Codec


@dataclass(frozen=True, slots=True)
class NumpyCodec:
    """A codec as the stage `encode` wants it.

    Args:
        codec: The codec.
        device: Where it computes.
    """

    codec: "Codec"
    device: str = "cpu"

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""
        return self.codec.sample_rate_hz

    @property
    def channels(self) -> int:
        """Channels that it wants."""
        return self.codec.channels

    def encode(self, wave_CT: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(C, T) float32 -> mean and std of its latents, (F, D) float32; no std where they are certain."""
        import torch

        with torch.no_grad():
            mean, std = self.codec.encode_moments(torch.from_numpy(wave_CT)[None].to(self.device))
        return mean[0].cpu().numpy(), None if std is None else std[0].cpu().numpy()


def load_numpy_codec(name_or_path: str, device: str | None = None) -> NumpyCodec:
    """A codec from a folder or the Hub.

    Args:
        name_or_path: Which one.
        device: Where it computes; None: on the GPU where there is one.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    from models.codecs.codec import load_codec

    device = device or device_name()
    give_up_without_network()
    with loading("codec", name_or_path):
        return NumpyCodec(load_codec(name_or_path, device=device), device)


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
