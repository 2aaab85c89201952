"""EfficientAT: a MobileNetV3 that hears AudioSet's 527 classes, frozen and deterministic.

The network is MobileNetV3-Large (A. Howard et al. 2019, arXiv 1905.02244, table 1) on one input channel, of any width,
with a wider last layer. Modules are named so that the weights which F. Schmid et al. publish (arXiv 2211.04772,
fschmid56/EfficientAT, MIT) load by name: mn04 is of width 0.4, mn10 of width 1. It does not cut or resample: a sound is
mono, at 32 kHz.

Shapes: B sounds, T samples, C channels, F mel bands, N frames, L classes, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.encoders.audioset_labels import AUDIOSET_LABELS, read_label_file
from models.encoders.efficientat_mel import EfficientAtMel, EfficientAtMelConfig
from models.encoders.published_file import read_plain
from models.weights import sha256_of_files

PREPROCESSING_VERSION = 1

SAMPLE_RATE_HZ = 32_000
WINDOW_S = 10.0
"""AudioSet's clips, on which the models were trained."""
SHARE_WINDOW_S = 2.0
"""Source: ours; short enough that a clip of 10 s has shares between none and all, long enough for a bar of music."""
SHORTEST_S = 1.0
"""Shorter sounds are filled up with silence. Source: ours; three steps of 0.32 s of the last layer."""

STEM_CHANNELS, HIDDEN_CHANNELS, LAST_EXPANSION = 16, 1280, 6
"""Channels of the first convolution and of the classifier's hidden layer at width 1; the last convolution has six times
the channels that it reads. Source: table 1; 960 = 6 x 160."""

CHANNEL_STEP = 8
"""Numbers of channels are multiples of this. Source: M. Sandler et al. 2018 (MobileNetV2) and its reference code."""

SQUEEZE = 4
"""Squeeze-and-excitation narrows the channels so many times. Source: table 1, section 5.3."""

NORM_EPSILON = 1e-3
"""Of batch normalisation. Source: the published models; TensorFlow's default, as in the paper's own."""

LABEL_FILE = "class_labels_indices.csv"
"""Names of the classes beside the weights, as AudioSet publishes them; without it they are AudioSet's 527."""


class Block(NamedTuple):
    """A row of table 1, at width 1: kernel, expanded and output channels, squeeze-and-excitation, h-swish, stride."""

    kernel: int
    expanded: int
    out: int
    squeezes: bool
    hard: bool
    stride: int


BLOCKS = (
    Block(3, 16, 16, False, False, 1),
    Block(3, 64, 24, False, False, 2),
    Block(3, 72, 24, False, False, 1),
    Block(5, 72, 40, True, False, 2),
    Block(5, 120, 40, True, False, 1),
    Block(5, 120, 40, True, False, 1),
    Block(3, 240, 80, False, True, 2),
    Block(3, 200, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 480, 112, True, True, 1),
    Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2),
    Block(5, 960, 160, True, True, 1),
    Block(5, 960, 160, True, True, 1),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MobileNetConfig:
    """Sizes of the network.

    Attributes:
        width: factor on all numbers of channels, in (0, 8].
        classes: number of classes, at least 1.
    """

    width: float = 1.0
    classes: int = 527

    def __post_init__(self) -> None:
        if not 0 < self.width <= 8:
            raise ValueError(f"width must be in (0, 8], got {self.width}")
        if self.classes < 1:
            raise ValueError(f"classes must be at least 1, got {self.classes}")

    @classmethod
    def of_weights(cls, state: dict[str, Tensor]) -> Self:
        """Reads the sizes off published weights: their last two layers say both.

        Raises:
            ValueError: These layers are not there.
        """
        hidden, logits = state.get("classifier.2.weight"), state.get("classifier.5.weight")
        if hidden is None or logits is None or hidden.ndim != 2 or logits.ndim != 2:
            raise ValueError(
                "the weights have no matrices classifier.2.weight and classifier.5.weight: they are not those of an "
                "EfficientAT MobileNet with an MLP head (mn04_as, mn10_as, ...)"
            )
        return cls(width=hidden.shape[0] / HIDDEN_CHANNELS, classes=logits.shape[0])

    def channels(self, at_width_one: int) -> int:
        """Channels at this width."""
        return in_steps(at_width_one * self.width)


