"""AudioX on the quickstart's world: texts and videos followed, and masked training against none when something lacks.

Both ways of training have the same network, length, seed and data. With masking, each sample is shown some of its
modalities and of those some parts, as `audiox-small` does it; without, it is always shown all, or (for guidance, in a
tenth of the samples) nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evidence.codec_ceiling import through_codec
from benchmarks.evidence.judge import Judge, efficientat, features_of
from benchmarks.evidence.shown import Row, right_of
from benchmarks.evidence.world import GIVEN, HeldOut, held_out, judge_of, make_dataset, write_prompts
from curation.dataset import Dataset
from models.audiox.masking import ConditionDrop, default_masking
from models.audiox.objective import ObjectiveSettings
from models.audiox.recipes import AudioXRecipe, audiox_tiny, default_tasks
from models.audiox.tasks import TaskMix, task_of
from pipelines.evaluations.sound_sets import decoded
from pipelines.makers.manner import Manner
from pipelines.quickstart.judge import RATE_HZ, judge
from pipelines.quickstart.world import CLIP_S
from pipelines.recipes.audiox import TINY, train_size
from pipelines.recipes.options import RunOptions
from pipelines.verbs.generate import generate
from pipelines.verbs.train import train
from pipelines.wiring.listeners import Listener


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldPlan:
    """What is trained and made of the world.

    Args:
        clips: Clips seen by each run.
        seeds: Of the runs, one of each kind for each.
        world: Seed of the world.
        prompts: Held-out clips that sounds are made for, at most; None: all.
        given: What of those is given, of `GIVEN`.
    """

    clips: int = 6_000
    seeds: tuple[int, ...] = (0, 1)
    world: int = 0
    prompts: int | None = None
    given: tuple[str, ...] = GIVEN


def masked(objective: ObjectiveSettings) -> ObjectiveSettings:
    """With parts hidden and modalities left out as `audiox-small` does it, but for prompts of sound."""
    weights = {name: weight for name, weight in default_tasks().weights.items() if not _hears(name)}
    return replace(objective, drop=ConditionDrop(), masking=default_masking(), tasks=TaskMix(weights=weights))


def _hears(condition: str) -> bool:
    return task_of(f"{condition}_condition-audio").audio


def unmasked(objective: ObjectiveSettings) -> ObjectiveSettings:
    """All conditions whole, or in a tenth of the samples none at all."""
    return replace(objective, drop=ConditionDrop(text=0.0, frames=0.0, audio=0.0), masking=None, tasks=None)


TRAININGS = {"masked": masked, "unmasked": unmasked}


def trained(dataset: Dataset, training: str, plan: WorldPlan, seed: int, clips: int | None = None) -> Path:
    """The run of a kind of training and a seed; one that is there is not trained again."""
    clips = plan.clips if clips is None else clips
    run = dataset.folder("runs") / f"{training}-{clips}-{seed}"

    def recipe(**sizes: Any) -> AudioXRecipe:
        plain = audiox_tiny(**sizes)
        return replace(plain, objective=TRAININGS[training](plain.objective))

    if not (run / "model").is_dir():
        train_size(replace(TINY, recipe=recipe), dataset, run, RunOptions(clips=clips, seed=seed))
    return run


def strictly(files: Sequence[Path], labels: Sequence[str]) -> int:
    """How many sounds the arithmetic judge of the quickstart finds right; most of what it refuses it calls nothing."""
    waves = [decoded(file.read_bytes(), RATE_HZ, str(file), CLIP_S) for file in files]
    return sum(judge(wave_T, RATE_HZ).label == label for wave_T, label in zip(waves, labels, strict=True))


@dataclass(frozen=True, slots=True)
class Judges:
    """Both judges of the world.

    Args:
        listener: That the nearest mean is taken of.
        nearest: Fitted on another world.
    """

    listener: Listener
    nearest: Judge

    def right(self, files: Sequence[Path], labels: Sequence[str]) -> tuple[int, int]:
        """How many sounds are right by the nearest mean, and by arithmetic."""
        features_ND = features_of(self.listener, files, CLIP_S)
        return self.nearest.right(features_ND, labels), strictly(files, labels)


def counts(
    runs: Sequence[Path], clips: Sequence[HeldOut], given: str, judges: Judges, folder: Path
) -> tuple[int, int, int]:
    """Sounds that some runs make of what is given: right by the nearest mean, by arithmetic, and how many."""
    listed, labels = write_prompts(clips, given, folder), [clip.label for clip in clips]
    found = []
    for seed, run in enumerate(runs):
        made = generate(
            run,
            seconds=CLIP_S,
            seed=seed,
            out=run / given.replace(" ", "-"),
            manner=Manner(prompts=listed, wav_only=True),
        )
        found.append(judges.right(made.files, labels))
    nearest, strict = np.sum(found, axis=0).tolist()
    return nearest, strict, len(labels) * len(runs)


def world_table(plan: WorldPlan, folder: Path) -> list[Row]:
    """How often each kind of training follows what is given, beside a network of one step, the codec, and chance."""
    dataset = make_dataset(folder, plan.world)
    train("clap-tiny", data=[str(dataset.path)])
    clips = held_out(dataset, folder / "prompts" / "videos")[: plan.prompts]
    listener = efficientat()
    judges = Judges(listener, judge_of(listener))
    kinds = {name: [trained(dataset, name, plan, seed) for seed in plan.seeds] for name in TRAININGS}
    kinds["after one step"] = [trained(dataset, "masked", plan, plan.seeds[0], clips=1)]
    rows: list[Row] = []
    for name, runs in kinds.items():
        for given in plan.given if name in TRAININGS else plan.given[:1]:
            rows.append(_row(name, given, counts(runs, clips, given, judges, folder / "prompts")))
    files, labels = real_sounds(dataset, clips, folder / "real"), [clip.label for clip in clips]
    behind = through_codec(files, dataset.folder("codecs") / TINY.name, folder / "behind-the-codec", CLIP_S)
    for name, sounds in (("real sounds of the clips", files), ("the same behind the codec", behind)):
        rows.append(_row(name, "-", (*judges.right(sounds, labels), len(labels))))
    return rows


def real_sounds(dataset: Dataset, clips: Sequence[HeldOut], folder: Path) -> list[Path]:
    """The sounds of held-out clips as files."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = {row["key"]: row["audio_sha256"] for row in dataset.sql("SELECT key, audio_sha256 FROM cut").to_pylist()}
    files = []
    for clip in clips:
        files.append(folder / f"{clip.video.stem}.flac")
        if not files[-1].is_file():
            files[-1].write_bytes(dataset.media.read(sums[clip.video.stem], ".flac"))
    return files


def _row(name: str, given: str, counted: tuple[int, int, int]) -> Row:
    nearest, strict, asked = counted
    return {
        "row": name,
        "given": given,
        "right by the nearest mean": right_of(nearest, asked),
        "by arithmetic": right_of(strict, asked),
        "by chance at most": asked / 8,
    }
