"""Stable Audio's waveform autoencoder, as diffusers loads it, behind the codec interface; not trained here.

Shapes: B sounds, C channels, T samples, F latent frames, D latent channels.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.weights import safetensors_paths, sha256_of_files

DIFFUSERS_STEM = "diffusion_pytorch_model"


class OobleckCodec(nn.Module):
    """A frozen `AutoencoderOobleck`. Latents are the mean of the encoder's distribution, as it is."""

    def __init__(self, network: Any, *, weights_sha256: str) -> None:
        """Takes a loaded `AutoencoderOobleck` and the hex digest of the files it came from."""
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self._weights_sha256 = weights_sha256

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        subfolder: str = "",
        device: str | torch.device = "cpu",
        revision: str | None = None,
    ) -> "OobleckCodec":
        """Loads from a folder written by `save_pretrained` or by a name on the Hub; safetensors only.

        Args:
            name_or_path: for example `stabilityai/stable-audio-open-1.0`, or a folder.
            subfolder: folder below it that holds the autoencoder, there `vae`.
            device: where it computes.
            revision: branch, tag or commit on the Hub.

        Raises:
            ImportError: diffusers is not installed.
            OSError: files are missing.
        """
        try:
            from diffusers import AutoencoderOobleck
        except ImportError as error:
            raise ImportError("OobleckCodec needs diffusers: pip install 'diffusers>=0.38'") from error
        with warnings.catch_warnings():  # of how diffusers writes its layers
            warnings.filterwarnings("ignore", message=".*weight_norm", category=FutureWarning)
            network = AutoencoderOobleck.from_pretrained(
                str(name_or_path),
                subfolder=subfolder or None,
                revision=revision,
                use_safetensors=True,
                torch_dtype=torch.float32,
                low_cpu_mem_usage=False,  # else it asks for another package
            )
        paths = safetensors_paths(name_or_path, stem=DIFFUSERS_STEM, subfolder=subfolder, revision=revision)
        return cls(network.to(device), weights_sha256=sha256_of_files(paths))

    def save(self, folder: str | Path) -> Path:
        """Writes the autoencoder as diffusers does into the folder, made if need be, and returns it."""
        self.network.save_pretrained(str(folder), safe_serialization=True)
        return Path(folder)

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""
        return int(self.network.config.sampling_rate)

    @property
    def channels(self) -> int:
        """Channels of the sounds."""
        return int(self.network.config.audio_channels)

    @property
    def hop_samples(self) -> int:
        """Samples of one latent frame."""
        return int(self.network.hop_length)

    @property
    def latent_channels(self) -> int:
        """Latent channels."""
        return int(self.network.config.decoder_input_channels)

    @property
    def latent_rate_hz(self) -> float:
        """Latent frames a second."""
        return self.sample_rate_hz / self.hop_samples

    def encode(self, wave_BCT: Tensor) -> Tensor:
        """Turns sounds into latents.

        Args:
            wave_BCT: float32 (B, C, T), T at least 1; an unfinished last frame is filled with zeros.

        Returns:
            float32 (B, F, D), F = T / hop rounded up; not standardised.

        Raises:
            ValueError: wrong shape.
        """
        return self.encode_moments(wave_BCT)[0]

    def encode_moments(self, wave_BCT: Tensor) -> tuple[Tensor, Tensor]:
        """Turns sounds into the mean and the standard deviation of their latents; both as `encode` gives them.

        Raises:
            ValueError: wrong shape.
        """
        if wave_BCT.ndim != 3 or wave_BCT.shape[1] != self.channels or wave_BCT.shape[2] < 1:
            raise ValueError(f"encode needs sounds as (B, {self.channels}, T), got {tuple(wave_BCT.shape)}")
        filled_BCT = nn.functional.pad(wave_BCT, (0, -wave_BCT.shape[2] % self.hop_samples))
        latents = self.network.encode(filled_BCT).latent_dist
        return latents.mean.transpose(1, 2), latents.std.transpose(1, 2)

    def decode(self, latents_BFD: Tensor) -> Tensor:
        """Turns latents into sounds.

        Args:
            latents_BFD: float32 (B, F, D), F at least 1.

        Returns:
            float32 (B, C, F x hop); full scale is 1, values beyond are not cut.

        Raises:
            ValueError: wrong shape.
        """
        if latents_BFD.ndim != 3 or latents_BFD.shape[2] != self.latent_channels or latents_BFD.shape[1] < 1:
            raise ValueError(f"decode needs latents as (B, F, {self.latent_channels}), got {tuple(latents_BFD.shape)}")
        return torch.as_tensor(self.network.decode(latents_BFD.transpose(1, 2)).sample)

    def identity(self) -> dict[str, str]:
        """What decides the latents: equal identities give equal latents on one machine."""
        settings = {name: value for name, value in self.network.config.items() if not name.startswith("_")}
        return {
            "class": type(self).__name__,
            "weights_sha256": self._weights_sha256,
            "config": json.dumps(settings, sort_keys=True, default=str),
        }
