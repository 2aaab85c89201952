"""PANNs' CNN14: the tagger of AudioSet's 527 classes by which generators are most often judged, frozen, deterministic.

The network is Q. Kong et al. 2020 (arXiv 1912.10211), table 1 and section III; modules are named so that the published
weights load by name (qiuqiangkong/audioset_tagging_cnn, MIT; on Zenodo `Cnn14_mAP=0.431.pth` for 32 kHz,
`Cnn14_16k_mAP=0.438.pth` for 16 kHz and `Cnn14_8k_mAP=0.416.pth`). The spectrogram is made here by Fourier transforms;
the kernels of one by convolutions that lie in the files are not read, and their mel bands must be ours.

Shapes: B sounds, T samples, N frames, M mel bands, K frequency bins, C channels, L classes, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from models.encoders.audioset_labels import AUDIOSET_LABELS, read_label_file
from models.encoders.efficientat import LABEL_FILE
from models.encoders.published_file import find_weights, read_tensors
from models.weights import sha256_of_files

PREPROCESSING_VERSION = 1

WINDOW_S = 10.0
"""AudioSet's clips, on which the models were trained."""
SHORTEST_FRAMES = 32
"""Five poolings by two; shorter sounds are filled up with silence. Source of the filling: ours."""

BLOCKS = 6
"""Each has twice the channels of the one before."""

POWER_FLOOR = 1e-10
"""Source: the published front end, 10 log10 of the power, at least -100 dB."""

_KERNELS = "spectrogram_extractor.stft."
_BANDS = "logmel_extractor.melW"


@dataclass(frozen=True, kw_only=True, slots=True)
class PannsMelConfig:
    """Settings of the log-mel; the defaults are those of the published models at 32 kHz.

    Attributes:
        sample_rate_hz: rate of the sounds.
        n_fft: samples of one periodic Hann window and of its transform, even.
        hop_samples: samples between frames.
        mel_bins: number of mel bands, of equal area on Slaney's scale.
        f_min_hz: lower edge of the lowest band.
        f_max_hz: upper edge of the highest band, at most half the rate.
    """

    sample_rate_hz: int = 32_000
    n_fft: int = 1024
    hop_samples: int = 320
    mel_bins: int = 64
    f_min_hz: float = 50.0
    f_max_hz: float = 14_000.0

    def __post_init__(self) -> None:
        if min(self.sample_rate_hz, self.hop_samples, self.mel_bins) < 1 or self.n_fft < 2 or self.n_fft % 2:
            raise ValueError(f"the log-mel needs sizes of at least 1 and an even n_fft, not {self}")
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"bands need 0 <= f_min_hz < f_max_hz <= {self.sample_rate_hz / 2} Hz, "
                f"got {self.f_min_hz} and {self.f_max_hz}"
            )

    @property
    def shortest_samples(self) -> int:
        """Fewest samples that the network hears as they are: frames are centred."""
        return (SHORTEST_FRAMES - 1) * self.hop_samples

    def filters(self) -> Tensor:
        """Weights (K, M) float32 by which powers are gathered into bands."""
        filters_KM = mel_filter_bank(
            num_frequency_bins=self.n_fft // 2 + 1,
            num_mel_filters=self.mel_bins,
            min_frequency=self.f_min_hz,
            max_frequency=self.f_max_hz,
            sampling_rate=self.sample_rate_hz,
            norm="slaney",
            mel_scale="slaney",
        )
        return torch.from_numpy(np.asarray(filters_KM, np.float32))


MELS = {
    mel.n_fft // 2 + 1: mel
    for mel in (
        PannsMelConfig(),
        PannsMelConfig(sample_rate_hz=16_000, n_fft=512, hop_samples=160, f_max_hz=8_000.0),
        PannsMelConfig(sample_rate_hz=8_000, n_fft=256, hop_samples=80, f_max_hz=4_000.0),
    )
}
"""Frequency bins of the bands in a file -> the log-mel that its network was trained on. Source: the published models'
`Cnn14`, `Cnn14_16k` and `Cnn14_8k`."""


