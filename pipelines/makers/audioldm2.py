"""AudioLDM 2 makes sounds of words, speaks, or goes on from the beginning of a sound in the language of audio."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from curation.errors import ArgumentError
from models.audioldm2 import AudioLDM2
from models.audioldm2.hearing import WINDOW_S
from models.audioldm2.phonemes import Spoken
from models.audioldm2.saved import hearing_of
from pipelines.makers.maker import How, Made, OnStep, Seed, System
from pipelines.prompts import Media, Prompt
from pipelines.wiring.devices import device_name
from pipelines.wiring.phonemes import Pronouncer


class AudioLdm2Maker:
    """Makes sounds of a loaded model.

    Args:
        model: On its device.
    """

    def __init__(self, model: AudioLDM2) -> None:
        self.model = model

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""
        return self.model.codec.sample_rate_hz

    def make(
        self, prompts: Sequence[Prompt], seeds: Sequence[Seed], how: How, on_step: OnStep | None = None
    ) -> Sequence[Made]:
        """A sound (C, T) float32 for each prompt; see `Maker`. A prompt of sound is the beginning of what is made."""
        media = Media(side_px=0, codec=self.model.codec, seconds=how.seconds)
        sounds = [media.of(prompt, "audio") for prompt in prompts]
        try:
            waves_BCT = self.model.generate(
                self._told(prompts),
                audio=[None if wave_CT is None else torch.from_numpy(wave_CT[0]) for wave_CT in sounds],
                seconds=how.seconds,
                steps=how.steps,
                guidance=how.guidance,
                seed=list(seeds),
                candidates=how.manner.candidates,
                on_step=on_step,
            )
        except (ValueError, FloatingPointError) as error:
            raise ArgumentError(str(error)) from error
        return list(np.asarray(waves_BCT.numpy(), np.float32))

    def _told(self, prompts: Sequence[Prompt]) -> list[str | Spoken]:
        """Texts, and where something is said how it is pronounced."""
        ipas = Pronouncer().of([prompt.transcript for prompt in prompts])
        return [
            Spoken(text=one.text, phonemes=ipa) if ipa else one.text for one, ipa in zip(prompts, ipas, strict=True)
        ]


def _load(run: Path) -> AudioLdm2Maker:
    return AudioLdm2Maker(AudioLDM2.from_pretrained(run, device=device_name()))


def _seconds_of(run: Path) -> float:
    """A sound is as long as the language of audio says."""
    return hearing_of(run).window_s


SYSTEM = System(
    weights=("unet/*.safetensors", "language_model/*.safetensors", "vae/*.safetensors"),
    load=_load,
    media=frozenset({"audio"}),
    options=frozenset({"candidates", "transcript"}),
    usual=How(seconds=WINDOW_S, steps=50, guidance=3.5),
    seconds_of=_seconds_of,
)
