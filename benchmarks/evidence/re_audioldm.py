"""Re-AudioLDM against its own baseline without retrieval, by how often an event was trained on: real sounds, long tail.

Of ESC-50's classes some keep all their training recordings, some two, some one and some none. All of them stay in the
store in which neighbours are found, and with which the CLAP that finds them was trained: it knows every class, as the
published one does. What is asked are the captions of held-out recordings, cut from other files than the store's.

    python -m benchmarks.evidence.re_audioldm --out FOLDER [--seeds N] [--ablate]
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from benchmarks.evidence.esc50 import labels_of, make_dataset, recordings, sounds_folder, sources_of
from benchmarks.evidence.judge import efficientat_weights
from benchmarks.evidence.shown import Row, keep, lines_of, right_of
from curation.dataset import Dataset
from curation.views import quoted
from models.codecs.closed_form import MdctPcaConfig
from pipelines.evaluations.events import EventJudging, EventMaking, EventsJudged, events
from pipelines.recipes.data import fitted_codec
from pipelines.recipes.options import Retrieving
from pipelines.verbs.embed import embed
from pipelines.verbs.index import index
from pipelines.verbs.neighbours import neighbours
from pipelines.verbs.pack import pack
from pipelines.verbs.select import select
from pipelines.verbs.train import train

STORED = 10
"""Neighbours that are stored, the most that are read. Source: Re-AudioLDM reads up to ten."""

EDGES = (1, 2, 3)
"""Of the buckets: training recordings of a class. Source: ours; ESC-50's part at hand has two to eight of a class."""

CLOSED_FORM = MdctPcaConfig(sample_rate_hz=16_000, channels=1, hop_samples=400, latent_channels=96)

KEPT = {"all": None, "two": 2, "one": 1, "none": 0}
"""Training recordings that a class of each kind keeps."""

RARE = 8
"""Classes of each kind but `all`. Source: ours; of some fifty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One run: what is read of how many neighbours, and its seed."""

    retrieval: Literal["none", "audio", "audio+text"]
    neighbours: int = 3
    seed: int = 0

    @property
    def name(self) -> str:
        """Of its folder."""
        read = "" if self.retrieval == "none" else f"-{self.neighbours}"
        return f"{self.retrieval.replace('+', '-')}{read}-seed{self.seed}"


