"""Re-AudioLDM against its own baseline without retrieval, by how often an event was trained on.

Two worlds with a long tail: many named events that arithmetic can judge, and recordings of ESC-50 (`tail_worlds`). Some
events have all their recordings trained on, some a few, one or none; all of them are in the store in which neighbours
are found, and with which the CLAP that finds them was trained. What is asked are the captions of held-out recordings.
Latents are means of log-mels (`models.codecs.mel_noise`), so that no autoencoder stands in the way.

    python -m benchmarks.evidence.re_audioldm --out FOLDER --world events [--seeds 0 1 2] [--ablate] [--save]
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from benchmarks.evidence.esc50 import labels_of
from benchmarks.evidence.long_tail import CODEC, FOUND, STORE, Answers, World, behind_codec, prepared
from benchmarks.evidence.shown import Row, keep, lines_of
from benchmarks.evidence.tail_worlds import WORLDS
from curation.dataset import Dataset
from models.codecs.mel_noise import MelNoise
from models.re_audioldm.network import Retrieval
from pipelines.evaluations.event_counts import Buckets, occurrences
from pipelines.evaluations.event_scores import BucketScore
from pipelines.evaluations.events import EventJudging, EventMaking, events
from pipelines.evaluations.made_sounds import make_sounds
from pipelines.evaluations.sound_sets import real_set
from pipelines.makers.retrieved import Retriever
from pipelines.recipes.options import Retrieving
from pipelines.verbs.train import train

RESULTS = Path(__file__).resolve().parent.parent / "results"


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One run: what is read of how many neighbours, and its seed."""

    retrieval: Retrieval
    neighbours: int = 3
    seed: int = 0

    @property
    def kind(self) -> str:
        """Of all seeds."""
        return "none" if self.retrieval == "none" else f"{self.retrieval}, {self.neighbours}"

    @property
    def folder(self) -> str:
        """Of the run."""
        return f"{self.kind.replace('+', '-').replace(', ', '-')}-seed{self.seed}"


def compared(seeds: Sequence[int]) -> list[Way]:
    """What the paper compares."""
    kinds: tuple[Retrieval, ...] = ("none", "audio", "audio+text")
    return [Way(retrieval=kind, seed=seed) for seed in seeds for kind in kinds]


def ablated(seed: int) -> list[Way]:
    """The other numbers of neighbours that the paper tries."""
    return [Way(retrieval="audio+text", neighbours=number, seed=seed) for number in (1, 5, 10)]


def trained(way: Way, world: World, dataset: Dataset) -> Path:
    """The folder of a finished run."""
    folder = dataset.folder("runs") / way.folder
    if not (folder / "model").is_dir():
        train(
            "re-audioldm-tiny",
            data=[f"{dataset.path}@tail"],
            codec=str(dataset.folder("codecs") / CODEC),
            seconds=world.seconds,
            clips=world.clips,
            seed=way.seed,
            out=folder,
            retrieving=Retrieving(
                retrieval=way.retrieval,
                neighbours=None if way.retrieval == "none" else way.neighbours,
                found=FOUND,
            ),
        )
    return folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A data set of a world and who judges its sounds.

    Args:
        world: The world.
        dataset: Its data set.
        answers: Files of sounds to the events that they are of.
    """

    world: World
    dataset: Dataset
    answers: Answers

    @property
    def buckets(self) -> Buckets:
        """Of the world."""
        return Buckets(self.world.edges)

    def numbers(self) -> dict[str, int]:
        """Event -> number of its bucket."""
        trained = occurrences({key: [label] for key, label in labels_of(self.dataset, "tail").items()})
        asked = set(labels_of(self.dataset, "test").values())
        return {event: self.buckets.number(trained[event]) for event in asked}

    def judged(self, run: Path, seed: int, *, reads: bool) -> list[BucketScore]:
        """A row a bucket: the sounds of a run for the captions of all held-out recordings.

        Args:
            run: Folder of the run.
            seed: Of the noise.
            reads: Whether it is shown as many neighbours as in training; else none.
        """
        world, index = self.world, self.dataset.folder("indexes") / STORE
        making = EventMaking(
            seconds=world.seconds,
            steps=world.steps,
            guidance=world.guidance,
            seed=seed,
            index=index if reads else None,
        )
        result = events(
            run,
            real=f"{self.dataset.path}@test",
            trained=f"{self.dataset.path}@tail",
            making=making,
            judging=EventJudging(
                embedder=f"clap:{self.dataset.folder('runs') / 'clap-tiny' / 'model'}", edge=world.edges
            ),
        )
        real = real_set(f"{self.dataset.path}@test", split="test", seed=seed)
        made = make_sounds(run, real.clips, making.of(run)[0], run / "evaluation")
        rights = self.rights({clip.clip_id: (made / f"{clip.clip_id}.wav").read_bytes() for clip in real.clips})
        return [replace(row, right=fmean(right)) for row, right in zip(result.buckets, rights, strict=True)]

    def rights(self, sounds: Mapping[str, bytes]) -> list[list[bool]]:
        """Of each bucket, whether sounds are of the events that were asked for; clip_id -> a sound's file."""
        labels, numbers = labels_of(self.dataset, "test"), self.numbers()
        found: list[list[bool]] = [[] for _ in self.buckets.names]
        for clip_id, answer in zip(sounds, self.answers(list(sounds.values())), strict=True):
            found[numbers[labels[clip_id]]].append(answer == labels[clip_id])
        return found

    def of_real(self) -> list[Row]:
        """How many held-out recordings the judge has right, and how many of them behind the codec."""
        real = real_set(f"{self.dataset.path}@test", split="test", seed=0)
        sounds = {clip.clip_id: clip.open_sound() for clip in real.clips}
        codec = MelNoise(self.world.codec)
        behind = {key: behind_codec(content, codec, self.world.seconds) for key, content in sounds.items()}
        rows: list[Row] = []
        for name, several in (("recordings", sounds), ("recordings behind the codec", behind)):
            for bucket, right in zip(self.buckets.names, self.rights(several), strict=True):
                rows.append({"sounds": name, "in training": bucket, "of": len(right), "right": fmean(right)})
        return rows

    def retrieved(self, depths: Sequence[int]) -> list[Row]:
        """How many of the clips that are nearest to a caption are of its event."""
        retriever = Retriever(self.dataset.folder("indexes") / STORE)
        stored, numbers = labels_of(self.dataset, "train"), self.numbers()
        real = real_set(f"{self.dataset.path}@test", split="test", seed=0)
        captions = {labels_of(self.dataset, "test")[clip.clip_id]: clip.caption for clip in real.clips}
        hits = retriever.nearest(list(captions.values()), max(depths), [None] * len(captions))
        rows: list[Row] = []
        for number, bucket in enumerate(self.buckets.names):
            row: dict[str, object] = {"in training": bucket}
            for depth in depths:
                shares = [
                    fmean(stored[hit.clip_id] == event for hit in several[:depth])
                    for event, several in zip(captions, hits, strict=True)
                    if numbers[event] == number
                ]
                row[f"of the nearest {depth}"] = fmean(shares)
            rows.append(row)
        return rows


