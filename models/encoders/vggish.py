"""VGGish: the network whose features the first Fréchet audio distances were of, frozen and deterministic.

The network is S. Hershey et al. 2017 (arXiv 1609.09430), trained on YouTube-8M; modules are named so that the torch
port of the published weights loads by name (harritaylor/torchvggish, Apache-2.0: `vggish-10086976.pth`). A sound is
mono, at 16 kHz; each 0.96 s of it, without overlap, is an example, and what is left at its end is not heard.

The features are the 128 numbers before the last ReLU, and before the PCA and the 8 bits of AudioSet's released
embeddings: what K. Kilgour et al. 2019 (arXiv 1812.08466) and today's implementations of their distance use.

Shapes: B sounds, T samples, N frames, S samples of a frame, K bins of its spectrum, M mel bands, E examples,
D features.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from models.encoders.kaldi_bands import kaldi_bands
from models.encoders.published_file import find_weights, read_tensors
from models.weights import sha256_of_files

PREPROCESSING_VERSION = 1

SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES, HOP_SAMPLES, N_FFT = 400, 160, 512
MEL_BINS, LOWEST_HZ, HIGHEST_HZ, LOG_OFFSET = 64, 125.0, 7_500.0, 0.01
EXAMPLE_FRAMES = 96
"""Source: AudioSet's `vggish_params.py`: 25 ms and 10 ms, 64 bands, log(mel + 0.01), examples of 0.96 s. The bands are
triangles on HTK's mel scale, which is Kaldi's, over magnitudes."""

EXAMPLE_SAMPLES = (EXAMPLE_FRAMES - 1) * HOP_SAMPLES + FRAME_SAMPLES
"""Samples of one example, 15,600; shorter sounds are filled up with silence. Source of the filling: ours."""

HALVINGS = 4
"""Times that pooling halves time and bands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VggishConfig:
    """Sizes of the network; the defaults are the published ones.

    Attributes:
        channels: of the four groups of convolutions, each at least 1.
        hidden: width of the two layers after them, at least 1.
        dimension: number of features, at least 1.
    """

    channels: tuple[int, int, int, int] = (64, 128, 256, 512)
    hidden: int = 4096
    dimension: int = 128

    def __post_init__(self) -> None:
        if len(self.channels) != 4 or min(*self.channels, self.hidden, self.dimension) < 1:
            raise ValueError(f"VGGish needs four groups of channels and sizes of at least 1, not {self}")

    @classmethod
    def of_weights(cls, state: dict[str, Tensor]) -> Self:
        """Reads the sizes off the weights.

        Raises:
            ValueError: A layer that says one is not there.
        """
        layers = [f"features.{number}.weight" for number in (0, 3, 6, 11)] + [
            f"embeddings.{number}.weight" for number in (0, 4)
        ]
        if missing := [name for name in layers if name not in state]:
            raise ValueError(f"the weights have no {missing[0]}: they are not those of torchvggish's VGGish")
        first, second, third, fourth, hidden, dimension = (int(state[name].shape[0]) for name in layers)
        return cls(channels=(first, second, third, fourth), hidden=hidden, dimension=dimension)


class VggishNetwork(nn.Module):
    """Log-mel examples to features."""

    def __init__(self, config: VggishConfig) -> None:
        super().__init__()
        self.config = config
        first, second, third, fourth = config.channels
        layers: list[nn.Module] = []
        inputs = 1
        for outputs in ([first], [second], [third, third], [fourth, fourth]):
            for channels in outputs:
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
                inputs = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        flat = fourth * (EXAMPLE_FRAMES >> HALVINGS) * (MEL_BINS >> HALVINGS)
        self.embeddings = nn.Sequential(
            nn.Linear(flat, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.dimension),
        )

    def forward(self, mel_E1NM: Tensor) -> Tensor:
        """(E, 1, 96, 64) -> (E, D)."""
        seen_ECNM = self.features(mel_E1NM)
        # TensorFlow's order, in which the published weights are: time, bands, channels.
        return torch.as_tensor(self.embeddings(seen_ECNM.permute(0, 2, 3, 1).flatten(1)))


