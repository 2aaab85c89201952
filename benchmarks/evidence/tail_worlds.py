"""The two worlds of the evidence of Re-AudioLDM: how many recordings of an event are trained on, and who judges.

Events go to kinds in turn, so that no kind has the easier ones.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.evidence.band_judge import BandJudge
from benchmarks.evidence.esc50 import Recording, labels_of, recordings, sounds_folder, sources_of
from benchmarks.evidence.long_tail import Answers, World
from benchmarks.evidence.named_events import SECONDS, events_of, recorded, write_recordings
from curation.dataset import Dataset
from models.codecs.mel_noise import MelNoise, MelNoiseConfig
from pipelines.evaluations.sound_sets import decoded, real_set

SEED = 0
"""Of the events: their order and their names."""

STORED, HELD_OUT, JUDGED = {0: 5, 1: 5, 3: 5, 10: 10}, 2, 6
"""Recordings of an event: in the store, by how many of them are trained on; held out; and drawn anew for the judge."""


def written(folder: Path) -> list[Recording]:
    """Recordings of all named events."""
    events = events_of(SEED)
    counts = [(list(STORED.values())[place % len(STORED)], HELD_OUT) for place in range(len(events))]
    return write_recordings(events, counts, folder / "sounds")


def trained_of_named(found: Sequence[Recording]) -> dict[str, int | None]:
    """How many recordings of each named event are trained on."""
    return {event.name: list(STORED)[place % len(STORED)] for place, event in enumerate(events_of(SEED))}


def by_new_recordings(world: World, dataset: Dataset) -> Answers:
    """A judge of named events, fitted on recordings that are in no data set."""
    events, codec = events_of(SEED), MelNoise(world.codec)
    waves = [
        recorded(event, np.random.default_rng([number, take, 1]))
        for number, event in enumerate(events)
        for take in range(JUDGED)
    ]
    judge = BandJudge.fit(latents_of(waves, codec), [event.name for event in events for _ in range(JUDGED)])
    return answers_of(judge, world)


def by_store(world: World, dataset: Dataset) -> Answers:
    """A judge of classes, fitted on the whole store, which is more than what is trained on."""
    labels = labels_of(dataset, "train")
    clips = real_set(f"{dataset.path}@train", split="train", seed=0).clips
    latents = latents_in([clip.open_sound() for clip in clips], world)
    return answers_of(BandJudge.fit(latents, [labels[clip.clip_id] for clip in clips]), world)


def answers_of(judge: BandJudge, world: World) -> Answers:
    """What a judge says of files of sounds."""
    return lambda sounds: judge.answers(latents_in(sounds, world))


def latents_in(sounds: Sequence[bytes], world: World) -> torch.Tensor:
    """Latents of files of sounds, of equal length: a shorter one begins again."""
    codec = MelNoise(world.codec)
    samples = round(world.seconds * codec.sample_rate_hz)
    waves = [decoded(content, codec.sample_rate_hz, "a sound", world.seconds) for content in sounds]
    return latents_of([np.resize(wave_T, samples) for wave_T in waves], codec)


def latents_of(waves: Sequence[npt.NDArray[np.float32]], codec: MelNoise) -> torch.Tensor:
    """Latents of sounds of equal length, (N, F, D) float32; one by one, for memory."""
    return torch.cat([codec.encode(torch.from_numpy(wave_T)[None, None]) for wave_T in waves])


KEPT = (0, 1, 2, None)
"""Training recordings that classes of ESC-50 keep, in turn; None: all."""

RARE = 8
"""Classes of each kind but the last. Source: ours; of some forty."""


def of_esc50(folder: Path) -> list[Recording]:
    """The recordings of all classes with two sources or more, so that some are held out."""
    found = recordings(sounds_folder())
    judged = {label for label, sources in sources_of(found).items() if len(sources) > 1}
    return [one for one in found if one.label in judged]


def trained_of_esc50(found: Sequence[Recording]) -> dict[str, int | None]:
    """How many recordings of each class are trained on; of classes with equal turns, those of most recordings first."""
    labels = [one.label for one in found if one.split == "train"]
    order = sorted(set(labels), key=lambda label: (-labels.count(label), label))
    return {label: KEPT[place % len(KEPT)] if place < RARE * len(KEPT) else None for place, label in enumerate(order)}


WORLDS = {
    "events": World(
        name="events",
        recordings=written,
        most=trained_of_named,
        judge=by_new_recordings,
        edges=(1, 2, 4),
        codec=MelNoiseConfig(bands=8),
        seconds=SECONDS,
        clips=16_000,
        clap_clips=16_000,
        listener_clips=3_000,
        guidance=1.5,
    ),
    "esc50": World(
        name="esc50",
        recordings=of_esc50,
        most=trained_of_esc50,
        judge=by_store,
        edges=(1, 2, 3),
        codec=MelNoiseConfig(frames=32),
        seconds=4.8,
        clips=10_000,
        clap_clips=25_600,
        listener_clips=1_600,
        guidance=2.5,
    ),
}
"""By name."""
