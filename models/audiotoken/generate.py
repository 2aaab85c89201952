"""AudioToken as one uses it: pictures from sounds. Also how a trained model lies on the disk.

    config.json             sizes of the embedder, its prompt, and the frozen models by place and by identity
    embedder.safetensors    weights (the moving average of a run): all that was trained, 35 MB for Stable Diffusion 1

The text-to-image model and BEATs are not copied: they are gigabytes, and frozen. Where they were a path is looked for
from the folder too, so that a data set with its runs can be moved; which model is there is checked.

Legend: B sounds, T samples, L text tokens, D width of a word, H and W pixels.
"""

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.audiotoken.conditioning import PROMPT, SoundPrompt, heard, no_text_states
from models.audiotoken.network import AudioTokenConfig, AudioTokenNetwork
from models.audiotoken.text_to_image import TextToImage
from models.encoders.beats import Beats
from models.model_folder import damage_named, model_in, read_config, written_whole

_FORMAT = "audiotoken 1"
_WEIGHTS = "embedder.safetensors"
OnStep = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenSources:
    """Where the frozen models are.

    Attributes:
        pictures: The text-to-image model, a folder or a name on the Hub.
        listener: BEATs, a file, a folder or a name on the Hub.
    """

    pictures: str
    listener: str

    def load(self, device: torch.device | str = "cpu") -> tuple[TextToImage, Beats]:
        """Both.

        Raises:
            OSError: Files are missing.
            ValueError: They are of another kind.
        """
        return (
            TextToImage.from_pretrained(self.pictures, device=device),
            Beats.from_pretrained(self.listener, device=device),
        )

    def lasting(self) -> "FrozenSources":
        """The same with whole paths, which hold from any folder."""
        return FrozenSources(pictures=_lasting(self.pictures), listener=_lasting(self.listener))

    def seen_from(self, folder: Path) -> "FrozenSources":
        """The same with the way from a folder to each, which holds where all are moved together."""
        return FrozenSources(pictures=_seen_from(folder, self.pictures), listener=_seen_from(folder, self.listener))

    def found(self, folder: Path, seen: Mapping[str, str]) -> "FrozenSources":
        """The same, but what is not there any more is taken from where it lies as seen from a folder.

        Args:
            folder: Of the model.
            seen: What `seen_from` said of it.
        """
        return FrozenSources(**{name: _found(place, folder, seen.get(name)) for name, place in asdict(self).items()})


