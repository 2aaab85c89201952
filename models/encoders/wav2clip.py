"""Wav2CLIP (H.-H. Wu et al. 2022, arXiv 2110.11499) as a frozen listener: sounds in the space of CLIP ViT-B/32.

Modules have the names of the published weights (descriptinc/lyrebird-wav2clip, MIT): a ResNet-18 over a
log-spectrogram, and two layers behind it. A sound is mono, at 16 kHz, and is neither cut nor resampled here.

Shapes: B sounds, T samples, K frequencies, F frames, C channels, D numbers of a vector, 512.
"""

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from models.encoders.hub_file import weights_at
from models.encoders.published_file import read_plain
from models.weights import sha256_of_files

SAMPLE_RATE_HZ = 16_000
N_FFT, HOP_SAMPLES = 512, 353
"""Source: the published code."""
DIMENSION = 512
PREPROCESSING_VERSION = 1
_UNUSED = ("audio_encoder.fc.", "audio_encoder.spectrogram.", "image_transform.")
"""Of a published file: a classifier that is never asked, the window, which is computed, and CLIP's side."""


class ResidualBlock(nn.Module):
    """Two convolutions, and what goes past them."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.downsample: nn.Module | None = None
        if stride != 1 or inner != outer:
            self.downsample = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x_BCKF: Tensor) -> Tensor:
        """(B, C, K, F) -> (B, C', K', F')."""
        past = x_BCKF if self.downsample is None else self.downsample(x_BCKF)
        y_BCKF = self.bn2(self.conv2(self.bn1(self.conv1(x_BCKF)).relu()))
        return torch.as_tensor((y_BCKF + past).relu())


class ResNet18(nn.Module):
    """The encoder of spectrograms, without its classifier."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _layer(width, width, 1)
        self.layer2 = _layer(width, 2 * width, 2)
        self.layer3 = _layer(2 * width, 4 * width, 2)
        self.layer4 = _layer(4 * width, 8 * width, 2)

    def forward(self, x_B1KF: Tensor) -> Tensor:
        """(B, 1, K, F) -> (B, 8 width), the mean over all places."""
        x_BCKF = self.maxpool(self.bn1(self.conv1(x_B1KF)).relu())
        return torch.as_tensor(self.layer4(self.layer3(self.layer2(self.layer1(x_BCKF)))).mean((2, 3)))


class TwoLayers(nn.Module):
    """What maps the encoder's vectors into CLIP's space."""

    def __init__(self, width: int = DIMENSION) -> None:
        super().__init__()
        # The third place is that of a dropout, which has no weights.
        self.sequential = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Identity(), nn.Linear(width, width))

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        return torch.as_tensor(self.sequential(x_BD))


class Wav2ClipNetwork(nn.Module):
    """Both parts, by their published names."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder = ResNet18()
        self.audio_transform = TwoLayers()

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Sounds to vectors, each standardised by itself: float32 (B, T) -> (B, D)."""
        x_BKF = log_spectrogram(wave_BT)
        mean, deviation = x_BKF.mean((1, 2), keepdim=True), x_BKF.std((1, 2), keepdim=True)
        return torch.as_tensor(self.audio_transform(self.audio_encoder(((x_BKF - mean) / (deviation + 1e-9))[:, None])))


def log_spectrogram(wave_BT: Tensor) -> Tensor:
    """Natural logarithm of the power of a short-time Fourier transform with a Hann window: (B, T) -> (B, K, F)."""
    window = torch.hann_window(N_FFT, device=wave_BT.device)
    found = torch.stft(wave_BT, N_FFT, HOP_SAMPLES, window=window, center=True, return_complex=True)
    return torch.log(found.abs().square() + 1e-7)


class Wav2Clip:
    """A frozen listener. Make one with `from_pretrained`."""

    def __init__(self, network: Wav2ClipNetwork, *, weights_sha256: str) -> None:
        """Takes a loaded network and the hex digest of its file."""
        self.network = network.eval().requires_grad_(False)
        self._weights_sha256 = weights_sha256

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """Loads the published checkpoint (`ResNet_CX.ckpt`), read as tensors only.

        Raises:
            OSError: There is no such file.
            ValueError: It holds something else.
        """
        file = weights_at(path, ("ResNet_CX.ckpt",))
        held = read_plain(file)
        state = held.get("state_dict") if isinstance(held, dict) else None
        if not isinstance(state, dict):
            raise ValueError(f"{file} does not hold `state_dict`; give Wav2CLIP's published ResNet_CX.ckpt")
        network = Wav2ClipNetwork()
        try:
            network.load_state_dict({name: one for name, one in state.items() if not name.startswith(_UNUSED)})
        except RuntimeError as error:
            raise ValueError(f"{file} is no Wav2CLIP: {' '.join(str(error).split())[:500]}") from error
        return cls(network.to(device), weights_sha256=sha256_of_files([file]))

    @property
    def sample_rate_hz(self) -> int:
        """Rate that it expects. Source: the published README."""
        return SAMPLE_RATE_HZ

    @property
    def dimension(self) -> int:
        """D."""
        return DIMENSION

    def identity(self) -> dict[str, Any]:
        """What determines its vectors."""
        return {"class": "Wav2Clip", "weights_sha256": self._weights_sha256, "preprocessing": PREPROCESSING_VERSION}

    @torch.no_grad()
    def embed_sound(self, wave_BT: Tensor) -> Tensor:
        """Sounds of one length at 16 kHz, at least 512 samples: float32 (B, T) -> (B, D) of norm 1.

        Raises:
            ValueError: They are not (B, T), or shorter.
        """
        if wave_BT.ndim != 2 or wave_BT.shape[1] < N_FFT:
            raise ValueError(f"Wav2CLIP needs mono sounds (B, at least {N_FFT}), got shape {tuple(wave_BT.shape)}")
        device = next(self.network.parameters()).device
        return nn.functional.normalize(self.network(wave_BT.to(device)), dim=-1)


def _layer(inner: int, outer: int, stride: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(inner, outer, stride), ResidualBlock(outer, outer, 1))
