"""The judge of an adversarial training: small networks over complex spectra at several resolutions.

Shapes: B clips, C channels, T samples, F frames, K bins.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models.codecs.losses import Verdict

# Source: Defossez et al. 2022 (EnCodec), arXiv 2210.13438, figure 2 and section 3.4, as its code has them.
KERNEL = (3, 9)
DILATIONS = (1, 2, 4)
SLOPE = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig:
    """Size of the judge.

    Source of the defaults: `stable_audio_2_0_vae.json` of Stable Audio's code.

    Attributes:
        channels: Of the sounds.
        windows_samples: Of each resolution; frames are a quarter of it apart.
        filters: Width of its layers.
    """

    channels: int = 2
    windows_samples: tuple[int, ...] = (2048, 1024, 512, 256, 128)
    filters: int = 64

    def __post_init__(self) -> None:
        if self.channels < 1 or self.filters < 1:
            raise ValueError(f"channels and filters must be at least 1, got {self.channels} and {self.filters}")
        if not self.windows_samples or any(window < 16 or window % 4 for window in self.windows_samples):
            raise ValueError(f"windows_samples must be multiples of 4, at least 16, got {self.windows_samples}")


class StftDiscriminator(nn.Module):
    """One small network a resolution, each over the real and imaginary parts of a spectrum."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.scales = nn.ModuleList(
            _Scale(window, channels=config.channels, filters=config.filters) for window in config.windows_samples
        )

    def forward(self, wave_BCT: Tensor) -> Verdict:
        """Judges sounds, float (B, C, T), T at least the longest window."""
        judged = [scale(wave_BCT) for scale in self.scales]
        return Verdict([marks for marks, _ in judged], [features for _, features in judged])

    def frozen(self, wave_BCT: Tensor) -> Verdict:
        """The same marks, by weights that get no gradient: for what is trained on the judge's opinion."""
        held: Mapping[str, Tensor] = {name: one.detach() for name, one in self.named_parameters()}
        verdict: Verdict = torch.func.functional_call(self, dict(held), (wave_BCT,))
        return verdict


class _Scale(nn.Module):
    """The network of one resolution."""

    def __init__(self, window_samples: int, *, channels: int, filters: int) -> None:
        super().__init__()
        self._window_samples = window_samples
        pads = [((KERNEL[0] - 1) * dilation // 2, KERNEL[1] // 2) for dilation in DILATIONS]
        self.layers = nn.ModuleList(
            [
                weight_norm(nn.Conv2d(2 * channels, filters, KERNEL, padding=(1, 4))),
                *(
                    weight_norm(nn.Conv2d(filters, filters, KERNEL, stride=(1, 2), dilation=(dilation, 1), padding=pad))
                    for dilation, pad in zip(DILATIONS, pads, strict=True)
                ),
                weight_norm(nn.Conv2d(filters, filters, (3, 3), padding=1)),
            ]
        )
        self.last = weight_norm(nn.Conv2d(filters, 1, (3, 3), padding=1))

    def forward(self, wave_BCT: Tensor) -> tuple[Tensor, list[Tensor]]:
        samples = self._window_samples
        window = torch.hann_window(samples, device=wave_BCT.device)
        rows = wave_BCT.float().flatten(0, 1)
        spectra = torch.stft(rows, samples, samples // 4, window=window, center=False, return_complex=True)
        spectra = spectra / window.square().sum().sqrt()
        parts = torch.view_as_real(spectra.transpose(1, 2))  # (B C, F, K, 2)
        parts = parts.reshape(*wave_BCT.shape[:2], *parts.shape[1:])
        hidden = parts.movedim(-1, 1).flatten(1, 2)
        features = []
        for layer in self.layers:
            hidden = nn.functional.leaky_relu(layer(hidden), SLOPE)
            features.append(hidden)
        return self.last(hidden), features