class VggishMel(nn.Module):
    """Waves to log-mel examples. Has no weights to learn."""

    hann: Tensor
    bands: Tensor

    def __init__(self) -> None:
        super().__init__()
        bands_KM = kaldi_bands(
            n_fft=N_FFT,
            sample_rate_hz=SAMPLE_RATE_HZ,
            mel_bins=MEL_BINS,
            f_min_hz=LOWEST_HZ,
            f_max_hz=HIGHEST_HZ,
        )
        self.register_buffer("hann", torch.hann_window(FRAME_SAMPLES, periodic=True), persistent=False)
        self.register_buffer("bands", bands_KM.float(), persistent=False)

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Makes the examples of each sound.

        Args:
            wave_BT: float32 (B, T) at 16 kHz, full scale 1.

        Returns:
            float32 (B, E, 96, 64) with E at least 1.

        Raises:
            ValueError: not (B, T).
        """
        if wave_BT.ndim != 2:
            raise ValueError(f"VGGish needs mono sounds as (B, T), got shape {tuple(wave_BT.shape)}")
        filled_BT = nn.functional.pad(wave_BT, (0, max(0, EXAMPLE_SAMPLES - wave_BT.shape[1])))
        frames_BNS = filled_BT.unfold(1, FRAME_SAMPLES, HOP_SAMPLES) * self.hann
        magnitude_BNK = torch.fft.rfft(frames_BNS, n=N_FFT).abs()
        mel_BNM = (magnitude_BNK @ self.bands + LOG_OFFSET).log()
        examples = mel_BNM.shape[1] // EXAMPLE_FRAMES
        whole_BNM = torch.as_tensor(mel_BNM[:, : examples * EXAMPLE_FRAMES])
        return whole_BNM.reshape(len(whole_BNM), examples, EXAMPLE_FRAMES, MEL_BINS)


class Vggish:
    """A frozen VGGish. Make one with `from_pretrained`."""

    def __init__(self, network: VggishNetwork, *, weights_sha256: str) -> None:
        """Takes the loaded network; `weights_sha256` is the hex digest of its file."""
        self.network = network.eval().requires_grad_(False)
        self._device = next(network.parameters()).device
        self._mel = VggishMel().to(self._device)
        self._weights_sha256 = weights_sha256

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """Loads the weights of torchvggish, or the same as safetensors.

        Args:
            path: the file, or a folder with exactly one.
            device: where it computes.

        Raises:
            OSError: there is no such file.
            ValueError: it holds something else.
        """
        file = find_weights(path)
        state = read_tensors(file)
        network = VggishNetwork(VggishConfig.of_weights(state))
        try:
            network.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise ValueError(f"{file} does not fit a VGGish: {' '.join(str(error).split())[:500]}") from error
        return cls(network.to(device), weights_sha256=sha256_of_files([file]))

    @property
    def sample_rate_hz(self) -> int:
        """Rate that it expects."""
        return SAMPLE_RATE_HZ

    @property
    def dimension(self) -> int:
        """Number of features of an example."""
        return self.network.config.dimension

    def identity(self) -> dict[str, Any]:
        """What determines its answers."""
        return {
            "class": "Vggish",
            "weights_sha256": self._weights_sha256,
            "features": "before the last ReLU and the PCA",
            "preprocessing": PREPROCESSING_VERSION,
        }

    @torch.inference_mode()
    def forward(self, wave_BT: Tensor) -> Tensor:
        """Listens to sounds of equal length.

        Args:
            wave_BT: float32 (B, T) at 16 kHz, full scale 1, of any length.

        Returns:
            float32 (B, E, D) on its device, an example for each whole 0.96 s.

        Raises:
            ValueError: not (B, T).
        """
        mel_BENM = self._mel(wave_BT.to(self._device))
        sounds, examples = mel_BENM.shape[:2]
        features_ED = torch.as_tensor(self.network(mel_BENM.flatten(0, 1)[:, None]))
        return features_ED.reshape(sounds, examples, -1)
