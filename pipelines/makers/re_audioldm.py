"""Re-AudioLDM makes sounds of words, and of the clips that an index holds near to them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from curation.errors import ArgumentError
from models.re_audioldm import ReAudioLDM
from models.re_audioldm.conditioning import Neighbour
from models.re_audioldm.generate import sizes_of
from pipelines.makers.maker import How, Made, OnStep, Seed, System
from pipelines.makers.manner import Manner
from pipelines.makers.retrieved import Retriever
from pipelines.prompts import Prompt
from pipelines.wiring.devices import device_name, loading
from retrieval_index.index import Hit


class ReAudioLdmMaker:
    """Makes sounds of a loaded model.

    Args:
        model: On its device.
        stored: Gives the neighbours of prompts where no index is named; None: none are read then.
    """

    def __init__(
        self, model: ReAudioLDM, stored: Callable[[Sequence[Prompt]], list[list[Neighbour]]] | None = None
    ) -> None:
        self.model = model
        self._stored = stored
        self._retriever: tuple[Path, Retriever] | None = None
        self._heard: dict[str, Neighbour] = {}

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""
        return self.model.codec.sample_rate_hz

    def make(
        self, prompts: Sequence[Prompt], seeds: Sequence[Seed], how: How, on_step: OnStep | None = None
    ) -> Sequence[Made]:
        """A sound (C, T) float32 for each prompt; see `Maker`. Without neighbours the words alone are followed."""
        found = None if self._stored is None else self._stored(prompts)
        if how.manner.index is not None:
            found = self._found(prompts, how.manner.index, how.manner.neighbours)
        try:
            waves_BCT = self.model.generate(
                [prompt.text for prompt in prompts],
                neighbours=found,
                seconds=how.seconds,
                steps=how.steps,
                guidance=how.guidance,
                seed=list(seeds),
                on_step=on_step,
            )
        except (ValueError, FloatingPointError) as error:
            raise ArgumentError(str(error)) from error
        return list(np.asarray(waves_BCT.numpy(), np.float32))

    def _found(self, prompts: Sequence[Prompt], index: Path, asked: int | None) -> list[list[Neighbour]]:
        """What is read of the clips that are nearest to each prompt."""
        most = self.model.network.config.neighbours
        k = most if asked is None else asked
        if k > most:
            raise ArgumentError(f"--neighbours {k}: this model was trained to read at most {most}")
        if k == 0:
            return [[] for _ in prompts]
        if self._retriever is None or self._retriever[0] != index:
            self._retriever = (index, Retriever(index))
        retriever = self._retriever[1]
        hits = retriever.nearest([prompt.text for prompt in prompts], k, [prompt.clip for prompt in prompts])
        return [[self._neighbour(retriever, hit) for hit in several] for several in hits]

    def _neighbour(self, retriever: Retriever, hit: Hit) -> Neighbour:
        """What is read of a clip; each is listened to once."""
        known = self._heard.get(f"{hit.audio_sha256} {hit.caption}")
        if known is None:
            listener = self.model.encoders.listener
            if listener is None:
                raise ArgumentError("this model reads no neighbours; drop --index")
            wave_R = torch.from_numpy(retriever.wave(hit, listener.sample_rate_hz))
            known = self.model.encoders.neighbour(wave_R, hit.caption)
            self._heard[f"{hit.audio_sha256} {hit.caption}"] = known
        return known


def _load(run: Path) -> ReAudioLdmMaker:
    return ReAudioLdmMaker(ReAudioLDM.from_pretrained(run, device=device_name()))


def _require_reading(run: Path, prompts: Sequence[Prompt], manner: Manner) -> None:
    """Refuses an index for a network that reads no neighbours, and a number of them without an index."""
    if manner.neighbours and manner.index is None:
        raise ArgumentError("--neighbours are taken from an index: give --index DATASET/indexes/NAME")
    if manner.index is None:
        return
    with loading("model", run):
        sizes = sizes_of(run)
    if not sizes.reads_sound:
        raise ArgumentError(f"the network of {run} was trained without retrieval: drop --index")


SYSTEM = System(
    weights=("network.safetensors",),
    load=_load,
    options=frozenset({"index", "neighbours"}),
    usual=How(seconds=5.0, steps=50, guidance=3.5),
    check=_require_reading,
)
