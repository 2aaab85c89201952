"""Re-AudioLDM as one uses it: sounds from words and from clips that were found for them. Also how it lies on the disk.

    config.json             sizes of the network, its schedule, and where the encoders are
    network.safetensors     weights (the moving average of a run)
    codec/                  as the codec saves itself
    clap/  listener/  text_encoder/     copied, where they came from folders; else config.json names them

It searches nothing itself: what was found is handed in. Without it, the prompt alone is followed.

Legend: B sounds, C channels, R samples, F latent frames, D latent channels.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.audiox.sampling import Seed, start_noise
from models.codecs.codec import Codec, load_codec
from models.diffusion.discrete import DiscreteSchedule
from models.diffusion.guidance import classifier_free_weights
from models.diffusion.solvers import OnStep
from models.model_folder import damage_named, model_in, read_config, written_whole
from models.re_audioldm.conditioning import Conditions, EncoderSources, FrozenEncoders, Neighbour
from models.re_audioldm.network import ReAudioLdmConfig, ReAudioLdmNetwork

_FORMAT, _SYSTEM = "re_audioldm 2", "re_audioldm"
_WEIGHTS = "network.safetensors"


class ReAudioLDM:
    """A trained model with its codec and its frozen encoders.

    Attributes:
        network: In evaluation mode, on `device`.
        codec: Turns latents into sound.
        encoders: Turn words and neighbours into features.
        schedule: Levels of noise that the network was trained on.
        device: Where it computes.
    """

    def __init__(
        self, network: ReAudioLdmNetwork, *, codec: Codec, encoders: FrozenEncoders, schedule: DiscreteSchedule
    ) -> None:
        """Puts the parts together.

        Raises:
            ValueError: if the parts do not fit each other.
        """
        config, listener, text = network.config, encoders.listener, encoders.text
        fits = [
            ("latents", config.latent_channels * config.latent_bins, codec.latent_channels, "codec"),
            ("said_width", config.said_width, encoders.clap.dimension, "CLAP"),
        ]
        if config.reads_sound:
            if listener is None or text is None:
                raise ValueError("the network reads neighbours: give its listener and its text encoder")
            fits += [
                ("heard_width", config.heard_width, listener.dimension, "listener"),
                ("text_width", config.text_width, text.text_width, "text encoder"),
            ]
        for name, wanted, given, part in fits:
            if wanted != given:
                raise ValueError(
                    f"the network was made for {name} of {wanted}, the {part} has {given}: give its own {part}"
                )
        self.network = network.eval()
        self.codec = codec
        self.encoders = encoders
        self.schedule = schedule
        self.device = encoders.device

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> Self:
        """Loads a model from its folder, or from that of the run that made it.

        Raises:
            FileNotFoundError: if there is no model in the folder.
            ValueError: if its format is not this version's, it is damaged, or its parts do not fit each other.
        """
        inside = model_in(folder, _WEIGHTS)
        sizes, schedule, sources = _read_config(inside / "config.json")
        network = ReAudioLdmNetwork(sizes)
        network.load_state_dict(load_file(inside / _WEIGHTS))
        return cls(
            network.to(device).requires_grad_(False),
            codec=load_codec(inside / "codec", device=device),
            encoders=sources.encoders(device),
            schedule=schedule,
        )

    def save_pretrained(self, folder: str | Path, sources: EncoderSources) -> None:
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
                "system": _SYSTEM,
                "network": asdict(self.network.config),
                "schedule": asdict(self.schedule),
                "encoders": sources.save(partial),
            }
            (partial / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    @torch.no_grad()
    def generate(
        self,
        text: Sequence[str],
        *,
        neighbours: Sequence[Sequence[Neighbour]] | None = None,
        seconds: float,
        steps: int = 50,
        guidance: float = 3.5,
        seed: Seed = 0,
        at_once: int | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Makes one sound for each prompt.

        Sound i depends on its prompt, its neighbours, the seed and i, not on the others.

        Args:
            text: B prompts.
            neighbours: What was found for each, the nearest first, as `encoders.neighbour` makes it; of more than the
                network reads the nearest are read. None: nothing was looked for.
            seconds: Length of the sounds.
            steps: Of DDIM, at most as many as there are levels. Source: 200 in AudioLDM; 50 is ours.
            guidance: 1 follows the condition as it was learned, above 1 more strongly. Source: 3.5 in AudioLDM 2.
            seed: Of the noise that the sounds start from; or one of each sound, a number or a pair of them. The pair
                (seed, i) is what one seed for all comes to.
            at_once: Sounds made at once; None: all. It changes memory and speed, and results only in rounding.
            on_step: Called with (steps done, steps in all).

        Returns:
            float32 (B, C, R) on the CPU, at the codec's rate; full scale is 1, and values beyond it are cut.

        Raises:
            ValueError: if there is no prompt, or a number is out of range.
            FloatingPointError: if what comes out is not finite.
        """
        self._check(text, seconds, steps, guidance, at_once)
        frames = math.ceil(round(seconds * self.codec.latent_rate_hz, 6))
        noise_BFD = start_noise(seed, len(text), (frames, self.codec.latent_channels)).to(self.device)
        found = [()] * len(text) if neighbours is None else neighbours
        most = self.network.config.neighbours
        conditions = Conditions.of_neighbours(self.encoders.said(text), [tuple(several)[:most] for several in found])
        size = at_once or len(text)
        waves, starts = [], range(0, len(text), size)
        for part, first in enumerate(starts):
            rows = slice(first, first + size)

            def tell(done: int, part: int = part) -> None:
                if on_step is not None:
                    on_step(part * steps + done, len(starts) * steps)

            x_BFD = self._denoised(noise_BFD[rows], conditions.rows(rows), steps, guidance, tell)
            waves.append(self.codec.decode(self.network.scale.unscaled(x_BFD.float())))
        wave_BCR = torch.cat(waves)
        if not bool(wave_BCR.isfinite().all()):
            raise FloatingPointError(
                f"a sound came out that is not finite, with guidance {guidance}: try a lower one, or other weights"
            )
        return wave_BCR[..., : round(seconds * self.codec.sample_rate_hz)].clamp(-1, 1).float().cpu()

    def _check(self, text: Sequence[str], seconds: float, steps: int, guidance: float, at_once: int | None) -> None:
        if isinstance(text, str) or not len(text):
            raise ValueError("text must be a list of at least one prompt")
        if not 0 < seconds < math.inf or round(seconds * self.codec.sample_rate_hz) < 1:
            raise ValueError(f"seconds is {seconds}: a sound must be at least a sample long")
        if not 1 <= steps <= self.schedule.levels:
            raise ValueError(f"steps is {steps}: it goes from 1 to the {self.schedule.levels} levels of the model")
        if not math.isfinite(guidance):
            raise ValueError(f"guidance is {guidance}: it must be a finite number")
        if at_once is not None and at_once < 1:
            raise ValueError(f"at_once is {at_once}: it must be at least 1")

    def _denoised(
        self, noise_BFD: Tensor, conditions: Conditions, steps: int, guidance: float, tell: Callable[[int], None]
    ) -> Tensor:
        """From noise to latents by DDIM: Song et al. 2020, arXiv 2010.02502, with eta 0."""
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler(**self.schedule.ddim_settings())
        scheduler.set_timesteps(steps, device=self.device)
        given, empty = classifier_free_weights(guidance)
        both = conditions if empty == 0 else conditions.beside(conditions.emptied())
        x_BFD, count = noise_BFD, len(noise_BFD)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            for done, level in enumerate(scheduler.timesteps, 1):
                twice = x_BFD if empty == 0 else torch.cat([x_BFD, x_BFD])
                predicted = self.network(twice, level.expand(len(twice)), both).float()
                led = predicted if empty == 0 else given * predicted[:count] + empty * predicted[count:]
                x_BFD = scheduler.step(led, level, x_BFD).prev_sample
                tell(done)
        return x_BFD


def sizes_of(folder: str | Path) -> ReAudioLdmConfig:
    """Sizes of the network of a model's folder, or of that of the run that made it, without its weights.

    Raises:
        FileNotFoundError: if there is no model in the folder.
        ValueError: if its format is not this version's, or it is damaged.
    """
    return _read_config(model_in(folder, _WEIGHTS) / "config.json")[0]


def _read_config(file: Path) -> tuple[ReAudioLdmConfig, DiscreteSchedule, EncoderSources]:
    """Sizes of a network, its schedule and where its encoders are, as `config.json` has them."""
    config = read_config(file, _FORMAT)
    with damage_named(file):
        sizes = {**config["network"], "multiples": tuple(config["network"]["multiples"])}
        sources = EncoderSources.from_saved(config["encoders"], file.parent)
        return ReAudioLdmConfig(**sizes), DiscreteSchedule(**config["schedule"]), sources