def in_steps(channels: float) -> int:
    """The nearest multiple of `CHANNEL_STEP`, at least one and never below 90 % of what was asked for."""
    rounded = max(CHANNEL_STEP, int(channels + CHANNEL_STEP / 2) // CHANNEL_STEP * CHANNEL_STEP)
    return rounded + CHANNEL_STEP if rounded < 0.9 * channels else rounded


def convolution(
    inputs: int, outputs: int, activation: type[nn.Module] | None, *, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution that keeps the size (or divides it by the stride), its normalisation, and an activation or none."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=NORM_EPSILON),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the mean of all channels says. Source: J. Hu et al. 2018, with a plain sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = in_steps(channels // SQUEEZE)
        self.fc1 = nn.Linear(channels, narrow)
        self.fc2 = nn.Linear(narrow, channels)

    def forward(self, x_BCFN: Tensor) -> Tensor:
        """(B, C, F, N) -> the same shape."""
        scale_BC = torch.sigmoid(self.fc2(torch.relu(self.fc1(x_BCFN.mean((2, 3))))))
        return x_BCFN * scale_BC[:, :, None, None]


class ChannelAttention(nn.Module):
    """Holds the squeeze-and-excitation under the name that the published weights give it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([SqueezeExcitation(channels)])

    def forward(self, x_BCFN: Tensor) -> Tensor:
        """(B, C, F, N) -> the same shape."""
        return torch.as_tensor(self.conc_se_layers[0](x_BCFN))


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, scale, project; added to the input where the shapes agree (figure 4)."""

    def __init__(self, inputs: int, block: Block, config: MobileNetConfig) -> None:
        super().__init__()
        expanded, out = config.channels(block.expanded), config.channels(block.out)
        activation = nn.Hardswish if block.hard else nn.ReLU
        layers: list[nn.Module] = [] if expanded == inputs else [convolution(inputs, expanded, activation)]
        depthwise = convolution(
            expanded, expanded, activation, kernel=block.kernel, stride=block.stride, groups=expanded
        )
        layers += [depthwise, *([ChannelAttention(expanded)] if block.squeezes else [])]
        self.block = nn.Sequential(*layers, convolution(expanded, out, None))
        self.adds = block.stride == 1 and inputs == out

    def forward(self, x_BCFN: Tensor) -> Tensor:
        """(B, C, F, N) -> (B, C', F / stride, N / stride)."""
        y_BCFN = torch.as_tensor(self.block(x_BCFN))
        return x_BCFN + y_BCFN if self.adds else y_BCFN


class MobileNet(nn.Module):
    """Log-mel spectrograms to logits of classes and to the vector before the classifier."""

    def __init__(self, config: MobileNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels(STEM_CHANNELS)
        layers: list[nn.Module] = [convolution(1, channels, nn.Hardswish, kernel=3, stride=2)]
        for block in BLOCKS:
            layers.append(InvertedResidual(channels, block, config))
            channels = config.channels(block.out)
        self.dimension = LAST_EXPANSION * channels
        layers.append(convolution(channels, self.dimension, nn.Hardswish))
        self.features = nn.Sequential(*layers)
        hidden = config.channels(HIDDEN_CHANNELS)
        # Numbers of the layers, as the weights name them: 2 and 5.
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.dimension, hidden),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(hidden, config.classes),
        )

    def forward(self, mel_B1FN: Tensor) -> tuple[Tensor, Tensor]:
        """Listens.

        Args:
            mel_B1FN: float32 (B, 1, F, N), as `EfficientAtMel` makes it.

        Returns:
            logits (B, L) and embeddings (B, D), the mean of the last feature map, float32.
        """
        feature_BDFN = self.features(mel_B1FN)
        return self.classifier(feature_BDFN), feature_BDFN.mean((2, 3))


class EfficientAt:
    """A frozen tagger. Make one with `from_pretrained`."""

    window_s = WINDOW_S
    share_window_s = SHARE_WINDOW_S

    def __init__(self, network: MobileNet, labels: Sequence[str], *, weights_sha256: str) -> None:
        """Takes the loaded parts.

        Args:
            network: put into evaluation mode on the device it is on.
            labels: a name for each class, in the order of the logits.
            weights_sha256: hex digest of the file the weights came from.

        Raises:
            ValueError: there are more or fewer names than classes.
        """
        if len(labels) != network.config.classes:
            raise ValueError(f"{len(labels)} labels cannot name {network.config.classes} classes; give {LABEL_FILE}")
        self.network = network.eval().requires_grad_(False)
        self.labels = tuple(labels)
        self._device = next(network.parameters()).device
        self._mel = EfficientAtMel(EfficientAtMelConfig()).to(self._device)
        self._weights_sha256 = weights_sha256

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """Loads published weights, or the same as safetensors.

        Args:
            path: the file (.pt or .safetensors), or a folder with exactly one; a class list `LABEL_FILE` beside it
                names the classes, without one they are AudioSet's.
            device: where it computes.

        Raises:
            OSError: there is no such file.
            ValueError: it holds something else, or other shapes than its own width asks for.
        """
        file = weights_file(Path(path))
        state = read_state(file)
        network = MobileNet(MobileNetConfig.of_weights(state))
        try:
            network.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise ValueError(
                f"{file} does not fit an EfficientAT of its width: {' '.join(str(error).split())[:500]}"
            ) from error
        beside = file.with_name(LABEL_FILE)
        labels = read_label_file(beside) if beside.is_file() else AUDIOSET_LABELS
        return cls(network.to(device), labels, weights_sha256=sha256_of_files([file]))

    @property
    def sample_rate_hz(self) -> int:
        """Rate that it expects."""
        return SAMPLE_RATE_HZ

    @property
    def dimension(self) -> int:
        """Length of its embeddings."""
        return self.network.dimension

    def identity(self) -> dict[str, Any]:
        """What determines its answers."""
        return {
            "class": "EfficientAt",
            "width": self.network.config.width,
            "weights_sha256": self._weights_sha256,
            "labels": list(self.labels) if self.labels != AUDIOSET_LABELS else "AudioSet",
            "preprocessing": PREPROCESSING_VERSION,
        }

    @torch.inference_mode()
    def forward(self, wave_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Listens to sounds of equal length.

        Args:
            wave_BT: float32 (B, T) at 32 kHz, full scale 1; of any length, 10 s at a time as it was trained.

        Returns:
            logits (B, L) and embeddings (B, D), float32 on its device.

        Raises:
            ValueError: not (B, T).
        """
        if wave_BT.ndim != 2:
            raise ValueError(f"EfficientAT needs mono sounds as (B, T), got shape {tuple(wave_BT.shape)}")
        missing = max(0, round(SHORTEST_S * SAMPLE_RATE_HZ) - wave_BT.shape[1])
        filled_BT = nn.functional.pad(wave_BT.to(self._device), (0, missing))
        # Sound by sound on a CPU: there it is no slower, and the answer does not depend on the company.
        parts = torch.split(filled_BT, 1) if self._device.type == "cpu" else (filled_BT,)
        answers = [self.network(self._mel(part_BT)) for part_BT in parts]
        return torch.cat([logits for logits, _ in answers]), torch.cat([vectors for _, vectors in answers])

    def tag(self, wave_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (B, L) in [0, 1] and embeddings (B, D); see `forward`."""
        logits_BL, vector_BD = self.forward(wave_BT)
        return logits_BL.sigmoid(), vector_BD


def weights_file(path: Path) -> Path:
    """The weights: the file itself, or the only .pt or .safetensors file of a folder.

    Raises:
        FileNotFoundError: There is none.
        ValueError: A folder has several.
    """
    found = [path] if path.is_file() else sorted([*path.glob("*.pt"), *path.glob("*.safetensors")])
    if not found:
        raise FileNotFoundError(f"{path} is no file of weights (.pt or .safetensors) and no folder with one")
    if len(found) > 1:
        raise ValueError(f"{path} holds several weights ({', '.join(one.name for one in found)}); name one of them")
    return found[0]


def read_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; a .pt file may hold nothing else.

    Raises:
        ValueError: It is damaged, or holds anything but tensors.
    """
    if file.suffix == ".safetensors":
        return dict(load_file(file))
    state = read_plain(file)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{file} does not hold tensors by name; give a published state dict")
    return state
