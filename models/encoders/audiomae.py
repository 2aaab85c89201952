"""AudioMAE as a frozen, deterministic listener, and the language of audio that AudioLDM 2 makes of what it hears.

The language of audio (H. Liu et al. 2023, arXiv 2308.05734) is a sequence of vectors: those of the
patches, pooled. A sound is mono, at 16 kHz, and is neither cut nor resampled here.

Shapes: B sounds, T samples, P patches, L vectors, D width.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from models.encoders.audiomae_network import AudioMaeConfig, AudioMaeEncoder
from models.encoders.hub_file import weights_at
from models.encoders.kaldi_fbank import KaldiFbank
from models.encoders.published_file import read_tensors
from models.weights import sha256_of_files

PREPROCESSING_VERSION = 1

LOA_FACTOR = 8
"""Of sounds and music: 8 vectors of 10.24 s. Speech has 1: 512. Source: the published settings of AudioLDM 2."""

SAVED_NAME = "model.safetensors"
HUB_FILES = (SAVED_NAME, "pytorch_model.bin")
"""Files of weights that a repository on the Hub may have, the first of which is taken."""

_MARKS = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight")
"""What lies below one prefix where an AudioMAE is."""


def pool_patches(patch_BPD: Tensor, grid: tuple[int, int], factor: int) -> Tensor:
    """Pools patches to the language of audio: half the mean, half the maximum, of windows that do not overlap.

    Source: AudioLDM 2's code: windows of `factor` patches along time and min(factor, 8) along frequency; what is left
    at the ends, where a factor does not divide the grid, is not heard.

    Args:
        patch_BPD: float32, time the slower.
        grid: Patches along time and along frequency.
        factor: At least 1; a window is never longer than the grid.

    Returns:
        float32 (B, L, D), time the slower.

    Raises:
        ValueError: the factor is below 1.
    """
    window = pooling_window(grid, factor)
    map_BDTK = patch_BPD.transpose(1, 2).reshape(patch_BPD.shape[0], -1, *grid)
    mean_BDtk = nn.functional.avg_pool2d(map_BDTK, window)
    most_BDtk = nn.functional.max_pool2d(map_BDTK, window)
    return ((mean_BDtk + most_BDtk) / 2).flatten(2).transpose(1, 2)


def pooling_window(grid: tuple[int, int], factor: int) -> tuple[int, int]:
    """Patches of a window along time and along frequency.

    Raises:
        ValueError: the factor is below 1.
    """
    if factor < 1:
        raise ValueError(f"the factor of the language of audio must be at least 1, got {factor}")
    return min(factor, grid[0]), min(factor, 8, grid[1])


class AudioMae:
    """A frozen listener. Make one with `from_pretrained`."""

    def __init__(self, network: AudioMaeEncoder, *, weights_sha256: str) -> None:
        """Takes the loaded network, which is put into evaluation mode on the device it is on."""
        self.network = network.eval().requires_grad_(False)
        self._device = next(network.parameters()).device
        self._fbank = KaldiFbank(network.config.fbank).to(self._device)
        self._weights_sha256 = weights_sha256

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
    ) -> Self:
        """Loads what `save_audiomae` wrote, or published weights, wherever in their file an AudioMAE lies.

        Args:
            name_or_path: a file, a folder with one (AudioMAE's `pretrained.pth`, a checkpoint of AudioLDM 2), or a
                name on the Hub: `hance-ai/audiomae`, `gaunernst/vit_base_patch16_1024_128.audiomae_as2m`.
            device: where it computes.
            revision: branch, tag or commit on the Hub.

        Raises:
            OSError: there is no such file.
            ValueError: it holds no AudioMAE, several that differ, or one without the normalisation after its blocks.
        """
        file = weights_at(name_or_path, HUB_FILES, revision=revision)
        state = audiomae_tensors(read_tensors(file))
        try:
            network = AudioMaeEncoder(_saved_config(file) or AudioMaeConfig.of_weights(state))
            network.load_state_dict(state, strict=True)
        except (ValueError, TypeError, RuntimeError) as error:
            raise ValueError(f"{file} does not hold an AudioMAE: {' '.join(str(error).split())[:500]}") from error
        return cls(network.to(device), weights_sha256=sha256_of_files([file]))

    @property
    def config(self) -> AudioMaeConfig:
        """Sizes of the network."""
        return self.network.config

    @property
    def sample_rate_hz(self) -> int:
        """Rate that it expects."""
        return self._fbank.config.sample_rate_hz

    @property
    def longest_samples(self) -> int:
        """Longest sound at once."""
        return self.config.fbank.samples_of(self.config.frames)

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self.config.width

    def identity(self) -> dict[str, Any]:
        """What determines its answers."""
        return {
            "class": "AudioMae",
            "weights_sha256": self._weights_sha256,
            "config": asdict(self.config),
            "preprocessing": PREPROCESSING_VERSION,
        }

    def vectors(self, factor: int = LOA_FACTOR) -> int:
        """Number of vectors that `language_of_audio` returns for a sound."""
        window = pooling_window(self.config.grid, factor)
        return (self.config.grid[0] // window[0]) * (self.config.grid[1] // window[1])

    @torch.no_grad()
    def forward(self, wave_BT: Tensor) -> Tensor:
        """Listens to sounds of equal length.

        Args:
            wave_BT: float32 (B, T) at its rate, full scale 1, T <= `longest_samples`.

        Returns:
            float32 (B, P, D) on its device: for each patch, the mean over its last blocks.

        Raises:
            ValueError: not (B, T), or too long.
        """
        on_device_BT = wave_BT.to(self._device)
        # Sound by sound on a CPU: there it is no slower, and the answer does not depend on the company.
        parts = torch.split(on_device_BT, 1) if self._device.type == "cpu" else (on_device_BT,)
        return torch.cat([self.network(self._fbank(part_BT)) for part_BT in parts])

    def language_of_audio(self, wave_BT: Tensor, *, factor: int = LOA_FACTOR) -> Tensor:
        """The language of audio of sounds, float32 (B, L, D) on its device; see `forward` and `pool_patches`."""
        return pool_patches(self.forward(wave_BT), self.config.grid, factor)


def save_audiomae(network: AudioMaeEncoder, folder: Path) -> Path:
    """Writes an encoder, with its sizes in the file's header, whole or not at all.

    Args:
        network: On any device.
        folder: Made if it is not there.

    Returns:
        The file, which `AudioMae.from_pretrained` reads, as it does the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".partial-{SAVED_NAME}"
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, partial, metadata={"audiomae": json.dumps(asdict(network.config))})
    return partial.replace(folder / SAVED_NAME)