COMPARED = [Way(retrieval=kind, seed=seed) for seed in range(3) for kind in ("none", "audio+text")]  # type: ignore[arg-type]
ABLATED = [
    Way(retrieval="audio"),
    Way(retrieval="audio+text", neighbours=1),
    Way(retrieval="audio+text", neighbours=5),
    Way(retrieval="audio+text", neighbours=10),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is trained.

    Args:
        seconds: Length of sounds, s.
        clips: Clips seen by a run; ours, a minute of a core.
        listener_clips: Clips seen by the AudioMAE, which learns without labels.
        steps: Of DDIM.
        guidance: How strongly captions and neighbours are followed.
        codec: A run of a codec; None: the closed form of `audiox-tiny`.
    """

    seconds: float = 2.5
    clips: int = 2_400
    listener_clips: int = 1_200
    steps: int = 15
    guidance: float = 2.5
    codec: str | None = None


def kinds_of(labels: Sequence[str]) -> dict[str, str]:
    """Class -> how many of its training recordings it keeps, as `KEPT` has it.

    The classes go in turn to none, one, two and all, those of most training recordings first, until each of the first
    three has `RARE`: so no kind has the easier ones.
    """
    counts = {label: labels.count(label) for label in sorted(set(labels))}
    order = sorted(counts, key=lambda label: (-counts[label], label))
    kinds = ["none", "one", "two", "all"]
    return {label: kinds[place % 4] if place < 4 * RARE else "all" for place, label in enumerate(order)}


def tail_of(labels: dict[str, str]) -> list[str]:
    """The clips that are trained on: of each class as many as its kind keeps, the first by clip_id."""
    kinds, kept, seen = kinds_of(list(labels.values())), [], defaultdict(int)
    for clip_id, label in sorted(labels.items()):
        most = KEPT[kinds[label]]
        seen[label] += 1
        if most is None or seen[label] <= most:
            kept.append(clip_id)
    return kept


def prepared(plan: Plan, folder: Path) -> Dataset:
    """The data set, its long-tailed generation, the networks that are frozen, neighbours and an index of the store."""
    found = recordings(sounds_folder())
    judged = {label for label, sources in sources_of(found).items() if len(sources) > 1}
    place = folder / "dataset"
    if not (place / "shards" / "tail").is_dir():
        dataset = make_dataset(place, [one for one in found if one.label in judged])
        kept = ", ".join(quoted(clip_id) for clip_id in tail_of(labels_of(dataset, "train")))
        select(place, name="tail", where=f"clips.clip_id IN ({kept})")
        pack(place, selection="tail")
    dataset = Dataset(place)
    data = [f"{dataset.path}@train"]
    if not (dataset.folder("runs") / "clap-tiny" / "model").is_dir():
        train("clap-tiny", data=data)
    if not (dataset.folder("runs") / "audiomae-tiny" / "model").is_dir():
        train("audiomae-tiny", data=data, clips=plan.listener_clips)
    clap = str(dataset.folder("runs") / "clap-tiny" / "model")
    embed(dataset.path, embedder=clap, workers=0)
    neighbours(dataset.path, store="train", of="tail", by="sound", name="heard", embedder=clap, k=STORED)
    if not (dataset.folder("indexes") / "store").is_dir():
        index(dataset.path, selection="train", name="store", embedder=clap)
    return dataset


def trained(way: Way, plan: Plan, dataset: Dataset) -> Path:
    """The folder of a finished run, on the codec of the plan or a closed-form one that is fitted."""
    folder = dataset.folder("runs") / way.name
    if not (folder / "model").is_dir():
        train(
            "re-audioldm-tiny",
            data=[f"{dataset.path}@tail"],
            codec=plan.codec or str(fitted_codec(dataset, "train", name="closed-form", config=CLOSED_FORM, seed=0)),
            seconds=plan.seconds,
            clips=plan.clips,
            seed=way.seed,
            out=folder,
            retrieving=Retrieving(
                retrieval=way.retrieval,
                neighbours=None if way.retrieval == "none" else way.neighbours,
                found="heard",
            ),
        )
    return folder


def judged(way: Way, plan: Plan, dataset: Dataset, neighbours: int | None = None) -> EventsJudged:
    """The sounds of a run for the captions of all held-out recordings, by how often their class was trained on.

    Args:
        way: The run.
        plan: How long sounds are, and how they are made.
        dataset: With the recordings, the store and its index.
        neighbours: How many are read; None: as many as in training.
    """
    reads = way.retrieval != "none" and neighbours != 0
    return events(
        dataset.folder("runs") / way.name,
        real=f"{dataset.path}@test",
        trained=f"{dataset.path}@tail",
        making=EventMaking(
            seconds=plan.seconds,
            steps=plan.steps,
            guidance=plan.guidance,
            seed=way.seed,
            index=dataset.folder("indexes") / "store" if reads else None,
            neighbours=neighbours if reads else None,
        ),
        judging=EventJudging(
            embedder=f"clap:{dataset.folder('runs') / 'clap-tiny' / 'model'}",
            judge=f"efficientat:{efficientat_weights()}",
            edge=EDGES,
        ),
    )


def rows_of(name: str, result: EventsJudged) -> list[Row]:
    """A row a bucket, and one over all of them."""
    rows: list[Row] = []
    for one in result.buckets:
        rows.append(
            {
                "run": name,
                "in training": one.bucket,
                "classes": one.events,
                "sounds": one.sounds,
                "CLAP": one.clap,
                "+-": one.clap_error,
                "right": None if one.right is None else right_of(round(one.right * one.sounds), one.sounds),
                "CLAP of real": one.clap_real,
                "right of real": one.right_real,
            }
        )
    right = sum(round((one.right or 0) * one.sounds) for one in result.buckets)
    sounds = sum(one.sounds for one in result.buckets)
    clap = sum((one.clap or 0) * one.sounds for one in result.buckets) / sounds
    return [
        *rows,
        {"run": name, "in training": "all", "sounds": sounds, "CLAP": clap, "right": right_of(right, sounds)},
    ]


def means_of(results: Mapping[str, Sequence[EventsJudged]]) -> list[Row]:
    """For each kind of run and bucket the mean over seeds, and how far apart they are."""
    rows: list[Row] = []
    for kind, several in results.items():
        for number, bucket in enumerate(several[0].buckets):
            claps = [result.buckets[number].clap or 0.0 for result in several]
            rights = [result.buckets[number].right or 0.0 for result in several]
            rows.append(
                {
                    "kind": kind,
                    "in training": bucket.bucket,
                    "seeds": len(several),
                    "CLAP": fmean(claps),
                    "CLAP lowest": min(claps),
                    "CLAP highest": max(claps),
                    "right": fmean(rights),
                    "right lowest": min(rights),
                    "right highest": max(rights),
                }
            )
    return rows


def compared(ways: Sequence[Way], plan: Plan, dataset: Dataset) -> dict[str, list[Row]]:
    """Runs with retrieval, the same without neighbours, and runs that never had any."""
    rows: list[Row] = []
    kinds: dict[str, list[EventsJudged]] = defaultdict(list)
    for way in ways:
        trained(way, plan, dataset)
        asked: list[tuple[str, int | None]] = [(way.name, None)]
        if way.retrieval != "none" and way in COMPARED:
            asked.append((f"{way.name}, shown no neighbours", 0))
        for name, read in asked:
            result = judged(way, plan, dataset, read)
            kinds[name.replace(f"-seed{way.seed}", "")].append(result)
            rows += rows_of(name, result)
            print(result, flush=True)
    return {"runs": rows, "means": means_of(kinds)}


def main() -> None:
    """Train what is missing, judge it, print the tables and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set and its runs")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the comparison")
    parser.add_argument("--codec", help="a run of mel-vae-tiny; a closed-form codec when not given")
    parser.add_argument("--clips", type=int, default=Plan().clips, help="clips seen by a run")
    parser.add_argument("--ablate", action="store_true", help="sounds alone, and 1, 5 and 10 neighbours, too")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/evidence-re_audioldm.json"))
    asked = parser.parse_args()
    plan = Plan(codec=asked.codec, clips=asked.clips)
    dataset = prepared(plan, asked.out)
    tables = compared([way for way in COMPARED if way.seed < asked.seeds], plan, dataset)
    if asked.ablate:
        tables |= {f"ablation, {name}": rows for name, rows in compared(ABLATED, plan, dataset).items()}
    for name, rows in tables.items():
        print("\n".join([f"\n{name}", *lines_of(rows)]))
    keep(asked.results, tables, plan=asdict(plan), kept=KEPT)


if __name__ == "__main__":
    main()
