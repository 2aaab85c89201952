"""What every codec offers, and how one is loaded without knowing its kind.

Shapes: B sounds, C channels, T samples, F latent frames, D latent channels.
"""

import json
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from transformers.utils import cached_file

from models.codecs.closed_form import CONFIG_FILE, MdctPca
from models.codecs.mel_noise import FORMAT, MelNoise
from models.codecs.mel_vae import VAE_FOLDER, VOCODER_FOLDER, MelVaeCodec
from models.codecs.oobleck import OobleckCodec
from models.model_folder import RUN_MODEL


@runtime_checkable
class Codec(Protocol):
    """Sounds to latents and back."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""
        ...

    @property
    def channels(self) -> int:
        """Channels of the sounds."""
        ...

    @property
    def hop_samples(self) -> int:
        """Samples of one latent frame."""
        ...

    @property
    def latent_channels(self) -> int:
        """Latent channels."""
        ...

    @property
    def latent_rate_hz(self) -> float:
        """Latent frames a second."""
        ...

    def encode(self, wave_BCT: Tensor) -> Tensor:
        """Float32 (B, C, T) to (B, F, D), F = T / hop rounded up."""
        ...

    def encode_moments(self, wave_BCT: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and standard deviation of the latents, each as `encode` has them; None where they are certain."""
        ...

    def decode(self, latents_BFD: Tensor) -> Tensor:
        """Float32 (B, F, D) to (B, C, F x hop)."""
        ...

    def save(self, folder: str | Path) -> Path:
        """Writes what `load_codec` reads into the folder, made if need be, and returns it."""
        ...

    def identity(self) -> dict[str, str]:
        """What decides the latents, for naming results."""
        ...


def load_codec(
    folder_or_name: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None, subfolder: str = ""
) -> Codec:
    """Loads a codec by what lies in its folder, or under its name on the Hub.

    Args:
        folder_or_name: `codec.json` in it makes a closed-form codec, of waves or of mel spectrograms; `vae` and
            `vocoder` one of mel spectrograms, as in AudioLDM's pipelines; all else is an `AutoencoderOobleck`. The
            folder of a run stands for the `model` in it.
        device: where it computes.
        revision: branch, tag or commit on the Hub.
        subfolder: folder below it that holds an autoencoder, for example `vae`.

    Raises:
        FileNotFoundError: a folder holds no codec.
        OSError: a name is not on the Hub.
    """
    folder = Path(folder_or_name)
    if (folder / RUN_MODEL).is_dir():
        folder = folder / RUN_MODEL
        folder_or_name = folder
    if (folder / CONFIG_FILE).is_file():
        told = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        kind = MelNoise if told.get("format") == FORMAT else MdctPca
        return kind.from_pretrained(folder, device=device)
    if not subfolder and all(_has_config(folder_or_name, part, revision) for part in (VAE_FOLDER, VOCODER_FOLDER)):
        return MelVaeCodec.from_pretrained(folder_or_name, device=device, revision=revision)
    if folder.is_dir() and not (folder / subfolder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds neither {CONFIG_FILE} (a closed-form codec) nor {Path(subfolder) / 'config.json'} (an "
            f"autoencoder) nor {VAE_FOLDER} and {VOCODER_FOLDER} (one of mel spectrograms); name the folder that a "
            "codec was saved to"
        )
    return OobleckCodec.from_pretrained(folder_or_name, subfolder=subfolder, device=device, revision=revision)


def _has_config(folder_or_name: str | Path, part: str, revision: str | None) -> bool:
    """Whether a part of a pipeline lies in a folder, or under a name on the Hub as far as that can be asked."""
    if Path(folder_or_name).is_dir():
        return (Path(folder_or_name) / part / "config.json").is_file()
    found = cached_file(
        str(folder_or_name),
        f"{part}/config.json",
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return found is not None
