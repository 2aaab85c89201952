"""BEATs as a frozen, deterministic listener: features of its patches from several blocks, and AudioSet's classes.

It takes the checkpoints that microsoft/unilm publishes (MIT), as `BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt`,
which AudioToken listens with (arXiv 2305.13050). A sound is mono, at 16 kHz, and is neither cut nor resampled here.

Shapes: B sounds, T samples, P patches, D width, L classes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.encoders.beats_network import BeatsConfig, BeatsNetwork
from models.encoders.hub_file import weights_at
from models.encoders.kaldi_fbank import KaldiFbank, KaldiFbankConfig
from models.encoders.published_file import read_plain
from models.weights import sha256_of_files

PREPROCESSING_VERSION = 1

FBANK = KaldiFbankConfig(window="povey", full_scale=32_768.0, mean=15.41663, deviation=6.55582)
"""Source: `BEATs.preprocess` of the published code, with Kaldi's defaults."""

SAVED_NAME = "model.safetensors"
HUB_FILES = (SAVED_NAME, "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt", "BEATs_iter3_plus_AS2M.pt")
"""Files of weights that a repository on the Hub may have, the first of which is taken."""

_SHARED = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
"""One tensor under a name for each block; a file of safetensors holds only the first."""


class Held(NamedTuple):
    """What a file of weights holds: sizes, tensors by name, and names of the classes where it has them."""

    config: BeatsConfig
    state: dict[str, Tensor]
    labels: tuple[str, ...] | None


class Beats:
    """A frozen listener. Make one with `from_pretrained`."""

    def __init__(self, network: BeatsNetwork, *, weights_sha256: str, labels: Sequence[str] | None = None) -> None:
        """Takes the loaded parts.

        Args:
            network: put into evaluation mode on the device it is on.
            weights_sha256: hex digest of the file the weights came from.
            labels: a name for each class in the order of the logits, AudioSet's `/m/...` in published files; None:
                not known.

        Raises:
            ValueError: there are more or fewer names than classes.
        """
        if labels is not None and len(labels) != (network.config.classes or 0):
            raise ValueError(f"{len(labels)} labels cannot name {network.config.classes} classes")
        self.network = network.eval().requires_grad_(False)
        self.labels = None if labels is None else tuple(labels)
        self._device = next(network.parameters()).device
        self._fbank = KaldiFbank(FBANK).to(self._device)
        self._weights_sha256 = weights_sha256

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
    ) -> Self:
        """Loads a published checkpoint, fine-tuned or not, or what `save_beats` wrote.

        Args:
            name_or_path: the file, a folder with exactly one, or a name on the Hub:
                `WeiChihChen/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2`.
            device: where it computes.
            revision: branch, tag or commit on the Hub.

        Raises:
            OSError: there is no such file.
            ValueError: it holds something else, or other shapes than its own `cfg` asks for.
        """
        file = weights_at(name_or_path, HUB_FILES, revision=revision)
        held = read_beats(file)
        network = BeatsNetwork(held.config)
        try:
            network.load_state_dict(held.state, strict=True)
        except RuntimeError as error:
            raise ValueError(f"{file} does not fit its own sizes: {' '.join(str(error).split())[:500]}") from error
        return cls(network.to(device), weights_sha256=sha256_of_files([file]), labels=held.labels)

    @property
    def config(self) -> BeatsConfig:
        """Sizes of the network."""
        return self.network.config

    @property
    def sample_rate_hz(self) -> int:
        """Rate that it expects."""
        return FBANK.sample_rate_hz

    @property
    def dimension(self) -> int:
        """Length of a patch's features: 2304 of the published models."""
        return self.config.width * len(self.config.taps)

    def identity(self) -> dict[str, Any]:
        """What determines its answers."""
        return {
            "class": "Beats",
            "weights_sha256": self._weights_sha256,
            "config": asdict(self.config),
            "preprocessing": PREPROCESSING_VERSION,
        }

    def patches(self, samples: int) -> int:
        """Number of patches of a sound of so many samples."""
        patch = self.config.patch
        frames = 1 + (max(samples, self._shortest_samples) - FBANK.frame_samples) // FBANK.hop_samples
        return frames // patch * (FBANK.mel_bins // patch)

    @torch.no_grad()
    def forward(self, wave_BT: Tensor) -> list[Tensor]:
        """Listens to sounds of equal length.

        Args:
            wave_BT: float32 (B, T) at 16 kHz, full scale 1; of any length, less than a patch is filled up with
                silence.

        Returns:
            Of each block, float32 (B, P, D) on its device.

        Raises:
            ValueError: not (B, T).
        """
        if wave_BT.ndim != 2:
            raise ValueError(f"BEATs needs mono sounds as (B, T), got shape {tuple(wave_BT.shape)}")
        filled_BT = nn.functional.pad(wave_BT.to(self._device), (0, max(0, self._shortest_samples - wave_BT.shape[1])))
        # Sound by sound on a CPU: there it is no slower, and the answer does not depend on the company.
        parts = torch.split(filled_BT, 1) if self._device.type == "cpu" else (filled_BT,)
        answers = [self.network(self._fbank(part_BT)) for part_BT in parts]
        return [torch.cat(outputs) for outputs in zip(*answers, strict=True)]

    def features(self, wave_BT: Tensor) -> Tensor:
        """Outputs of the blocks `config.taps`, one behind the other: float32 (B, P, 3 D); see `forward`."""
        outputs = self.forward(wave_BT)
        return torch.cat([outputs[block - 1] for block in self.config.taps], dim=-1)

    def tag(self, wave_BT: Tensor) -> Tensor:
        """Probabilities of the classes, each by itself, float32 (B, L); see `forward`.

        Raises:
            ValueError: it was not fine-tuned.
        """
        return self.network.classify(self.forward(wave_BT)[-1]).sigmoid()

    @property
    def _shortest_samples(self) -> int:
        return FBANK.samples_of(self.config.patch)


