"""Kaldi's log-mel filter bank, in batches and on any device: what AudioMAE and BEATs listen to.

Source: Kaldi's `compute-fbank-feats`, as torchaudio's `compliance.kaldi.fbank` has it, without dither and with frames
that lie wholly within the sound: remove a frame's mean, x[n] - 0.97 x[n - 1], window, power spectrum of 512, mel bands,
logarithm.

Shapes: B sounds, T samples, F frames, S samples of a frame, M mel bands.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.encoders.kaldi_bands import kaldi_bands

FRAME_S, HOP_S = 0.025, 0.010
LOWEST_HZ, PREEMPHASIS, POWER_FLOOR = 20.0, 0.97, 1.1920928955078125e-07
"""Kaldi's defaults; the floor is the smallest step of a float32 at 1."""

POVEY_POWER = 0.85
"""Kaldi's own window is Hann's to this power."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KaldiFbankConfig:
    """Settings of the spectrogram.

    Attributes:
        window: `povey`, Kaldi's default, or `hann`; both are 0 at their first and last sample.
        full_scale: Sounds of full scale 1 are multiplied by this; Kaldi's own are 16-bit, so 32,768.
        mean, deviation: The logarithm becomes (log - mean) / (2 deviation).
        frames: Length that every spectrogram is brought to by frames whose logarithm is 0; None: as long as the sound.
        sample_rate_hz: Rate of the sounds.
        mel_bins: Number of mel bands, from 20 Hz to half the rate.
    """

    window: Literal["povey", "hann"]
    full_scale: float
    mean: float
    deviation: float
    frames: int | None = None
    sample_rate_hz: int = 16_000
    mel_bins: int = 128

    def __post_init__(self) -> None:
        if self.window not in ("povey", "hann"):
            raise ValueError(f"window is {self.window!r}: choose 'povey' or 'hann'")
        if self.full_scale <= 0 or self.deviation <= 0:
            raise ValueError(f"full_scale and deviation must be above 0, got {self.full_scale} and {self.deviation}")
        if self.sample_rate_hz / 2 <= LOWEST_HZ:
            raise ValueError(f"sample_rate_hz must be above {2 * LOWEST_HZ:g}, got {self.sample_rate_hz}")
        if self.mel_bins < 1 or (self.frames is not None and self.frames < 1):
            raise ValueError(f"mel_bins and frames must be at least 1, got {self.mel_bins} and {self.frames}")

    @property
    def frame_samples(self) -> int:
        """Samples of a frame."""
        return round(FRAME_S * self.sample_rate_hz)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(HOP_S * self.sample_rate_hz)

    @property
    def n_fft(self) -> int:
        """Samples of a transform: the power of two that holds a frame."""
        return 1 << (self.frame_samples - 1).bit_length()

    @property
    def longest_samples(self) -> int | None:
        """Samples that fill all frames; what is beyond would not be heard. None: there is no bound."""
        return None if self.frames is None else self.samples_of(self.frames)

    def samples_of(self, frames: int) -> int:
        """Samples that give so many frames, at least 1."""
        return (frames - 1) * self.hop_samples + self.frame_samples


class KaldiFbank(nn.Module):
    """Waves to log-mel spectrograms. Has no weights to learn, and adds no noise."""

    window: Tensor
    bands: Tensor

    def __init__(self, config: KaldiFbankConfig) -> None:
        super().__init__()
        self.config = config
        bands = kaldi_bands(
            n_fft=config.n_fft,
            sample_rate_hz=config.sample_rate_hz,
            mel_bins=config.mel_bins,
            f_min_hz=LOWEST_HZ,
            f_max_hz=config.sample_rate_hz / 2,
        )
        hann = torch.hann_window(config.frame_samples, periodic=False, dtype=torch.float64)
        window = hann.pow(POVEY_POWER) if config.window == "povey" else hann
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("bands", bands, persistent=False)

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Makes the log-mel of each sound, in double precision.

        Args:
            wave_BT: float32 (B, T), full scale 1, T <= `config.longest_samples`; less than a frame is filled up with
                silence.

        Returns:
            float32 (B, F, M), normalised; F is `config.frames`, or else 1 + (T - S) // hop.

        Raises:
            ValueError: wrong number of dimensions, or too long.
        """
        config = self.config
        longest = config.longest_samples
        if wave_BT.ndim != 2 or (longest is not None and wave_BT.shape[1] > longest):
            bound = "" if longest is None else f" of at most {longest} samples"
            raise ValueError(
                f"Kaldi's log-mel needs mono sounds as (B, T){bound}, got shape {tuple(wave_BT.shape)}; "
                "cut longer sounds into windows first"
            )
        filled_BT = nn.functional.pad(wave_BT.double(), (0, max(0, config.frame_samples - wave_BT.shape[1])))
        frame_BFS = (config.full_scale * filled_BT).unfold(1, config.frame_samples, config.hop_samples)
        frame_BFS = frame_BFS - frame_BFS.mean(-1, keepdim=True)
        before_BFS = torch.cat([frame_BFS[..., :1], frame_BFS[..., :-1]], dim=-1)
        spectrum = torch.fft.rfft((frame_BFS - PREEMPHASIS * before_BFS) * self.window, config.n_fft)
        mel_BFM = (spectrum.abs().square() @ self.bands).clamp_min(POWER_FLOOR).log()
        if config.frames is not None:
            mel_BFM = nn.functional.pad(mel_BFM, (0, 0, 0, config.frames - mel_BFM.shape[1]))
        return torch.as_tensor((mel_BFM - config.mean) / (2 * config.deviation)).float()
