"""AudioX as one uses it: sounds from words, pictures and sounds. Also how a trained model lies on the disk.

    config.json             sizes of the network, its path, and where the other parts are
    network.safetensors     weights (the moving average of a run)
    codec/                  as the codec saves itself
    text_encoder/           copied, where the encoder came from a folder; else config.json names it
    frame_encoder/          likewise, where it has weights

Legend: B sounds, C channels, T samples, F latent frames, D latent channels, N pictures, H and W their pixels.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, Unpack

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.audiox.adapters import Adapters
from models.audiox.conditioning import ConditionEncoders, Modality
from models.audiox.encoder_source import ConditionSources
from models.audiox.fusion import FusionConfig
from models.audiox.network import AudioXConfig, AudioXNetwork
from models.audiox.prompts import MorePrompts, Prompts
from models.audiox.sampling import Noise, Sampling, Seed, guidance_of, sample_latents
from models.codecs.codec import Codec, load_codec
from models.diffusion.paths import PATHS
from models.diffusion.solvers import OnStep
from models.model_folder import damage_named, model_in, read_config, written_whole

_FORMAT = "audiox 2"
_WEIGHTS = "network.safetensors"
Guidance = float | Mapping[Modality, float]


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
            ValueError: if its format is not this version's, it is damaged, or its parts do not fit each other.
        """
        inside = model_in(folder, _WEIGHTS)
        sizes, sources, path = _read_config(inside / "config.json")
        network = AudioXNetwork(sizes)
        network.load_state_dict(load_file(inside / _WEIGHTS))
        return cls(
            network.to(device).requires_grad_(False),
            codec=load_codec(inside / "codec", device=device),
            encoders=sources.encoders(device),
            path=path,
        )

    @classmethod
    def from_published(
        cls,
        checkpoint: str | Path,
        config: str | Path,
        *,
        codec: Codec,
        sources: ConditionSources,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Loads AudioX as it was published (`published.py`); `save_pretrained` then writes it as ours.

        Args:
            checkpoint: `model.ckpt`, or safetensors.
            config: Its `config.json`.
            codec: The autoencoder whose latents it was trained on, an Oobleck of 64 channels.
            sources: T5-base for words and CLIP ViT-B/32 for pictures.
            device: Where to compute.

        Raises:
            ValueError: if the checkpoint is of a kind that is not known, or the parts do not fit each other.
        """
        from models.audiox.published import load_published

        network, path = load_published(checkpoint, config)
        network = network.to(device).requires_grad_(False)
        return cls(network, codec=codec, encoders=sources.encoders(device), path=path)

    def save_pretrained(self, folder: str | Path, sources: ConditionSources) -> None:
        """Writes a model's folder; one that is there is replaced once the new one is whole.

        Args:
            folder: Of the model.
            sources: Where the encoders came from.
        """
        state = {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}
        with written_whole(Path(folder)) as partial:
            self.codec.save(partial / "codec")
            save_file(state, partial / _WEIGHTS)
            config = {
                "format": _FORMAT,
                "network": asdict(self.network.config),
                "path": self.path,
                **sources.save(partial),
            }
            (partial / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    @torch.no_grad()
    def generate(
        self,
        text: Sequence[str] | None = None,
        *,
        seconds: float,
        steps: int = 25,
        guidance: Guidance = 3.0,
        seed: Seed = 0,
        sampling: Sampling | None = None,
        on_step: OnStep | None = None,
        **more: Unpack[MorePrompts],
    ) -> Tensor:
        """Makes one sound for each prompt; any mix of text, video, image, audio and music is one.

        Sound i depends on its prompt, the seed and i, not on the other prompts nor on how many are made at once. Source
        of the defaults: ours, for small models; AudioX's authors take 250 steps and a guidance of 7, by the solver and
        times that `Sampling` names.

        Args:
            text: B prompts; an empty one is an absent one.
            seconds: Length of the sounds.
            steps: Steps of the solver.
            guidance: 1 follows the condition as it was learned, above 1 more strongly. One number for all of it, or one
                for each of "text", "video" and "audio" (those left out are 1).
            seed: Of the noise that the sounds start from; or one of each sound, a number or a pair of them, which then
                does not depend on i. The pair (seed, i) is what one seed for all comes to.
            sampling: The solver and all else that is rarely changed.
            on_step: Called with (steps done, steps in all).
            more: `video`, `image`, `audio`, `music` and `gaps`, see `MorePrompts`.

        Returns:
            float32 (B, C, T) on the CPU, at the codec's rate; full scale is 1, and values beyond it are cut.

        Raises:
            ValueError: if there is no prompt, a prompt is of a kind this network was not made for, or a number is out
                of range.
            FloatingPointError: if what comes out is not finite.
        """
        prompts = Prompts.of(text, more, channels=self.codec.channels)
        sampling = sampling or Sampling()
        if not 0 < seconds < math.inf:
            raise ValueError(f"seconds is {seconds}: a sound must be longer than 0")
        frames = math.ceil(round(seconds * self.codec.latent_rate_hz, 6))
        if round(seconds * self.codec.sample_rate_hz) < 1:
            raise ValueError(f"seconds is {seconds}: that is no sample at {self.codec.sample_rate_hz} Hz")
        if late := [gap for gap in prompts.gaps if gap[0] >= seconds]:
            raise ValueError(f"a gap begins at {late[0][0]} s and the sound ends at {seconds} s: it must begin before")
        if prompts.has_sound and not self.network.config.adapters.audio and not prompts.gaps:
            raise ValueError(
                "this network was trained without prompts of sound: give audio with gaps, text or pictures"
            )
        noise = Noise.of(seed, len(prompts), (frames, self.codec.latent_channels), self.device)
        size = sampling.at_once or len(prompts)
        starts = range(0, len(prompts), size)
        waves = []
        for number, first in enumerate(starts):
            tell = None if on_step is None else _tell_part(on_step, number, len(starts))
            part = slice(first, first + size)
            waves.append(self._some(prompts.part(part), noise.part(part), seconds, steps, guidance, sampling, tell))
        return torch.cat(waves)

    def _some(
        self,
        prompts: Prompts,
        noise: Noise,
        seconds: float,
        steps: int,
        guidance: Guidance,
        sampling: Sampling,
        on_step: OnStep | None,
    ) -> Tensor:
        """The sounds of some prompts, at once."""
        rate_hz, frames = self.codec.sample_rate_hz, noise.shape[0]
        latents = prompts.latents(self.codec, self.network.scale, frames, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            features = prompts.features(self.encoders, latents, reads_sound=self.network.config.adapters.audio)
            contexts, weights = guidance_of(self.network.conditioner, features, guidance)
            x_BFD = sample_latents(
                self.network.transformer,
                noise,
                path=self.path,
                steps=steps,
                conditions=(contexts, weights),
                known=latents.known,
                sampling=sampling,
                on_step=on_step,
            )
        wave_BCT = self.codec.decode(self.network.scale.unscaled(x_BFD.float()))
        if not bool(wave_BCT.isfinite().all()):
            raise FloatingPointError(
                f"a sound came out that is not finite, with guidance {guidance}: try a lower one, or other weights"
            )
        wave_BCT = latents.put_back(wave_BCT, self.codec)
        return wave_BCT[..., : round(seconds * rate_hz)].clamp(-1, 1).float().cpu()


def sizes_of(folder: str | Path) -> AudioXConfig:
    """Sizes of the network of a model's folder, or of that of the run that made it, without its weights.

    Raises:
        FileNotFoundError: if there is no model in the folder.
        ValueError: if its format is not this version's, or it is damaged.
    """
    return _read_config(model_in(folder, _WEIGHTS) / "config.json")[0]


def _read_config(file: Path) -> tuple[AudioXConfig, ConditionSources, str]:
    """Sizes of a network, where its encoders are, and its path, as `config.json` has them."""
    config = read_config(file, _FORMAT)
    with damage_named(file):
        sources = ConditionSources.from_saved(config, file.parent)
        return _network_config(config["network"]), sources, str(config["path"])


def _network_config(told: Mapping[str, Any]) -> AudioXConfig:
    """Sizes as `config.json` has them."""
    adapters = dict(told["adapters"])
    if adapters["fusion"] is not None:
        adapters["fusion"] = FusionConfig(**adapters["fusion"])
    return AudioXConfig(**{**told, "adapters": Adapters(**adapters)})


def _tell_part(on_step: OnStep, number: int, parts: int) -> OnStep:
    def tell(done: int, total: int) -> None:
        on_step(number * total + done, parts * total)

    return tell
