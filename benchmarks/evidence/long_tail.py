"""A data set with a long tail for Re-AudioLDM: everything is in the store, some of it is trained on.

Generations: `train`, the store in which neighbours are found and with which CLAP and AudioMAE are trained, so that CLAP
knows every event as the published one does; `tail`, the part of it that a run is trained on; `test`, recordings of the
same events that nothing is trained on.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import soundfile
import torch

from benchmarks.evidence.esc50 import Recording, labels_of, make_dataset
from curation.dataset import Dataset
from curation.views import quoted
from models.codecs.mel_noise import MelNoise, MelNoiseConfig
from pipelines.evaluations.sound_sets import decoded
from pipelines.verbs.embed import embed
from pipelines.verbs.index import index
from pipelines.verbs.neighbours import neighbours
from pipelines.verbs.pack import pack
from pipelines.verbs.select import select
from pipelines.verbs.train import train

STORED = 10
"""Neighbours that are stored, the most that are read. Source: Re-AudioLDM reads up to ten."""

FOUND, STORE, CODEC = "heard", "store", "mel-noise"
"""Names of the neighbours, of the index and of the codec."""


Answers = Callable[[Sequence[bytes]], list[str]]
"""A judge: files of sounds to the events that they are of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Recordings of events, and what is trained on them.

    Args:
        name: Of the world.
        recordings: Writes or finds them: a folder to recordings.
        most: How many training recordings each event keeps; None: all.
        judge: Of its sounds, from itself and its data set.
        edges: Of the buckets of training recordings, as `evaluate events` has them.
        codec: Of the latents.
        seconds: Length of sounds, s.
        clips: Clips that a run sees.
        clap_clips: Clips that CLAP sees.
        listener_clips: Clips that AudioMAE sees.
        guidance: How strongly captions and neighbours are followed.
        steps: Of DDIM.
    """

    name: str
    recordings: Callable[[Path], list[Recording]]
    most: Callable[[Sequence[Recording]], dict[str, int | None]]
    judge: "Callable[[World, Dataset], Answers]"
    edges: tuple[int, ...]
    codec: MelNoiseConfig
    seconds: float
    clips: int
    clap_clips: int
    listener_clips: int
    guidance: float
    steps: int = 12

    def told(self) -> dict[str, object]:
        """Its numbers, for results."""
        return {name: value for name, value in asdict(self).items() if not callable(value)}


def tail_of(labels: Mapping[str, str], most: Mapping[str, int | None]) -> list[str]:
    """The clips that are trained on: of each event no more than so many, the first by clip_id.

    Args:
        labels: clip_id -> its event.
        most: Event -> how many; None: all.
    """
    kept, seen = [], defaultdict[str, int](int)
    for clip_id, label in sorted(labels.items()):
        bound = most[label]
        seen[label] += 1
        if bound is None or seen[label] <= bound:
            kept.append(clip_id)
    return kept


def prepared(world: World, folder: Path) -> Dataset:
    """The data set with its frozen networks, its neighbours and an index of its store; what is there is kept."""
    place = folder / "dataset"
    if not (place / "shards" / "tail").is_dir():
        found = world.recordings(folder)
        dataset = make_dataset(place, found)
        kept = ", ".join(quoted(one) for one in tail_of(labels_of(dataset, "train"), world.most(found)))
        select(place, name="tail", where=f"clips.clip_id IN ({kept})")
        pack(place, selection="tail")
    dataset = Dataset(place)
    train("clap-tiny", data=[str(place)], clips=world.clap_clips, seconds=world.seconds)
    train("audiomae-tiny", data=[str(place)], clips=world.listener_clips, seconds=world.seconds)
    clap = str(dataset.folder("runs") / "clap-tiny" / "model")
    embed(place, embedder=clap, workers=0)
    if not (dataset.folder("indexes") / STORE).is_dir():
        neighbours(place, store="train", of="tail", by="sound", name=FOUND, embedder=clap, k=STORED)
        index(place, selection="train", name=STORE, embedder=clap)
    MelNoise(world.codec).save(dataset.folder("codecs") / CODEC)
    return dataset


def behind_codec(content: bytes, codec: MelNoise, seconds: float) -> bytes:
    """A sound's file encoded and decoded again."""
    wave_T = decoded(content, codec.sample_rate_hz, "a recording", seconds)
    back_T = codec.decode(codec.encode(torch.from_numpy(wave_T)[None, None]))[0, 0, : len(wave_T)].clamp(-1, 1)
    file = io.BytesIO()
    soundfile.write(file, back_T.numpy(), codec.sample_rate_hz, subtype="PCM_16", format="WAV")
    return file.getvalue()
