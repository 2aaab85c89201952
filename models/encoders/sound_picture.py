"""A small judge of pictures and sounds that is trained here: classes of both, and one space for both.

For data sets of a few kinds, where no published CLIP and Wav2CLIP are at hand. What it says holds for its own classes
and nothing else, and is only as good as its answers about real pictures and sounds, which belong beside it.

Legend: B samples, S side of a picture, T samples of sound, F frames, M mel bands, D numbers of a vector, L classes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.encoders.beats import FBANK
from models.encoders.kaldi_fbank import KaldiFbank
from models.training.averaged import seeded
from models.weights import sha256_of_files

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT = "sound_picture 1"
TEMPERATURE = 0.1
"""Of the contrast between pictures and sounds of one clip. Source: ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundPictureConfig:
    """Sizes and training, all ours.

    Attributes:
        labels: Names of the classes.
        side_px: Pictures are seen at this size.
        window_samples: Sounds are heard at this length: longer ones from their middle, shorter ones filled up.
        width: Of the first convolution.
        dimension: D.
        batch: Samples of a step.
        steps: Of the training.
        learning_rate: Peak of AdamW's, falling to zero.
    """

    labels: tuple[str, ...]
    side_px: int = 32
    window_samples: int = 48_000
    width: int = 16
    dimension: int = 64
    batch: int = 32
    steps: int = 300
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels) or len(self.labels) < 2:
            raise ValueError(f"a judge needs two different labels at least, not {self.labels}")
        for name in ("side_px", "window_samples", "width", "dimension", "batch", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")


class Tower(nn.Module):
    """Convolutions that halve four times, and a vector of their mean and their maximum over all places."""

    def __init__(self, channels: int, width: int, dimension: int) -> None:
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for inner, outer in pairwise(widths):
            layers += [nn.Conv2d(inner, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers)
        self.leave = nn.Linear(2 * widths[-1], dimension)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        y_BCHW = self.layers(x_BCHW)
        return torch.as_tensor(self.leave(torch.cat([y_BCHW.mean((2, 3)), y_BCHW.amax((2, 3))], dim=1)))


class SoundPictureNetwork(nn.Module):
    """A tower for each, and classes of either's vectors."""

    def __init__(self, config: SoundPictureConfig) -> None:
        super().__init__()
        self.pictures = Tower(3, config.width, config.dimension)
        self.sounds = Tower(1, config.width, config.dimension)
        self.picture_classes = nn.Linear(config.dimension, len(config.labels))
        self.sound_classes = nn.Linear(config.dimension, len(config.labels))


class SoundPictureJudge:
    """A trained judge."""

    def __init__(self, network: SoundPictureNetwork, config: SoundPictureConfig, *, weights_sha256: str) -> None:
        """Takes a network, its sizes, and the hex digest of its file."""
        self.network = network.eval().requires_grad_(False)
        self.config = config
        self._weights_sha256 = weights_sha256
        self._fbank = KaldiFbank(FBANK)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Loads what `save_judge` wrote.

        Raises:
            OSError: It is not there.
            ValueError: It is damaged.
        """
        folder = Path(folder)
        try:
            told = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            if told.pop("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT!r}")
            config = SoundPictureConfig(**{**told, "labels": tuple(told["labels"])})
            network = SoundPictureNetwork(config)
            network.load_state_dict(load_file(folder / WEIGHTS))
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"{folder} holds no judge of sounds and pictures: {error}") from error
        return cls(network, config, weights_sha256=sha256_of_files([folder / WEIGHTS]))

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""
        return FBANK.sample_rate_hz

    def identity(self) -> dict[str, Any]:
        """What determines its answers."""
        told = {**asdict(self.config), "labels": list(self.config.labels)}
        return {"class": "SoundPictureJudge", "weights_sha256": self._weights_sha256, **told}

    @torch.no_grad()
    def see(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        """Pictures of any sizes, uint8 (H, W, 3) -> float32 (B, D)."""
        return torch.as_tensor(self.network.pictures(seen(pictures, self.config.side_px)))

    @torch.no_grad()
    def hear(self, waves: Sequence[Tensor]) -> Tensor:
        """Sounds at its rate, float32 (T,) of any lengths -> (B, D), in the space of the pictures."""
        return torch.as_tensor(self.network.sounds(heard(waves, self.config.window_samples, self._fbank)))

    @torch.no_grad()
    def classes_seen(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> list[str]:
        """The class of each picture."""
        return self._named(self.network.picture_classes(self.see(pictures)))

    @torch.no_grad()
    def classes_heard(self, waves: Sequence[Tensor]) -> list[str]:
        """The class of each sound."""
        return self._named(self.network.sound_classes(self.hear(waves)))

    def _named(self, logits_BL: Tensor) -> list[str]:
        return [self.config.labels[int(number)] for number in logits_BL.argmax(1)]


def seen(pictures: Sequence[npt.NDArray[np.uint8]], side_px: int) -> Tensor:
    """Pictures at one size, float32 (B, 3, S, S) from -1 to 1."""
    sized = [
        nn.functional.interpolate(torch.tensor(one).permute(2, 0, 1)[None].float(), (side_px, side_px), mode="area")
        for one in pictures
    ]
    return torch.cat(sized) / 127.5 - 1


def heard(waves: Sequence[Tensor], window_samples: int, fbank: KaldiFbank) -> Tensor:
    """Sounds at one length as spectrograms, float32 (B, 1, F, M)."""
    windows = []
    for wave_T in waves:
        start = max(0, (len(wave_T) - window_samples) // 2)
        window_T = wave_T[start : start + window_samples]
        windows.append(nn.functional.pad(window_T, (0, window_samples - len(window_T))))
    return torch.as_tensor(fbank(torch.stack(windows)))[:, None]


def fit_judge(
    pictures: Sequence[npt.NDArray[np.uint8]],
    waves: Sequence[Tensor],
    labels: Sequence[str],
    *,
    config: SoundPictureConfig,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> SoundPictureNetwork:
    """Trains a judge: classes of pictures and of sounds, and pictures near to the sounds of their clips.

    Args:
        pictures: uint8 (H, W, 3), of N moments of clips.
        waves: Of each the sound around it, (T,) at 16 kHz.
        labels: Of each its class.
        config: Sizes.
        seed: Of the weights and of the order.
        on_step: Told of each step and its loss.

    Raises:
        ValueError: There are other counts, none, or a label that is not known.
    """
    if len(pictures) != len(waves) or len(waves) != len(labels) or not len(labels):
        raise ValueError(f"{len(pictures)} pictures, {len(waves)} sounds, {len(labels)} labels: give as many of each")
    if unknown := sorted(set(labels) - set(config.labels)):
        raise ValueError(f"the labels {unknown} are not among those of the judge")
    fbank = KaldiFbank(FBANK)
    x_N3SS, mel_N1FM = seen(pictures, config.side_px), heard(waves, config.window_samples, fbank)
    class_N = torch.tensor([config.labels.index(label) for label in labels])
    network = seeded(lambda: SoundPictureNetwork(config), seed).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, config.steps, pct_start=0.1)
    rng = np.random.default_rng(seed)
    for step in range(config.steps):
        drawn = torch.from_numpy(rng.choice(len(labels), min(config.batch, len(labels)), replace=False))
        loss = _loss(network, x_N3SS[drawn], mel_N1FM[drawn], class_N[drawn])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, loss.item())
    return network.eval()


def _loss(network: SoundPictureNetwork, x_B3SS: Tensor, mel_B1FM: Tensor, class_B: Tensor) -> Tensor:
    """Cross-entropies of both classifiers, and of finding a clip of the same class across, both ways."""
    picture_BD, sound_BD = network.pictures(x_B3SS), network.sounds(mel_B1FM)
    classes = nn.functional.cross_entropy(network.picture_classes(picture_BD), class_B)
    classes = classes + nn.functional.cross_entropy(network.sound_classes(sound_BD), class_B)
    unit_P, unit_S = (nn.functional.normalize(one, dim=1) for one in (picture_BD, sound_BD))
    score_BB = unit_P @ unit_S.T / TEMPERATURE
    same_BB = (class_B[:, None] == class_B).float()
    across = sum(
        -(one.log_softmax(1) * same_BB / same_BB.sum(1, keepdim=True)).sum(1).mean() for one in (score_BB, score_BB.T)
    )
    return classes + torch.as_tensor(across) / 2


def save_judge(network: SoundPictureNetwork, config: SoundPictureConfig, folder: str | Path) -> Path:
    """Writes a judge's folder, and returns it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".partial-{WEIGHTS}"
    save_file({name: one.contiguous() for name, one in network.state_dict().items()}, partial)
    (folder / CONFIG).write_text(json.dumps({"format": FORMAT, **asdict(config)}, indent=1) + "\n")
    partial.replace(folder / WEIGHTS)
    return folder