class PannsMel(nn.Module):
    """Waves to decibel log-mel spectrograms. Has no weights to learn."""

    hann: Tensor
    bands: Tensor

    def __init__(self, config: PannsMelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("hann", torch.hann_window(config.n_fft, periodic=True), persistent=False)
        self.register_buffer("bands", config.filters(), persistent=False)

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Makes the log-mel of each sound.

        Args:
            wave_BT: float32 (B, T), full scale 1; filled up with silence to `config.shortest_samples`.

        Returns:
            float32 (B, 1, N, M), dB relative to 1, at least -100; N = T // hop + 1.

        Raises:
            ValueError: not (B, T).
        """
        if wave_BT.ndim != 2:
            raise ValueError(f"CNN14 needs mono sounds as (B, T), got shape {tuple(wave_BT.shape)}")
        missing = max(0, self.config.shortest_samples - wave_BT.shape[1])
        spectrum_BKN = torch.stft(
            nn.functional.pad(wave_BT, (0, missing)),
            n_fft=self.config.n_fft,
            hop_length=self.config.hop_samples,
            window=self.hann,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power_BNK = (spectrum_BKN.real.square() + spectrum_BKN.imag.square()).mT
        return 10.0 * (power_BNK @ self.bands).clamp_min(POWER_FLOOR).log10()[:, None]


class ConvBlock(nn.Module):
    """Two convolutions, each with its normalisation and a ReLU, and a mean over squares."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x_BCNM: Tensor, pool: int) -> Tensor:
        """(B, C, N, M) -> (B, C', N / pool, M / pool)."""
        x_BCNM = torch.relu(self.bn1(self.conv1(x_BCNM)))
        x_BCNM = torch.relu(self.bn2(self.conv2(x_BCNM)))
        return nn.functional.avg_pool2d(x_BCNM, pool)


class Cnn14(nn.Module):
    """Log-mel spectrograms to logits of classes and to the vector before the classifier."""

    def __init__(self, *, channels: int = 64, classes: int = 527, mel_bins: int = 64) -> None:
        """Declares the layers.

        Args:
            channels: of the first block, at least 1; 64 in the published models.
            classes: number of classes, at least 1.
            mel_bins: number of mel bands, at least 32.
        """
        super().__init__()
        if channels < 1 or classes < 1 or mel_bins < 32:
            raise ValueError(f"CNN14 needs channels, classes and 32 bands, not {channels}, {classes}, {mel_bins}")
        self.bn0 = nn.BatchNorm2d(mel_bins)
        inputs = 1
        for number in range(BLOCKS):
            outputs = channels << number
            self.add_module(f"conv_block{number + 1}", ConvBlock(inputs, outputs))
            inputs = outputs
        self.fc1 = nn.Linear(inputs, inputs)
        self.fc_audioset = nn.Linear(inputs, classes)

    def forward(self, mel_B1NM: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, N, M) as `PannsMel` makes it -> logits (B, L) and embeddings (B, D), both float32."""
        x_BCNM = self.bn0(mel_B1NM.transpose(1, 3)).transpose(1, 3)
        for number in range(1, BLOCKS + 1):
            x_BCNM = self.get_submodule(f"conv_block{number}")(x_BCNM, 2 if number < BLOCKS else 1)
        x_BCN = x_BCNM.mean(3)
        vector_BD = torch.relu(self.fc1(x_BCN.amax(2) + x_BCN.mean(2)))
        return self.fc_audioset(vector_BD), vector_BD


class Panns:
    """A frozen CNN14. Make one with `from_pretrained`."""

    window_s = WINDOW_S

    def __init__(self, network: Cnn14, mel: PannsMelConfig, labels: Sequence[str], *, weights_sha256: str) -> None:
        """Takes the loaded parts.

        Args:
            network: put into evaluation mode on the device it is on.
            mel: settings of its log-mel.
            labels: a name for each class, in the order of the logits.
            weights_sha256: hex digest of the file the weights came from.

        Raises:
            ValueError: there are more or fewer names than classes.
        """
        if len(labels) != network.fc_audioset.out_features:
            raise ValueError(f"{len(labels)} labels cannot name {network.fc_audioset.out_features} classes")
        self.network = network.eval().requires_grad_(False)
        self.labels = tuple(labels)
        self._device = next(network.parameters()).device
        self._mel = PannsMel(mel).to(self._device)
        self._weights_sha256 = weights_sha256

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """Loads published weights, or the same as safetensors; the rate is read off their mel bands.

        Args:
            path: the file, or a folder with exactly one; a class list `class_labels_indices.csv` beside it names the
                classes, without one they are AudioSet's.
            device: where it computes.

        Raises:
            OSError: there is no such file.
            ValueError: it holds something else, or was trained on another log-mel.
        """
        file = find_weights(path)
        state = {name: value for name, value in read_tensors(file).items() if not name.startswith(_KERNELS)}
        bands, first, last = (state.get(name) for name in (_BANDS, "conv_block1.conv1.weight", "fc_audioset.weight"))
        if bands is None or first is None or last is None:
            raise ValueError(f"{file} has no {_BANDS}, or no layers of CNN14: it is not one of PANNs' Cnn14 files")
        mel = MELS.get(bands.shape[0])
        if mel is None or bands.shape[1] != mel.mel_bins or not torch.allclose(bands, mel.filters(), atol=1e-5):
            raise ValueError(f"{file} was trained on another log-mel than PANNs' at 32, 16 and 8 kHz")
        network = Cnn14(channels=first.shape[0], classes=last.shape[0], mel_bins=mel.mel_bins)
        del state[_BANDS]
        try:
            network.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise ValueError(f"{file} does not fit a CNN14: {' '.join(str(error).split())[:500]}") from error
        beside = file.with_name(LABEL_FILE)
        labels = read_label_file(beside) if beside.is_file() else AUDIOSET_LABELS
        return cls(network.to(device), mel, labels, weights_sha256=sha256_of_files([file]))

    @property
    def sample_rate_hz(self) -> int:
        """Rate that it expects."""
        return self._mel.config.sample_rate_hz

    @property
    def dimension(self) -> int:
        """Length of its embeddings."""
        return int(self.network.fc1.out_features)

    def identity(self) -> dict[str, Any]:
        """What determines its answers."""
        return {
            "class": "Panns",
            "weights_sha256": self._weights_sha256,
            "labels": list(self.labels) if self.labels != AUDIOSET_LABELS else "AudioSet",
            "preprocessing": PREPROCESSING_VERSION,
        }

    @torch.inference_mode()
    def forward(self, wave_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Listens to sounds of equal length.

        Args:
            wave_BT: float32 (B, T) at its rate, full scale 1; of any length, 10 s at a time as it was trained.

        Returns:
            logits (B, L) and embeddings (B, D), float32 on its device.

        Raises:
            ValueError: not (B, T).
        """
        on_device_BT = wave_BT.to(self._device)
        # Sound by sound on a CPU: there it is no slower, and the answer does not depend on the company.
        parts = torch.split(on_device_BT, 1) if self._device.type == "cpu" else (on_device_BT,)
        answers = [self.network(self._mel(part_BT)) for part_BT in parts]
        return torch.cat([logits for logits, _ in answers]), torch.cat([vectors for _, vectors in answers])

    def tag(self, wave_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (B, L) in [0, 1], each class by itself, and embeddings (B, D); see `forward`."""
        logits_BL, vector_BD = self.forward(wave_BT)
        return logits_BL.sigmoid(), vector_BD