def mean_rows(found: Mapping[str, Sequence[Sequence[BucketScore]]]) -> list[Row]:
    """For each kind of run and bucket the mean over seeds, and how far apart they are; and over all sounds."""
    rows: list[Row] = []
    for kind, several in found.items():
        for of_bucket in [*zip(*several, strict=True), [one for result in several for one in result]]:
            is_one = len({one.bucket for one in of_bucket}) == 1
            row: dict[str, object] = {"kind": kind, "in training": of_bucket[0].bucket if is_one else "all"}
            row |= {"seeds": len(several), "sounds of each": sum(one.sounds for one in of_bucket) // len(several)}
            for name in ("right", "clap"):
                weighed = [(getattr(one, name), one.sounds) for one in of_bucket]
                row[name] = sum(value * sounds for value, sounds in weighed) / sum(sounds for _, sounds in weighed)
                if is_one and len(several) > 1:
                    row[f"{name}, least"], row[f"{name}, most"] = min(weighed)[0], max(weighed)[0]
            rows.append(row)
    return rows


def table_of(trial: Trial, ways: Sequence[Way]) -> list[Row]:
    """Runs that never had neighbours, runs that have them, and the same shown none."""
    found: dict[str, list[list[BucketScore]]] = defaultdict(list)
    for way in ways:
        run = trained(way, trial.world, trial.dataset)
        reads = way.retrieval != "none"
        found[way.kind].append(trial.judged(run, way.seed, reads=reads))
        if reads:
            found[f"{way.kind}, shown none"].append(trial.judged(run, way.seed, reads=False))
        print(way.folder, [(one.bucket, one.right, one.clap) for one in found[way.kind][-1]], flush=True)
    return mean_rows(found)


def main() -> None:
    """Train what is missing, judge it, print the tables and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set and its runs")
    parser.add_argument("--world", choices=sorted(WORLDS), required=True, help="what is listened to")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the comparison")
    parser.add_argument("--ablate", action="store_true", help="1, 5 and 10 neighbours, too")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/evidence-re_audioldm-WORLD.json")
    asked = parser.parse_args()
    world = WORLDS[asked.world]
    dataset = prepared(world, asked.out)
    trial = Trial(world=world, dataset=dataset, answers=world.judge(world, dataset))
    tables = {"judge": trial.of_real(), "retrieved": trial.retrieved((1, 3, 5, 10))}
    tables["compared"] = table_of(trial, compared(asked.seeds))
    if asked.ablate:
        tables["ablation"] = table_of(trial, ablated(asked.seeds[0]))
    for name, rows in tables.items():
        print("\n".join([f"\n{name}", *lines_of(rows)]))
    if asked.save:
        keep(RESULTS / f"evidence-re_audioldm-{world.name}.json", tables, seeds=asked.seeds, world=world.told())


if __name__ == "__main__":
    main()
