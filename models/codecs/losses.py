"""What waveform autoencoders are trained on: spectra at many resolutions, the latents' divergence, and a judge's marks.

All are means over clips, so that a batch may be cut into micro-batches; all compute in float32.

Shapes: B clips, C channels, T samples, F frames, K bins, D latent channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Source: auraloss 0.4, `STFTLoss`: magnitudes below its square root count as that.
POWER_FLOOR = 1e-8
QUIETEST = 1e-2
"""Spectra whose magnitudes are smaller than this, in the mean of squares, count as if they had it where an error is
divided by them: else one window of silence outweighs all others. Ours: noise of -66 dB in a window of 1024."""
# Source: auraloss 0.4, `FIRFilter`.
WEIGHTING_TAPS = 101


@dataclass(frozen=True, kw_only=True, slots=True)
class SpectralSettings:
    """Which spectra are compared.

    Source of the defaults: Evans et al. 2024 (Stable Audio), arXiv 2402.04825, section 3.1, and the configuration
    published with its code, `stable_audio_2_0_vae.json`.

    Attributes:
        windows_samples: Length of each resolution's Hann window and transform; frames are a quarter of it apart.
        sample_rate_hz: Of the sounds, for the weighting.
        is_weighted: Whether sounds go through an A-weighting filter first, which makes errors count as the ear hears.
    """

    windows_samples: tuple[int, ...] = (2048, 1024, 512, 256, 128, 64, 32)
    sample_rate_hz: int = 44_100
    is_weighted: bool = True

    def __post_init__(self) -> None:
        if not self.windows_samples or any(window < 8 or window % 4 for window in self.windows_samples):
            raise ValueError(f"windows_samples must be multiples of 4, at least 8, got {self.windows_samples}")
        if self.sample_rate_hz < 1:
            raise ValueError(f"sample_rate_hz must be at least 1, got {self.sample_rate_hz}")


class SpectralLoss(nn.Module):
    """Spectral convergence and log-magnitude distance, averaged over resolutions.

    Source: Yamamoto et al. 2020, arXiv 1910.11480, equations 4 to 6, with both terms for each clip by itself. Of two
    channels their sum and difference are compared as well (Steinmetz et al. 2020, arXiv 2010.10291), and, as in Stable
    Audio's code, the mean over left and right and that over sum and difference are added up.
    """

    def __init__(self, settings: SpectralSettings) -> None:
        super().__init__()
        self.settings = settings
        self._windows = [torch.hann_window(window) for window in settings.windows_samples]
        self._filter = a_weighting(settings.sample_rate_hz) if settings.is_weighted else None

    def forward(self, made_BCT: Tensor, wanted_BCT: Tensor) -> Tensor:
        """The distance of sounds from those they should be; scalar, 0 where they are equal.

        Args:
            made_BCT: Float (B, C, T), T at least half of the longest window.
            wanted_BCT: The same shape.

        Raises:
            ValueError: The shapes differ, or the sounds are too short.
        """
        if made_BCT.shape != wanted_BCT.shape or made_BCT.ndim != 3:
            raise ValueError(f"{tuple(made_BCT.shape)} and {tuple(wanted_BCT.shape)} are not two batches (B, C, T)")
        if made_BCT.shape[2] <= max(self.settings.windows_samples) // 2:
            raise ValueError(
                f"sounds of {made_BCT.shape[2]} samples are too short for windows of "
                f"{max(self.settings.windows_samples)}: give longer ones or shorter windows"
            )
        made, wanted = self._prepared(made_BCT), self._prepared(wanted_BCT)
        losses = []
        for window in self._windows:
            made_BKF, wanted_BKF = _magnitudes(made, window), _magnitudes(wanted, window)
            difference = torch.linalg.vector_norm(wanted_BKF - made_BKF, dim=(1, 2))
            size = torch.linalg.vector_norm(wanted_BKF, dim=(1, 2))
            losses.append((difference / size.clamp_min(QUIETEST * wanted_BKF[0].numel() ** 0.5)).mean())
            losses.append((wanted_BKF.log() - made_BKF.log()).abs().mean())
        means = 2 if made_BCT.shape[1] == 2 else 1
        return means * torch.stack(losses).sum() / len(self._windows)

    def _prepared(self, wave_BCT: Tensor) -> Tensor:
        """One row a signal that is compared, float32 (rows, T)."""
        wave_BCT = wave_BCT.float()
        if wave_BCT.shape[1] == 2:
            left, right = wave_BCT.unbind(1)
            wave_BCT = torch.stack([left, right, left + right, left - right], dim=1)
        rows = wave_BCT.flatten(0, 1)
        if self._filter is None:
            return rows
        taps = self._filter.to(rows.device)
        return nn.functional.conv1d(rows[:, None], taps[None, None], padding=len(taps) // 2)[:, 0]


def _magnitudes(wave_BT: Tensor, window: Tensor) -> Tensor:
    """Magnitudes of the short-time spectra, (B, K, F), at least the square root of `POWER_FLOOR`."""
    samples = len(window)
    spectra = torch.stft(wave_BT, samples, samples // 4, window=window.to(wave_BT.device), return_complex=True)
    return (spectra.real.square() + spectra.imag.square()).clamp_min(POWER_FLOOR).sqrt()


def a_weighting(sample_rate_hz: int, taps: int = WEIGHTING_TAPS) -> Tensor:
    """A linear-phase filter with the A-weighting curve, float32 (taps,), gain 1 at 1 kHz.

    Source: IEC 61672-1, annex E, equation E.6 for the curve; as a filter before spectral losses Wright and Valimaki
    2020, arXiv 1911.08922. Ours: designed by sampling the curve, with a Hamming window.

    Args:
        sample_rate_hz: Above 2000.
        taps: Odd.
    """
    if sample_rate_hz <= 2000 or taps < 3 or taps % 2 == 0:
        raise ValueError(
            f"the filter needs a rate above 2000 Hz and an odd number of taps, got {sample_rate_hz}, {taps}"
        )
    points = max(4096, 4 * taps)
    square = torch.linspace(0, sample_rate_hz / 2, points + 1, dtype=torch.float64).square()
    gain = _a_gain(square) / _a_gain(torch.tensor(1000.0**2, dtype=torch.float64))
    middle = taps // 2
    whole = torch.fft.irfft(gain.to(torch.complex128))
    kept = torch.cat([whole[-middle:], whole[: middle + 1]])
    return (kept * torch.hamming_window(taps, periodic=False, dtype=torch.float64)).float()


def _a_gain(square_hz: Tensor) -> Tensor:
    low, second, third, high = 20.598997, 107.65265, 737.86223, 12194.217  # the curve's poles, Hz
    below = (square_hz + low**2) * ((square_hz + second**2) * (square_hz + third**2)).sqrt()
    return high**2 * square_hz.square() / (below * (square_hz + high**2))


def latent_divergence(mean_BDF: Tensor, std_BDF: Tensor) -> Tensor:
    """Twice the divergence of the latents from a standard normal, summed over channels, mean over frames and clips.

    Source: Kingma and Welling 2014, appendix B, without its half, as in Stable Audio's code, so that its weight holds.
    """
    mean, variance = mean_BDF.float(), std_BDF.float().square()
    return (mean.square() + variance - variance.log() - 1).sum(1).mean()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge of sounds makes of a batch, a resolution an entry.

    Attributes:
        marks: How real it finds each place; above 1 certainly real, below -1 certainly made.
        features: What it computed on the way, of each layer.
    """

    marks: Sequence[Tensor]
    features: Sequence[Sequence[Tensor]]


def judge_loss(real: Verdict, made: Verdict) -> Tensor:
    """What the judge minimises: the hinge. Source: Lim and Ye 2017, arXiv 1705.02894; 2 for one that knows nothing."""
    losses = [
        torch.relu(1 - one.float()).mean() + torch.relu(1 + other.float()).mean()
        for one, other in zip(real.marks, made.marks, strict=True)
    ]
    return torch.stack(losses).mean()


def persuasion_loss(made: Verdict) -> Tensor:
    """What the maker minimises of the judge's marks: their mean, negative."""
    return -torch.stack([marks.float().mean() for marks in made.marks]).mean()


def feature_distance(real: Verdict, made: Verdict) -> Tensor:
    """Mean absolute difference of the judge's features, averaged over its layers and resolutions.

    Source: Kumar et al. 2019 (MelGAN), arXiv 1910.06711, equation 4. Gradients reach the made sounds alone.
    """
    distances = [
        torch.stack(
            [(one.float().detach() - other.float()).abs().mean() for one, other in zip(wanted, found, strict=True)]
        ).mean()
        for wanted, found in zip(real.features, made.features, strict=True)
    ]
    return torch.stack(distances).mean()