def read_beats(file: Path) -> Held:
    """Reads a file of weights, and nothing that could run.

    Args:
        file: `.pt` with `cfg`, `model` and, fine-tuned, `label_dict`; or `.safetensors` of `save_beats`.

    Raises:
        ValueError: It is damaged, or holds something else.
    """
    if file.suffix == ".safetensors":
        return _read_saved(file)
    held = read_plain(file)
    settings, state = (held.get("cfg"), held.get("model")) if isinstance(held, dict) else (None, None)
    if not isinstance(settings, Mapping) or not isinstance(state, Mapping):
        raise ValueError(f"{file} does not hold `cfg` and `model`; give a checkpoint of BEATs as published")
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"`model` in {file} holds something else than tensors; give a checkpoint of BEATs as published"
        )
    try:
        config = BeatsConfig.of_published(settings)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from error
    return Held(config, {name: value.float() for name, value in state.items()}, _labels(file, held.get("label_dict")))


def save_beats(network: BeatsNetwork, folder: Path, *, labels: Sequence[str] | None = None) -> Path:
    """Writes a network, with its sizes and labels in the file's header, whole or not at all.

    Args:
        network: On any device.
        folder: Made if it is not there.
        labels: Names of its classes.

    Returns:
        The file, which `Beats.from_pretrained` reads, as it does the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".partial-{SAVED_NAME}"
    again = {_SHARED.format(block) for block in range(1, network.config.depth)}
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items() if name not in again
    }
    save_file(tensors, partial, metadata={"beats": json.dumps(asdict(network.config)), "labels": json.dumps(labels)})
    return partial.replace(folder / SAVED_NAME)


def _labels(file: Path, names: object) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, Mapping) or set(names) != set(range(len(names))):
        raise ValueError(f"`label_dict` in {file} does not name classes by their numbers; give a published checkpoint")
    return tuple(str(names[index]) for index in range(len(names)))


def _read_saved(file: Path) -> Held:
    try:
        with safe_open(file, framework="pt") as opened:
            written = opened.metadata() or {}
        state = dict(load_file(file))
    except SafetensorError as error:
        raise ValueError(f"{file} cannot be read as weights: {error}") from error
    if "beats" not in written:
        raise ValueError(f"{file} does not name the sizes of a BEATs; give the published .pt, or what save_beats wrote")
    config, labels = BeatsConfig(**json.loads(written["beats"])), json.loads(written.get("labels", "null"))
    for block in range(1, config.depth):
        state[_SHARED.format(block)] = state[_SHARED.format(0)]
    return Held(config, state, None if labels is None else tuple(labels))
