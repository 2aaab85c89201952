"""How well a codec gives sounds back: by their waves (SI-SDR) and as they are heard (mel distance).

The two disagree where phase is lost: noise that sounds the same has an SI-SDR far below 0 dB and a small mel distance.

Shapes: C channels, T samples, F frames, K bins, M mel bands.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

# Source: Kumar et al. 2023 (DAC), arXiv 2306.06546, section 3.5, and its code: window -> mel bands; a quarter apart.
MEL_BANDS = {32: 5, 64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}
# Source: the same code, -100 dB.
MAGNITUDE_FLOOR = 1e-5
# Ours: beyond it rounding decides.
LIMIT_DB = 100.0


class SoundCodec(Protocol):
    """What is measured: sounds to latents and back."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""
        ...

    def encode(self, wave_BCT: Tensor) -> Tensor:
        """Float32 (B, C, T) to latents."""
        ...

    def decode(self, latents_BFD: Tensor) -> Tensor:
        """Latents to (B, C, T or longer)."""
        ...


def si_sdr_db(made: Tensor, wanted: Tensor) -> float:
    """Scale-invariant signal-to-distortion ratio, dB, within -100 and 100.

    Source: Le Roux et al. 2019, arXiv 1811.02508, equation 4: the wanted sound is scaled to fit best, and compared with
    the rest. The mean is not removed, as there. Several channels count as one long sound.

    Args:
        made: Float (C, T).
        wanted: Float (C, T), not silent.

    Raises:
        ValueError: The shapes differ, or the wanted sound is silent or not finite.
    """
    one, other = _pair(made, wanted)
    target = (one @ other) / (other @ other) * other
    signal, rest = float(target @ target), float((one - target) @ (one - target))
    limit = 10 ** (LIMIT_DB / 10)
    if signal * limit <= rest:  # a silent one is as far as can be, too
        return -LIMIT_DB
    return LIMIT_DB if rest * limit <= signal else 10 * float(np.log10(signal / rest))


def mel_distance(made: Tensor, wanted: Tensor, sample_rate_hz: int) -> float:
    """Mean absolute difference of log10 mel magnitudes, summed over seven windows from 32 to 2048 samples.

    Source: Kumar et al. 2023 (DAC), arXiv 2306.06546, section 3.5: 5 to 320 bands of librosa's (slaney) scale and area
    up to half the rate, magnitudes of at least 1e-5. 0 for equal sounds; a gain of g dB, where nothing is at the floor,
    gives 7 g / 20.

    Args:
        made: Float (C, T).
        wanted: Float (C, T), more than 1024 samples.
        sample_rate_hz: Of both.

    Raises:
        ValueError: The shapes differ, or the sounds are too short or not finite.
    """
    if made.shape != wanted.shape or made.ndim != 2 or made.shape[1] <= max(MEL_BANDS) // 2:
        raise ValueError(
            f"sounds must both be (C, T) with T above {max(MEL_BANDS) // 2}, got {tuple(made.shape)} and "
            f"{tuple(wanted.shape)}"
        )
    if not (bool(made.isfinite().all()) and bool(wanted.isfinite().all())):
        raise ValueError("a sound has samples that are not finite")
    total = 0.0
    for window, bands in MEL_BANDS.items():
        filters_KM = _filters(window, bands, sample_rate_hz)
        one, other = (_log_mel(wave, window, filters_KM) for wave in (made, wanted))
        total += float((one - other).abs().mean())
    return total


def _log_mel(wave_CT: Tensor, window: int, filters_KM: Tensor) -> Tensor:
    hann = torch.hann_window(window, dtype=torch.float64)
    spectra = torch.stft(wave_CT.double().cpu(), window, window // 4, window=hann, return_complex=True)
    return (spectra.abs().transpose(1, 2) @ filters_KM).clamp_min(MAGNITUDE_FLOOR).log10()


@lru_cache(maxsize=32)
def _filters(window: int, bands: int, sample_rate_hz: int) -> Tensor:
    with warnings.catch_warnings():  # some of the narrowest bands hold no bin: they are equal in all sounds
        warnings.simplefilter("ignore")
        filters = mel_filter_bank(
            num_frequency_bins=window // 2 + 1,
            num_mel_filters=bands,
            min_frequency=0.0,
            max_frequency=sample_rate_hz / 2,
            sampling_rate=sample_rate_hz,
            norm="slaney",
            mel_scale="slaney",
        )
    return torch.from_numpy(np.asarray(filters, np.float64))


def _pair(made: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    if made.shape != wanted.shape or made.ndim != 2:
        raise ValueError(f"sounds must both be (C, T), got {tuple(made.shape)} and {tuple(wanted.shape)}")
    one, other = made.double().cpu().flatten(), wanted.double().cpu().flatten()
    if not (bool(one.isfinite().all()) and bool(other.isfinite().all())):
        raise ValueError("a sound has samples that are not finite")
    if not float(other @ other) > 0:
        raise ValueError("the wanted sound is silent: leave it out, no ratio to it exists")
    return one, other


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstruction:
    """How well a codec gives some sounds back.

    Attributes:
        si_sdr_db: Median over sounds, dB.
        mel_distance: Mean over sounds.
        sounds: How many were measured.
        silent: How many were left out, silent.
    """

    si_sdr_db: float
    mel_distance: float
    sounds: int
    silent: int


@torch.no_grad()
def reconstruction(codec: SoundCodec, waves: Iterable[Tensor], *, device: str | torch.device = "cpu") -> Reconstruction:
    """Measures a codec.

    Args:
        codec: On `device`.
        waves: Float32 (C, T) each, at its rate and with its channels; the end that does not fill a frame counts too.
        device: Where the codec computes.

    Raises:
        ValueError: All sounds are silent, or there are none.
    """
    ratios, distances, silent = [], [], 0
    for wave_CT in waves:
        if not bool(wave_CT.any()):
            silent += 1
            continue
        made_CT = codec.decode(codec.encode(wave_CT[None].to(device)))[0, :, : wave_CT.shape[1]].cpu()
        ratios.append(si_sdr_db(made_CT, wave_CT))
        distances.append(mel_distance(made_CT, wave_CT, codec.sample_rate_hz))
    if not ratios:
        raise ValueError(f"there is no sound to measure a codec on ({silent} silent ones)")
    return Reconstruction(
        si_sdr_db=float(np.median(ratios)),
        mel_distance=float(np.mean(distances)),
        sounds=len(ratios),
        silent=silent,
    )
