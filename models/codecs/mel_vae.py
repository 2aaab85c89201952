"""Sounds as latents of their mel spectrogram: AudioLDM's autoencoder and its HiFi-GAN behind the codec interface.

The autoencoder is diffusers' `AutoencoderKL`, the vocoder transformers' `SpeechT5HifiGan`, in the folders `vae` and
`vocoder` as AudioLDM's pipelines have them. The phase of a sound is lost: what comes back sounds like it, but its
samples are others. Not trained here (`mel_training.py`).

Shapes: B sounds, T samples, F latent frames, D latent channels, Z channels of the autoencoder, W its bins of frequency.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.codecs.mel import LogMel, LogMelConfig
from models.codecs.oobleck import DIFFUSERS_STEM
from models.weights import safetensors_paths, sha256_of_files

VAE_FOLDER, VOCODER_FOLDER = "vae", "vocoder"
# Source: AudioLDM's configuration; it stands in no file of its published folders.
N_FFT = 1024


class MelVaeCodec(nn.Module):
    """A frozen autoencoder of log-mel spectrograms and a vocoder.

    Latents are the mean of the encoder's distribution, as it is; those of all frequencies of a frame stand side by
    side: D = Z x W, 8 x 16 in AudioLDM 2, channel by channel.
    """

    def __init__(self, vae: Any, vocoder: Any, *, weights_sha256: str) -> None:
        """Takes a loaded `AutoencoderKL`, `SpeechT5HifiGan`, and the hex digest of the files they came from.

        Raises:
            ValueError: They do not fit each other.
        """
        super().__init__()
        self.vae = vae.eval().requires_grad_(False)
        self.vocoder = vocoder.eval().requires_grad_(False)
        self.mel = LogMel(mel_config_of(vocoder))
        if vae.config.in_channels != 1:
            raise ValueError(f"the autoencoder takes {vae.config.in_channels} channels, a spectrogram has 1")
        if self.mel.config.mel_bins % self._frames:
            raise ValueError(f"{self.mel.config.mel_bins} mel bands cannot be divided by {self._frames}")
        self._weights_sha256 = weights_sha256

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
    ) -> "MelVaeCodec":
        """Loads from a folder with `vae` and `vocoder`, or by a name on the Hub; safetensors only.

        Args:
            name_or_path: For example `cvssp/audioldm2`, or a folder.
            device: Where it computes.
            revision: Branch, tag or commit on the Hub.

        Raises:
            ImportError: diffusers is not installed.
            OSError: Files are missing.
        """
        from transformers import SpeechT5HifiGan

        try:
            from diffusers import AutoencoderKL
        except ImportError as error:
            raise ImportError("MelVaeCodec needs diffusers: pip install 'diffusers>=0.38'") from error
        vae = AutoencoderKL.from_pretrained(
            str(name_or_path),
            subfolder=VAE_FOLDER,
            revision=revision,
            use_safetensors=True,
            torch_dtype=torch.float32,
            low_cpu_mem_usage=False,  # else it asks for another package
        )
        vocoder = SpeechT5HifiGan.from_pretrained(
            str(name_or_path), subfolder=VOCODER_FOLDER, revision=revision or "main", use_safetensors=True
        )
        paths = [
            *safetensors_paths(name_or_path, stem=DIFFUSERS_STEM, subfolder=VAE_FOLDER, revision=revision),
            *safetensors_paths(name_or_path, stem="model", subfolder=VOCODER_FOLDER, revision=revision),
        ]
        return cls(vae, vocoder, weights_sha256=sha256_of_files(paths)).to(device)

    def save(self, folder: str | Path) -> Path:
        """Writes `vae` and `vocoder` as their libraries do into the folder, made if need be, and returns it."""
        folder = Path(folder)
        self.vae.save_pretrained(str(folder / VAE_FOLDER), safe_serialization=True)
        self.vocoder.save_pretrained(str(folder / VOCODER_FOLDER))
        return folder

    @property
    def _frames(self) -> int:
        """Mel frames of one latent frame, and bands of one of its bins."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def latent_bins(self) -> int:
        """Bins of frequency, W."""
        return self.mel.config.mel_bins // self._frames

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""
        return self.mel.config.sample_rate_hz

    @property
    def channels(self) -> int:
        """Channels of the sounds: 1."""
        return 1

    @property
    def hop_samples(self) -> int:
        """Samples of one latent frame."""
        return self.mel.config.hop_samples * self._frames

    @property
    def latent_channels(self) -> int:
        """Latent channels, those of all frequencies together."""
        return int(self.vae.config.latent_channels) * self.latent_bins

    @property
    def latent_rate_hz(self) -> float:
        """Latent frames a second."""
        return self.sample_rate_hz / self.hop_samples

    def encode(self, wave_BCT: Tensor) -> Tensor:
        """Turns sounds into latents.

        Args:
            wave_BCT: Float32 (B, 1, T), T at least 1; an unfinished last frame is filled with zeros.

        Returns:
            float32 (B, F, D), F = T / hop rounded up; not standardised.

        Raises:
            ValueError: Wrong shape.
        """
        return self.encode_moments(wave_BCT)[0]

    def encode_moments(self, wave_BCT: Tensor) -> tuple[Tensor, Tensor]:
        """Turns sounds into the mean and the standard deviation of their latents; both as `encode` gives them.

        Raises:
            ValueError: Wrong shape.
        """
        if wave_BCT.ndim != 3 or wave_BCT.shape[1] != 1 or wave_BCT.shape[2] < 1:
            raise ValueError(f"encode needs sounds as (B, 1, T), got {tuple(wave_BCT.shape)}")
        filled_BT = nn.functional.pad(wave_BCT[:, 0], (0, -wave_BCT.shape[2] % self.hop_samples))
        latents = self.vae.encode(self.mel(filled_BT)[:, None]).latent_dist
        return _side_by_side(latents.mean), _side_by_side(latents.std)

    def decode(self, latents_BFD: Tensor) -> Tensor:
        """Turns latents into sounds.

        Args:
            latents_BFD: Float32 (B, F, D), F at least 1.

        Returns:
            float32 (B, 1, F x hop), within full scale 1.

        Raises:
            ValueError: Wrong shape.
        """
        return voiced(self.vocoder, self.spectrogram(latents_BFD), self.mel.config.hop_samples)[:, None]

    def spectrogram(self, latents_BFD: Tensor) -> Tensor:
        """Turns latents into the log-mel spectrograms that the vocoder is given.

        Args:
            latents_BFD: Float32 (B, F, D), F at least 1.

        Returns:
            float32 (B, frames, bands).

        Raises:
            ValueError: Wrong shape.
        """
        if latents_BFD.ndim != 3 or latents_BFD.shape[2] != self.latent_channels or latents_BFD.shape[1] < 1:
            raise ValueError(f"decode needs latents as (B, F, {self.latent_channels}), got {tuple(latents_BFD.shape)}")
        latents_BZFW = latents_BFD.reshape(*latents_BFD.shape[:2], -1, self.latent_bins).transpose(1, 2)
        return torch.as_tensor(self.vae.decode(latents_BZFW).sample[:, 0])

    def identity(self) -> dict[str, str]:
        """What decides the latents: equal identities give equal latents on one machine."""
        settings = {name: value for name, value in self.vae.config.items() if not name.startswith("_")}
        mel = self.mel.config
        return {
            "class": type(self).__name__,
            "weights_sha256": self._weights_sha256,
            "config": json.dumps(settings, sort_keys=True, default=str),
            "mel": f"{mel.sample_rate_hz} Hz, {mel.n_fft}, {mel.hop_samples}, {mel.mel_bins} to {mel.f_max_hz:g} Hz",
        }


def mel_config_of(vocoder: Any) -> LogMelConfig:
    """The spectrogram that a vocoder speaks: its rate, hop and bands are in its configuration, to half the rate."""
    config = vocoder.config
    hop = 1
    for rate in config.upsample_rates:
        hop *= int(rate)
    return LogMelConfig(
        sample_rate_hz=config.sampling_rate,
        n_fft=N_FFT,
        hop_samples=hop,
        mel_bins=config.model_in_dim,
        f_max_hz=config.sampling_rate / 2,
    )


def voiced(vocoder: Any, mel_BFM: Tensor, hop_samples: int) -> Tensor:
    """The sounds of log-mel spectrograms (B, F, M), float (B, F x hop): what some kernels add at the end is cut."""
    return torch.as_tensor(vocoder(mel_BFM))[:, : mel_BFM.shape[1] * hop_samples]


def _side_by_side(latents_BZFW: Tensor) -> Tensor:
    """(B, Z, F, W) to (B, F, Z W)."""
    return latents_BZFW.transpose(1, 2).flatten(2)
