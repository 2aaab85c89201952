"""AudioX as one uses it: sounds from words and pictures. Also how a trained model lies on the disk.

    config.json             sizes of the network, its path, and where the other parts are
    network.safetensors     weights (the moving average of a run)
    codec/                  as the codec saves itself
    text_encoder/           copied, where the encoder came from a folder; else config.json names it
    frame_encoder/          likewise, where it has weights

Legend: B sounds, C channels, T samples, F latent frames, D latent channels, N pictures, H and W their pixels.
"""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.audiox.conditioning import ConditionEncoders
from models.audiox.encoder_source import ConditionSources
from models.audiox.network import AudioXConfig, AudioXNetwork
from models.codecs.codec import Codec, load_codec
from models.diffusion.guidance import classifier_free_weights, guided
from models.diffusion.paths import PATHS
from models.diffusion.solvers import SOLVERS, OnStep
from models.diffusion.times import sampling_times

_FORMAT = "audiox 1"
_SOLVER_OF_PATH = {"flow": "euler", "v": "dpm_solver_2m"}


class AudioX:
    """A trained model with its codec and its frozen encoders.

    Attributes:
        network: In evaluation mode, on `device`.
        codec: Turns latents into sound.
        encoders: Turn words and pictures into features.
        path: "flow" or "v", as the network was trained.
        device: Where it computes.
    """

    def __init__(self, network: AudioXNetwork, *, codec: Codec, encoders: ConditionEncoders, path: str) -> None:
        """Puts the parts together.

        Raises:
            ValueError: if the parts do not fit each other.
        """
        if path not in PATHS:
            raise ValueError(f"path is {path!r}: choose one of {', '.join(PATHS)}")
        config = network.config
        fits = {
            "latent_channels": (config.latent_channels, codec.latent_channels, "codec"),
            "text_width": (config.text_width, encoders.text.text_width, "text encoder"),
            "frame_width": (config.frame_width, encoders.frames.frame_width, "frame encoder"),
            "frame_patches": (config.frame_patches, encoders.frames.frame_patches, "frame encoder"),
        }
        for name, (wanted, given, part) in fits.items():
            if wanted != given:
                raise ValueError(
                    f"the network was made for {name} {wanted}, the {part} has {given}: give its own {part}"
                )
        self.network = network.eval()
        self.codec = codec
        self.encoders = encoders
        self.path = path
        self.device = encoders.device

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> Self:
        """Loads a model from its folder, or from that of the run that made it.

        Raises:
            FileNotFoundError: if there is no model in the folder.
            ValueError: if its format is not this version's, or its parts do not fit each other.
        """
        folder = Path(folder)
        inside = folder / "model" if (folder / "model" / "network.safetensors").exists() else folder
        if not (inside / "network.safetensors").exists():
            raise FileNotFoundError(
                f"{folder} holds no trained model (network.safetensors): give the folder of a run that has ended"
            )
        config = json.loads((inside / "config.json").read_text())
        if config.get("format") != _FORMAT:
            raise ValueError(f"{inside / 'config.json'} has format {config.get('format')!r}, not {_FORMAT!r}")
        network = AudioXNetwork(AudioXConfig(**config["network"]))
        network.load_state_dict(load_file(inside / "network.safetensors"))
        return cls(
            network.to(device).requires_grad_(False),
            codec=load_codec(inside / "codec", device=device),
            encoders=ConditionSources.from_saved(config, inside).encoders(device),
            path=config["path"],
        )

    def save_pretrained(self, folder: str | Path, sources: ConditionSources) -> None:
        """Writes a model's folder; one that is there is replaced once the new one is whole.

        Args:
            folder: Of the model.
            sources: Where the encoders came from.
        """
        folder = Path(folder)
        partial = folder.with_name(f".partial-{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self.codec.save(partial / "codec")
        save_file(
            {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()},
            partial / "network.safetensors",
        )
        config = {
            "format": _FORMAT,
            "network": asdict(self.network.config),
            "path": self.path,
            **sources.save(partial),
        }
        (partial / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)

    @torch.no_grad()
    def generate(
        self,
        text: Sequence[str] | None = None,
        frames: Tensor | np.ndarray | None = None,
        *,
        seconds: float,
        steps: int = 25,
        guidance: float = 3.0,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Makes one sound for each prompt.

        Sound i depends on its prompt, the seed and i, not on the other prompts.

        Args:
            text: B prompts; an empty one is an absent one.
            frames: uint8 pictures (B, N, H, W, 3), evenly spaced over the sound's length.
            seconds: Length of the sounds.
            steps: Calls of the network.
            guidance: 1 follows the condition as it was learned, above 1 more strongly.
            seed: Of the noise that the sounds start from.
            on_step: Called with (steps done, steps in all).

        Returns:
            float32 (B, C, T) on the CPU, at the codec's rate; full scale is 1, and values beyond it are cut.

        Raises:
            ValueError: if there is no prompt, or a number is out of range.
        """
        texts, frames_BNHW3 = _prompts(text, frames)
        if not 0 < seconds < math.inf:
            raise ValueError(f"seconds is {seconds}: a sound must be longer than 0")
        latent_frames = math.ceil(round(seconds * self.codec.latent_rate_hz, 6))
        shape = (latent_frames, self.codec.latent_channels)
        rngs = [np.random.default_rng([seed, number]) for number in range(len(texts))]
        noise_BFD = np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            features = self.encoders.features(texts, frames_BNHW3, None)
            contexts = [self.network.conditioner(features), self.network.conditioner(features.emptied())]
            velocity = guided(self.network.transformer, contexts, classifier_free_weights(guidance))
            solve = SOLVERS[_SOLVER_OF_PATH[self.path]]
            start = torch.from_numpy(noise_BFD).to(self.device)
            x_BFD = solve(velocity, start, sampling_times(steps), PATHS[self.path], on_step)
        wave_BCT = self.codec.decode(self.network.scale.unscaled(x_BFD.float()))
        return wave_BCT[..., : round(seconds * self.codec.sample_rate_hz)].clamp(-1, 1).float().cpu()


def _prompts(text: Sequence[str] | None, frames: Tensor | np.ndarray | None) -> tuple[list[str], Tensor | None]:
    if isinstance(text, str):
        raise ValueError(f"text is one string, {text!r}: give a list of prompts")
    frames_BNHW3 = None if frames is None else torch.as_tensor(frames)
    if frames_BNHW3 is not None and (frames_BNHW3.ndim != 5 or frames_BNHW3.dtype != torch.uint8):
        raise ValueError(f"frames are {frames_BNHW3.dtype} {tuple(frames_BNHW3.shape)}: give uint8 (B, N, H, W, 3)")
    texts = list(text) if text is not None else [""] * (0 if frames_BNHW3 is None else len(frames_BNHW3))
    if not texts:
        raise ValueError("there is no prompt: give text, frames, or both")
    return texts, frames_BNHW3