def audiomae_tensors(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors by their own names, out of a file that may hold much else below other names.

    A checkpoint of AudioLDM 2 holds the encoder at two places, below the names of what conditions it; where they are
    equal, either will do. Decoders are left out.

    Raises:
        ValueError: There is none, or several that differ.
    """
    mark = _MARKS[-1]
    prefixes = sorted(name.removesuffix(mark) for name in held if name.endswith(mark))
    prefixes = [prefix for prefix in prefixes if all(f"{prefix}{one}" in held for one in _MARKS)]
    if not prefixes:
        raise ValueError(f"no AudioMAE found: no names that end in {', '.join(_MARKS)} below one prefix")
    first, *others = [_below(held, prefix) for prefix in prefixes]
    for prefix, other in zip(prefixes[1:], others, strict=True):
        if other.keys() != first.keys() or any(not torch.equal(first[name], other[name]) for name in first):
            raise ValueError(f"two AudioMAEs that differ, below {prefixes[0]!r} and {prefix!r}; save the one you mean")
    return first


def _below(held: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    parts = ("cls_token", "pos_embed", "patch_embed.", "blocks.", "norm.")
    names = (name.removeprefix(prefix) for name in held if name.startswith(prefix))
    return {name: held[prefix + name].float() for name in names if name.startswith(parts)}


def _saved_config(file: Path) -> AudioMaeConfig | None:
    if file.suffix != ".safetensors":
        return None
    with safe_open(file, framework="pt") as opened:
        written = (opened.metadata() or {}).get("audiomae")
    return None if written is None else AudioMaeConfig(**json.loads(written))
