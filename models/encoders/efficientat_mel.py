"""EfficientAT's log-mel spectrogram in torch, in batches, on any device. Has no weights to learn, and no chance in it.

Source: the front end with which fschmid56/EfficientAT's models were trained (MIT), without its augmentations; the mel
bands are Kaldi's, triangles in mel = 1127 ln(1 + f / 700).

Shapes: B sounds, T samples, F frames, M mel bands, K frequency bins.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.encoders.kaldi_bands import kaldi_bands


@dataclass(frozen=True, kw_only=True, slots=True)
class EfficientAtMelConfig:
    """Settings of the log-mel; the defaults are those of the published models without `hop` or `mels` in their name.

    Attributes:
        sample_rate_hz: rate of the sounds.
        preemphasis: share of the sample before that is subtracted from each, in [0, 1).
        n_fft: samples of one transform, even.
        window_samples: samples of the symmetric Hann window in its middle, at most `n_fft`.
        hop_samples: samples between frames.
        mel_bins: number of mel bands.
        f_min_hz: lower edge of the lowest band.
        f_max_hz: upper edge of the highest band, at most half the rate.
        floor: added to the power before the logarithm, above 0.
        shift, scale: the logarithm becomes (log + shift) / scale.
    """

    sample_rate_hz: int = 32_000
    preemphasis: float = 0.97
    n_fft: int = 1024
    window_samples: int = 800
    hop_samples: int = 320
    mel_bins: int = 128
    f_min_hz: float = 0.0
    f_max_hz: float = 15_000.0
    floor: float = 1e-5
    shift: float = 4.5
    scale: float = 5.0

    def __post_init__(self) -> None:
        for name in ("sample_rate_hz", "hop_samples", "mel_bins"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.preemphasis < 1:
            raise ValueError(f"preemphasis must be in [0, 1), got {self.preemphasis}")
        if self.n_fft < 2 or self.n_fft % 2 or not 2 <= self.window_samples <= self.n_fft:
            raise ValueError(
                f"n_fft must be even and hold the window, 2 <= window_samples <= n_fft; "
                f"got {self.n_fft} and {self.window_samples}"
            )
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"bands need 0 <= f_min_hz < f_max_hz <= {self.sample_rate_hz / 2} Hz, "
                f"got {self.f_min_hz} and {self.f_max_hz}"
            )
        if self.floor <= 0 or self.scale <= 0:
            raise ValueError(f"floor and scale must be above 0, got {self.floor} and {self.scale}")

    @property
    def shortest_samples(self) -> int:
        """Fewest samples of a sound: half a transform is mirrored at either end, after one went into pre-emphasis."""
        return self.n_fft // 2 + 2


class EfficientAtMel(nn.Module):
    """Waves to normalised log-mel spectrograms."""

    hann: Tensor
    filters: Tensor

    def __init__(self, config: EfficientAtMelConfig) -> None:
        super().__init__()
        self.config = config
        filters = kaldi_bands(
            n_fft=config.n_fft,
            sample_rate_hz=config.sample_rate_hz,
            mel_bins=config.mel_bins,
            f_min_hz=config.f_min_hz,
            f_max_hz=config.f_max_hz,
        )
        hann = torch.hann_window(config.window_samples, periodic=False)
        self.register_buffer("hann", hann, persistent=False)
        self.register_buffer("filters", filters.float(), persistent=False)

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Makes the log-mel of each sound.

        Args:
            wave_BT: float32 (B, T), full scale 1, T >= `config.shortest_samples`.

        Returns:
            float32 (B, 1, M, F) with F = (T - 1) // hop + 1, as the network takes it.

        Raises:
            ValueError: wrong number of dimensions, or too short.
        """
        config = self.config
        if wave_BT.ndim != 2 or wave_BT.shape[1] < config.shortest_samples:
            raise ValueError(
                f"EfficientAT's log-mel needs mono sounds as (B, T) of at least {config.shortest_samples} samples, "
                f"got shape {tuple(wave_BT.shape)}; fill shorter ones up with silence"
            )
        sharpened_BT = wave_BT[:, 1:] - config.preemphasis * wave_BT[:, :-1]
        spectrum_BKF = torch.stft(
            sharpened_BT,
            n_fft=config.n_fft,
            hop_length=config.hop_samples,
            win_length=config.window_samples,
            window=self.hann,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power_BKF = spectrum_BKF.real.square() + spectrum_BKF.imag.square()
        mel_BMF = self.filters.T @ power_BKF
        return (((mel_BMF + config.floor).log() + config.shift) / config.scale)[:, None]