class AudioToken:
    """A trained embedder with its frozen models.

    Attributes:
        network: In evaluation mode: nothing is dropped.
        pictures: The text-to-image model.
        listener: BEATs.
        prompt: In which the sound's word stands.
    """

    def __init__(
        self, network: AudioTokenNetwork, *, pictures: TextToImage, listener: Beats, prompt: str = PROMPT
    ) -> None:
        """Puts the parts together.

        Raises:
            ValueError: They do not fit each other.
        """
        check_widths(network.config, pictures, listener)
        self.network = network.eval()
        self.pictures, self.listener, self.prompt = pictures, listener, prompt
        self._sound_prompt = SoundPrompt(pictures, prompt)
        self._nothing_1LD = no_text_states(pictures)  # what guidance goes away from is the same for every sound

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        pictures: str | None = None,
        listener: str | None = None,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Loads an embedder from its folder, or from that of the run that made it, and its frozen models.

        Args:
            folder: Of the model or the run.
            pictures: Where the text-to-image model is now; where it was when not given.
            listener: Likewise of BEATs.
            device: Where to compute.

        Raises:
            FileNotFoundError: There is no model in the folder.
            OSError: A frozen model is not there.
            ValueError: The folder is damaged, or a frozen model is another than the embedder was trained with.
        """
        inside = model_in(folder, _WEIGHTS)
        config = read_config(inside / "config.json", _FORMAT, "network", "prompt", "sources", "identities")
        with damage_named(inside / "config.json"):
            known = FrozenSources(**config["sources"]).found(inside, config.get("sources_from_here", {}))
        sources = FrozenSources(pictures=pictures or known.pictures, listener=listener or known.listener)
        model, beats = sources.load(device)
        for what, wanted, found in (
            (sources.pictures, config["identities"]["pictures"], model.identity()),
            (sources.listener, config["identities"]["listener"], beats.identity()),
        ):
            if wanted != json.loads(json.dumps(found)):
                different = ", ".join(sorted(key for key in wanted if wanted[key] != found.get(key)))
                raise ValueError(
                    f"{what} is not what the embedder in {inside} was trained with ({different} differs): give the "
                    "model that it was trained with"
                )
        network = AudioTokenNetwork(AudioTokenConfig(**config["network"]))
        try:
            network.load_state_dict(load_file(inside / _WEIGHTS))
        except (RuntimeError, SafetensorError) as error:
            raise ValueError(f"{inside / _WEIGHTS} is damaged, copy the model again: {error}") from error
        return cls(
            network.to(device).requires_grad_(False), pictures=model, listener=beats, prompt=str(config["prompt"])
        )

    def save_pretrained(self, folder: str | Path, sources: FrozenSources) -> None:
        """Writes a model's folder; one that is there is replaced once the new one is whole.

        Args:
            folder: Of the model.
            sources: Where the frozen models are.
        """
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        config = {
            "format": _FORMAT,
            "system": "audiotoken",
            "network": asdict(self.network.config),
            "prompt": self.prompt,
            "sources": asdict(sources.lasting()),
            "sources_from_here": asdict(sources.seen_from(Path(folder))),
            "identities": {"pictures": self.pictures.identity(), "listener": self.listener.identity()},
        }
        with written_whole(Path(folder)) as partial:
            save_file(state, partial / _WEIGHTS)
            (partial / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    @torch.no_grad()
    def token(self, wave_T: Tensor) -> Tensor:
        """The word of a sound: (T,) float32 at 16 kHz, of any length -> (1, D)."""
        return torch.as_tensor(self.network(heard(self.listener, wave_T[None])))

    @torch.no_grad()
    def states(self, waves: Sequence[Tensor]) -> Tensor:
        """What the UNet reads of some sounds, (B, L, D): the `prompt_embeds` of diffusers' pipelines."""
        return self._sound_prompt.states(torch.cat([self.token(wave_T) for wave_T in waves]))

    @torch.no_grad()
    def generate(
        self,
        waves: Sequence[Tensor],
        *,
        steps: int = 50,
        guidance: float = 7.5,
        seeds: Sequence[int] | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Makes one picture for each sound, as diffusers' `StableDiffusionPipeline` would from `states`.

        Source of steps and guidance: the published code of AudioToken. Picture i depends on its sound and its seed
        alone.

        Args:
            waves: B sounds, float32 (T,) each at 16 kHz; BEATs was trained on 10 s, AudioToken on 5 s.
            steps: Of the folder's own solver.
            guidance: 1 follows the sound as it was learned, above 1 more strongly; at most 1 costs half.
            seeds: Of the noise of each picture; 0, 1, ... when not given.
            on_step: Called with (steps done, steps in all).

        Returns:
            uint8 (B, H, W, 3) on the CPU, RGB, of the size that the text-to-image model was trained on.

        Raises:
            ValueError: No sound, a number out of range, or other counts.
            FloatingPointError: A picture came out that is not finite.
        """
        seeds = list(range(len(waves))) if seeds is None else list(seeds)
        if not len(waves) or steps < 1 or len(seeds) != len(waves):
            raise ValueError(f"needs a sound, a step and a seed a sound: {len(waves)}, {steps} and {len(seeds)} given")
        model, states_BLD = self.pictures, self.states(waves)
        guided = guidance > 1
        if guided:
            states_BLD = torch.cat([self._nothing_1LD.expand_as(states_BLD), states_BLD])
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        shape = (1, int(model.vae.config.latent_channels), model.latent_side, model.latent_side)
        solver = model.scheduler()
        solver.set_timesteps(steps, device=model.device)
        noise = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
        x_BZhw = noise.to(model.device) * solver.init_noise_sigma
        more = {"generator": generators} if "generator" in inspect.signature(solver.step).parameters else {}
        for done, level in enumerate(solver.timesteps, start=1):
            entering = solver.scale_model_input(torch.cat([x_BZhw, x_BZhw]) if guided else x_BZhw, level)
            predicted = model.unet(entering, level, encoder_hidden_states=states_BLD, return_dict=False)[0]
            if guided:
                away, toward = predicted.chunk(2)
                predicted = away + guidance * (toward - away)
            x_BZhw = solver.step(predicted, level, x_BZhw, **more, return_dict=False)[0]
            if on_step is not None:
                on_step(done, len(solver.timesteps))
        return model.pictures(x_BZhw)


def check_widths(config: AudioTokenConfig, pictures: TextToImage, listener: Beats) -> None:
    """Refuses an embedder that does not fit its frozen models.

    Raises:
        ValueError: Says which width differs.
    """
    if config.heard_width != listener.dimension:
        raise ValueError(
            f"the embedder hears {config.heard_width} numbers a patch, BEATs says {listener.dimension}: give its own"
        )
    if config.token_width != pictures.token_width:
        raise ValueError(
            f"the embedder's words are {config.token_width} wide, those of the text encoder {pictures.token_width}: "
            "give its own text-to-image model"
        )


def _seen_from(folder: Path, name_or_path: str) -> str:
    path = Path(name_or_path)
    return os.path.relpath(path.resolve(), folder.resolve()) if path.exists() else name_or_path


def _found(name_or_path: str, folder: Path, seen: str | None) -> str:
    is_gone = Path(name_or_path).is_absolute() and not Path(name_or_path).exists()
    return str(folder / seen) if is_gone and seen is not None and (folder / seen).exists() else name_or_path


def _lasting(name_or_path: str) -> str:
    path = Path(name_or_path)
    return str(path.resolve()) if path.exists() else name_or_path
