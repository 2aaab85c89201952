"""AudioX makes sounds of any mix of words, pictures and sounds; it fills gaps, and goes on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curation.errors import ArgumentError
from models.audiox import AudioX
from models.audiox.generate import sizes_of
from models.audiox.prompts import Gap, MorePrompts
from models.audiox.sampling import Sampling
from pipelines.makers.maker import How, Made, OnStep, Seed, System
from pipelines.makers.manner import Manner
from pipelines.prompts import MEDIA, Media, Prompt
from pipelines.wiring.devices import device_name, loading


class AudioXMaker:
    """Makes sounds of a loaded model.

    Args:
        model: On its device.
    """

    def __init__(self, model: AudioX) -> None:
        self.model = model

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""
        return self.model.codec.sample_rate_hz

    def make(
        self, prompts: Sequence[Prompt], seeds: Sequence[Seed], how: How, on_step: OnStep | None = None
    ) -> Sequence[Made]:
        """A sound (C, T) float32 for each prompt; see `Maker`. Gaps are the same in all."""
        side_px = int(getattr(self.model.encoders.frames, "side_px", 224))
        media = Media(side_px=side_px, codec=self.model.codec, seconds=how.seconds)
        more: MorePrompts = {}
        for name in MEDIA:
            given = [media.of(prompt, name) for prompt in prompts]
            if any(one is not None for one in given):
                more[name] = given  # type: ignore[literal-required]
        if gaps := self._gaps(prompts[0], media, how):
            more["gaps"] = gaps
        manner = how.manner
        try:
            waves_BCT = self.model.generate(
                [prompt.text for prompt in prompts],
                seconds=how.seconds,
                steps=how.steps,
                guidance=manner.guidance(how.guidance),
                seed=list(seeds),
                sampling=Sampling(solver=manner.solver, times=manner.times, rescale=manner.rescale),
                on_step=on_step,
                **more,
            )
        except (ValueError, FloatingPointError) as error:
            raise ArgumentError(str(error)) from error
        return list(np.asarray(waves_BCT.numpy(), np.float32))

    def _gaps(self, prompt: Prompt, media: Media, how: How) -> tuple[Gap, ...]:
        """What is to be filled: the spans that were named, or all behind a sound that goes on."""
        if how.manner.go_on is None:
            return how.manner.gaps()
        kept = media.of(prompt, "audio")
        kept_s = 0.0 if kept is None else kept.shape[-1] / self.sample_rate_hz
        if kept_s >= how.seconds:
            raise ArgumentError(
                f"{how.manner.go_on} lasts {kept_s:.2f} s and --seconds is {how.seconds}: nothing is left to be made"
            )
        return ((kept_s, how.seconds),)


def _load(run: Path) -> AudioXMaker:
    return AudioXMaker(AudioX.from_pretrained(run, device=device_name()))


def _require_hearing(run: Path, prompts: Sequence[Prompt], manner: Manner) -> None:
    """Refuses prompts of sound for a network that reads none."""
    if manner.fill or manner.go_on is not None or not any(one.audio or one.music for one in prompts):
        return
    with loading("model", run):
        sizes = sizes_of(run)
    if not sizes.adapters.audio:
        raise ArgumentError(
            f"the network of {run} was trained without prompts of sound: give text or pictures, --continue, or --fill"
        )


SYSTEM = System(
    weights=("network.safetensors",),
    load=_load,
    media=frozenset(MEDIA),
    options=frozenset({"music", "go_on", "fill", "guide", "solver", "times", "rescale"}),
    check=_require_hearing,
)
