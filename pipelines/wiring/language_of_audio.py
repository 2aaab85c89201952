"""AudioMAE as the stage `encode_sound` wants it: the language of audio of a clip's windows."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curation.dataset import Dataset
from curation.encode_sound import EncodeSound
from curation.errors import ArgumentError
from pipelines.wiring.devices import device_name, loading
from pipelines.wiring.hub import give_up_without_network

if TYPE_CHECKING:
    from models.encoders.audiomae import AudioMae

LOA_FACTOR = 8
"""Of sounds and music; speech has 1. Source: the published settings of AudioLDM 2; `models.encoders.audiomae` says it
too, which is not imported for a command's options."""


@dataclass(frozen=True, slots=True)
class NumpyListener:
    """An AudioMAE with NumPy arrays on its far side.

    Args:
        audiomae: The listener.
        factor: Of the language of audio: 8 for sounds and music, 1 for speech.
    """

    audiomae: "AudioMae"
    factor: int = LOA_FACTOR

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""
        return self.audiomae.sample_rate_hz

    def hear(self, wave_T: np.ndarray) -> np.ndarray:
        """The language of audio of one window: (T,) float32 -> (L, W) float32."""
        import torch

        loa_BLW = self.audiomae.language_of_audio(torch.from_numpy(wave_T)[None], factor=self.factor)
        return np.asarray(loa_BLW[0].float().cpu().numpy())


def load_audiomae(name_or_path: str, device: str | None = None) -> "AudioMae":
    """An AudioMAE from a run of `audiomae-tiny` or `-base`, a file, a folder or the Hub.

    Args:
        name_or_path: Which one.
        device: Where it computes; None: on the GPU where there is one.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    from models.encoders.audiomae import AudioMae

    of_run = Path(name_or_path) / "model"
    give_up_without_network()
    with loading("AudioMAE", name_or_path):
        return AudioMae.from_pretrained(of_run if of_run.is_dir() else name_or_path, device=device or device_name())


def load_numpy_listener(name_or_path: str, factor: int) -> NumpyListener:
    """An AudioMAE as the stage wants it; see `load_audiomae`."""
    return NumpyListener(load_audiomae(name_or_path), factor)


def heard_s(audiomae: "AudioMae") -> float:
    """What an AudioMAE hears at once, s: 10.24 of the published one, whose last frame ends somewhat later."""
    fbank = audiomae.config.fbank
    return audiomae.config.frames * fbank.hop_samples / fbank.sample_rate_hz


def encode_sound_stage(
    dataset: Dataset, listener: str, *, window_s: float | None = None, factor: int = LOA_FACTOR, called: str
) -> EncodeSound:
    """The stage `encode_sound` with an AudioMAE.

    Args:
        dataset: The dataset.
        listener: An AudioMAE by run, file, folder or name.
        window_s: Length of a window, s; None: the longest that it can hear.
        factor: Of the language of audio.
        called: Name of the tokens.

    Raises:
        ArgumentError: It cannot be loaded, or hears no windows as long.
    """
    audiomae = load_audiomae(listener, "cpu")
    window_s = heard_s(audiomae) if window_s is None else window_s
    if window_s * audiomae.sample_rate_hz > audiomae.longest_samples:
        raise ArgumentError(f"{listener} hears at most {heard_s(audiomae):g} s at once, not {window_s:g} s")
    if factor < 1:
        raise ArgumentError(f"the factor of the language of audio must be at least 1, not {factor}")
    return EncodeSound(
        listener={**audiomae.identity(), "factor": factor},
        window_s=window_s,
        build=partial(load_numpy_listener, listener, factor),
        media=dataset.media,
        blobs=dataset.root("latents"),
        called=called,
    )
