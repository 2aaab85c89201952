"""AudioX on real sounds: quality by FD and KL, and whether texts and prompts of sound are followed.

The network is `audiox-small` made narrow: forty recordings and an hour of a processor teach one of 1.8 M parameters,
which takes ten thousand steps, more than one of 12 M, which takes a thousand.

Two judges stand side by side. The one that is fitted on held-out recordings asks whether a sound is like others of its
class; the one that is fitted on the recordings that were trained on, whether it is like those. Each is right about the
recordings that it was fitted on, which says nothing: the other one's answer counts there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.evidence.codec_ceiling import through_codec
from benchmarks.evidence.esc50 import labels_of, make_dataset, of_classes, recordings, sounds_folder, widest_classes
from benchmarks.evidence.judge import Float, Judge, efficientat, efficientat_weights, features_of
from benchmarks.evidence.shown import Row, right_of
from curation.dataset import Dataset
from curation.selections.selection import read_rows
from models.audiox.masking import ConditionDrop, SpanMask, default_masking
from models.audiox.recipes import AudioXRecipe, audiox_small
from models.audiox.tasks import TaskMix
from pipelines.evaluations.made_sounds import Making, make_sounds
from pipelines.evaluations.sound_sets import real_set
from pipelines.evaluations.sounds import sounds
from pipelines.makers.manner import Manner
from pipelines.recipes.audiox import SMALL, train_size
from pipelines.recipes.options import RunOptions
from pipelines.verbs.generate import generate
from pipelines.verbs.train import train

SPLITS = ("train", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class RealPlan:
    """What is trained and made of ESC-50.

    Args:
        classes: So many, those of most sources.
        seconds: Length of sounds, s.
        clips: Clips seen by the run.
        seed: Of the run and of what it makes.
        draws: Sounds made for each prompt, where it is counted how many are right.
        width: Of the network and of its condition tokens.
        depth: Blocks.
        batch_clips: Clips in a batch.
        peak: Learning rate after the warm-up.
        whole: How many of the prompts of sound are shown whole, as `generate --audio` shows them.
    """

    classes: int = 10
    seconds: float = 4.0
    clips: int = 50_000
    seed: int = 0
    draws: int = 4
    width: int = 128
    depth: int = 4
    batch_clips: int = 8
    peak: float = 3e-3
    whole: float = 0.5

    def recipe(self, **sizes: Any) -> AudioXRecipe:
        """What is trained: `audiox-small` but for what is said here."""
        plain = audiox_small(**sizes)
        prompts = SpanMask(probability=1 - self.whole, least=0.7, most=1.0)
        return replace(
            plain,
            network=replace(plain.network, width=self.width, depth=self.depth, context_width=self.width),
            objective=replace(
                plain.objective,
                masking=replace(default_masking(), audio=prompts),
                drop=ConditionDrop(text=0.2),
                tasks=TaskMix(weights={"text": 0.6, "audio": 0.4}),
            ),
            training=replace(
                plain.training,
                schedule=replace(plain.training.schedule, peak=self.peak),
                evaluate_every_clips=plain.training.total_clips,
            ),
            batch_clips=self.batch_clips,
        )


def recordings_of(dataset: Dataset, split: str, folder: Path) -> tuple[list[Path], list[str]]:
    """The real recordings of a split as files, and their classes."""
    folder.mkdir(parents=True, exist_ok=True)
    labels, files = labels_of(dataset, split), []
    for row in read_rows(dataset, split, kept_only=True).to_pylist():
        files.append(folder / f"{row['clip_id']}.flac")
        if not files[-1].is_file():
            files[-1].write_bytes(dataset.media.read(row["audio_sha256"], ".flac"))
    return files, [labels[file.stem] for file in files]


def dataset_of(plan: RealPlan, folder: Path) -> Dataset:
    """The data set, with a text encoder that was trained on it."""
    found = recordings(sounds_folder())
    dataset = make_dataset(folder / "dataset", of_classes(found, widest_classes(found, plan.classes)))
    train("clap-tiny", data=[str(dataset.path)], seed=plan.seed)
    return dataset


def trained(plan: RealPlan, dataset: Dataset) -> dict[str, Path]:
    """A run, and one that was stopped after its first step, which has learned nothing."""
    runs = {"trained": plan.clips, "after one step": 1}
    places = {name: dataset.folder("runs") / f"narrow-{clips}" for name, clips in runs.items()}
    for name, clips in runs.items():
        if not (places[name] / "model").is_dir():
            options = RunOptions(clips=clips, seed=plan.seed, seconds=plan.seconds)
            train_size(replace(SMALL, recipe=plan.recipe), dataset, places[name], options)
    return places


def quality(dataset: Dataset, runs: dict[str, Path], plan: RealPlan) -> list[Row]:
    """FD, KL and IS by EfficientAT of sounds made from captions of both splits, beside real ones, silence and noise."""
    rows: list[Row] = []
    for split in SPLITS:
        for name, run in runs.items():
            if name != "trained" and split == "test":
                continue
            judged = sounds(
                run,
                real=f"{dataset.path}@{split}",
                embedder=[f"efficientat:{efficientat_weights()}"],
                seconds=plan.seconds,
                seed=plan.seed,
            )
            (table,) = judged.tables
            for row in table.rows:
                if row.name == "generated" or name == "trained":
                    shown = name if row.name == "generated" else row.name
                    rows.append(
                        {
                            "real sounds": split,
                            "row": shown,
                            "sounds": row.sounds,
                            "FD": row.frechet,
                            "KL softmax": row.kl_softmax,
                            "KL sigmoid": row.kl_sigmoid,
                            "IS": row.inception,
                        }
                    )
    return rows


def from_texts(run: Path, dataset: Dataset, split: str, plan: RealPlan) -> tuple[list[Path], list[str]]:
    """The sounds that `evaluate sounds` makes for the caption of each clip of a split, by each seed; their classes."""
    real, labels = real_set(f"{dataset.path}@{split}", split=split, seed=plan.seed), labels_of(dataset, split)
    files, classes = [], []
    for seed in range(plan.seed, plan.seed + plan.draws):
        folder = make_sounds(run, real.clips, Making(seconds=plan.seconds, seed=seed), run / "evaluation")
        files += [folder / f"{clip.clip_id}.wav" for clip in real.clips]
        classes += [labels[clip.clip_id] for clip in real.clips]
    return files, classes


def from_sounds(run: Path, prompts: Sequence[Path], plan: RealPlan) -> list[Path]:
    """Sounds for each prompt of sound, without a word, by each seed."""
    listed = run / "prompts-of-sound.jsonl"
    lines = [json.dumps({"audio": str(file.resolve())}) for file in prompts]
    listed.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    files: list[Path] = []
    for seed in range(plan.seed, plan.seed + plan.draws):
        out, manner = run / "from-sounds", Manner(prompts=listed)
        files += generate(run, seconds=plan.seconds, seed=seed, out=out, manner=manner).files
    return files


def followed(dataset: Dataset, runs: dict[str, Path], plan: RealPlan, folder: Path) -> list[Row]:
    """How many sounds are of the class that was asked for, beside real sounds and what the codec leaves of them."""
    listener = efficientat()
    files = {split: recordings_of(dataset, split, folder / "real" / split) for split in SPLITS}
    real = {split: features_of(listener, found, plan.seconds) for split, (found, _) in files.items()}
    judges = {split: Judge.fit(real[split], files[split][1]) for split in SPLITS}
    rows: list[Row] = []

    def add(prompts: str, row: str, features_ND: Float, labels: Sequence[str]) -> None:
        rows.append(_row(prompts, row, judges, features_ND, labels))

    texts, own_asked = f"captions of {plan.classes} classes", "recordings trained on, no words"
    sounds_asked = "held-out recordings, no words"
    for name, run in runs.items():
        made, labels = from_texts(run, dataset, "train", plan)
        add(texts, name, features_of(listener, made, plan.seconds), labels)
    add(texts, "real recordings, trained on", real["train"], files["train"][1])
    codec = dataset.folder("codecs") / SMALL.name
    behind = through_codec(files["train"][0], codec, folder / "codec" / "train", plan.seconds)
    add(texts, "the same behind the codec", features_of(listener, behind, plan.seconds), files["train"][1])
    own, labels = files["train"]
    made = from_sounds(runs["trained"], own, plan)
    add(own_asked, "trained", features_of(listener, made, plan.seconds), labels * plan.draws)
    held, labels = files["test"]
    for name, run in runs.items():
        made = from_sounds(run, held, plan)
        add(sounds_asked, name, features_of(listener, made, plan.seconds), labels * plan.draws)
    add(sounds_asked, "the prompts themselves", real["test"], labels)
    return rows


def _row(
    prompts: str, row: str, judges: Mapping[str, Judge], features_ND: Float, labels: Sequence[str]
) -> dict[str, Any]:
    right = {split: right_of(judges[split].right(features_ND, labels), len(labels)) for split in SPLITS}
    return {
        "prompts": prompts,
        "row": row,
        "right by the held-out recordings": right["test"],
        "by those trained on": right["train"],
        "by chance": round(len(labels) / len(judges["test"].labels), 1),
    }


def real_tables(plan: RealPlan, folder: Path) -> dict[str, list[Row]]:
    """Both tables; run again, nothing is trained or made again."""
    dataset = dataset_of(plan, folder)
    runs = trained(plan, dataset)
    return {"quality": quality(dataset, runs, plan), "followed": followed(dataset, runs, plan, folder)}
