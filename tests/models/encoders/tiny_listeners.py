"""VGGish and CNN14 of random weights and few channels, saved as their authors publish them."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.encoders.panns import MELS, Cnn14, PannsMelConfig
from models.encoders.vggish import VggishConfig, VggishNetwork

TINY_VGGISH = VggishConfig(channels=(2, 3, 4, 5), hidden=16, dimension=8)


def vggish(config: VggishConfig = TINY_VGGISH) -> VggishNetwork:
    """A network of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VggishNetwork(config).eval()


def save_vggish(file: Path) -> Path:
    """Such a one in a file, under the published names."""
    torch.save(vggish().state_dict(), file)
    return file


def cnn14(channels: int = 2) -> Cnn14:
    """A network of random weights and statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Cnn14(channels=channels).eval()
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif name == "bn0.running_mean":
                value.normal_(-40.0, 5.0)  # dB
    return network


def cnn14_file(mel: PannsMelConfig) -> dict[str, Tensor]:
    """Its tensors with those of the published front end, which this project computes itself."""
    kernels = torch.zeros(mel.n_fft // 2 + 1, 1, mel.n_fft)
    return {
        "spectrogram_extractor.stft.conv_real.weight": kernels,
        "spectrogram_extractor.stft.conv_imag.weight": kernels,
        "logmel_extractor.melW": mel.filters(),
        **cnn14().state_dict(),
    }


def save_cnn14(file: Path, bins: int = 257) -> Path:
    """Such a one in a file, as a checkpoint of its training; 257 bins are those of 16 kHz."""
    held = {"iteration": 600_000, "model": cnn14_file(MELS[bins]), "sampler": {"indexes": np.arange(4), "pointer": 2}}
    torch.save(held, file)
    return file
