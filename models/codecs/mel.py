"""The log-mel spectrogram that HiFi-GAN's vocoders and AudioLDM's autoencoders speak.

Natural logarithms of magnitudes, not powers; a frame an exact hop, so that T samples are T / hop frames. CLAP's, which
has decibels of powers and centred frames, is in `models.encoders.clap_mel`.

Shapes: B sounds, T samples, F frames, K bins, M mel bands.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

# Source: Kong et al. 2020 (HiFi-GAN), arXiv 2010.05646, and its code, `dynamic_range_compression_torch`.
MAGNITUDE_FLOOR = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class LogMelConfig:
    """Settings of the spectrogram; the defaults are those of AudioLDM (arXiv 2301.12503) and AudioLDM 2 at 16 kHz.

    Attributes:
        sample_rate_hz: Of the sounds.
        n_fft: Samples of the Hann window and of its transform.
        hop_samples: Samples between frames; differs from `n_fft` by an even number.
        mel_bins: Number of bands, of librosa's (slaney) scale and area.
        f_min_hz: Lower edge of the lowest band.
        f_max_hz: Upper edge of the highest band, at most half the rate.
    """

    sample_rate_hz: int = 16_000
    n_fft: int = 1024
    hop_samples: int = 160
    mel_bins: int = 64
    f_min_hz: float = 0.0
    f_max_hz: float = 8_000.0

    def __post_init__(self) -> None:
        for name in ("sample_rate_hz", "hop_samples", "mel_bins"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.n_fft < self.hop_samples or (self.n_fft - self.hop_samples) % 2:
            raise ValueError(f"n_fft must exceed hop_samples by an even number, got {self.n_fft}, {self.hop_samples}")
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"bands need 0 <= f_min_hz < f_max_hz <= {self.sample_rate_hz / 2} Hz, "
                f"got {self.f_min_hz} and {self.f_max_hz}"
            )


class LogMel(nn.Module):
    """Waves to log-mel spectrograms. Has no weights to learn."""

    hann: Tensor
    filters: Tensor

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.config = config
        filters = mel_filter_bank(
            num_frequency_bins=config.n_fft // 2 + 1,
            num_mel_filters=config.mel_bins,
            min_frequency=config.f_min_hz,
            max_frequency=config.f_max_hz,
            sampling_rate=config.sample_rate_hz,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("hann", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("filters", torch.from_numpy(np.asarray(filters, np.float32)), persistent=False)

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Makes the spectrogram of each sound.

        Args:
            wave_BT: Float32 (B, T), full scale 1, T a multiple of the hop and above half of `n_fft` less the hop.

        Returns:
            float32 (B, T / hop, M), at least ln 1e-5.

        Raises:
            ValueError: Wrong shape.
        """
        config = self.config
        edge = (config.n_fft - config.hop_samples) // 2
        if wave_BT.ndim != 2 or wave_BT.shape[1] % config.hop_samples or wave_BT.shape[1] <= edge:
            raise ValueError(
                f"the log-mel needs sounds as (B, T), T a multiple of {config.hop_samples} above {edge}, "
                f"got {tuple(wave_BT.shape)}"
            )
        padded_BT = nn.functional.pad(wave_BT.float()[:, None], (edge, edge), mode="reflect")[:, 0]
        spectra_BKF = torch.stft(
            padded_BT, config.n_fft, config.hop_samples, window=self.hann, center=False, return_complex=True
        )
        # Source of 1e-9: HiFi-GAN's code, which keeps the root's slope finite.
        power_BKF = spectra_BKF.real.square() + spectra_BKF.imag.square() + 1e-9
        return (power_BKF.sqrt().transpose(1, 2) @ self.filters).clamp_min(MAGNITUDE_FLOOR).log()
