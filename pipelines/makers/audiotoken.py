"""AudioToken makes pictures of sounds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from curation.errors import ArgumentError
from models.audiotoken import AudioToken
from pipelines.makers.maker import How, Made, OnStep, Seed, System
from pipelines.makers.manner import Manner
from pipelines.prompts import Media, Prompt
from pipelines.wiring.devices import device_name
from pipelines.wiring.text_to_image import quiet


class AudioTokenMaker:
    """Makes pictures of a loaded model.

    Args:
        model: On its device.
    """

    def __init__(self, model: AudioToken) -> None:
        self.model = model

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it listens."""
        return self.model.listener.sample_rate_hz

    @property
    def channels(self) -> int:
        """Channels to which it listens."""
        return 1

    def make(
        self, prompts: Sequence[Prompt], seeds: Sequence[Seed], how: How, on_step: OnStep | None = None
    ) -> Sequence[Made]:
        """A picture, uint8 (H, W, 3), of the first seconds of each prompt's sound; see `Maker`."""
        media = Media(side_px=0, codec=self, seconds=how.seconds)
        waves = [self._heard(prompt, media, how.seconds) for prompt in prompts]
        try:
            pictures = self.model.generate(
                waves,
                steps=how.steps,
                guidance=how.guidance,
                seeds=[torch_seed(seed) for seed in seeds],
                on_step=on_step,
            )
        except (ValueError, FloatingPointError) as error:
            raise ArgumentError(str(error)) from error
        return list(np.asarray(pictures.numpy(), np.uint8))

    def _heard(self, prompt: Prompt, media: Media, seconds: float) -> torch.Tensor:
        wave_CT = media.of(prompt, "audio")
        if wave_CT is None:
            raise ArgumentError("AudioToken makes a picture of a sound: give --audio")
        return torch.from_numpy(wave_CT[0, : max(1, round(seconds * self.sample_rate_hz))])


def torch_seed(seed: Seed) -> int:
    """One number for a pair: the seed itself for the first picture, another stream for each further one.

    Raises:
        ArgumentError: The seed is larger than torch takes.
    """
    first, number = seed
    if first >= 2**63:
        raise ArgumentError(f"the seed {first} is too large for torch: give one below 2^63")
    if number == 0:
        return first
    return int(np.random.SeedSequence([first, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _load(run: Path) -> AudioTokenMaker:
    quiet()
    return AudioTokenMaker(AudioToken.from_pretrained(run, device=device_name()))


def _require_sound(run: Path, prompts: Sequence[Prompt], manner: Manner) -> None:
    """Refuses prompts without a sound, before gigabytes are loaded."""
    if any(prompt.audio is None for prompt in prompts):
        raise ArgumentError(f"{run} holds an AudioToken, which makes a picture of a sound: give --audio")


SYSTEM = System(
    weights=("embedder.safetensors",),
    load=_load,
    media=frozenset({"audio"}),
    takes_text=False,
    makes="picture",
    usual=How(seconds=10.0, steps=50, guidance=7.5),
    check=_require_sound,
)
