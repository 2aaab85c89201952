"""`foundsound evaluate events`: how well sounds fit their words, by how often their event was trained on."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.keys import short_hash
from curation.latents import Members
from curation.tables import write_bytes
from pipelines.evaluations.event_counts import EDGES, Buckets, labels_of_clips, occurrences, rarest
from pipelines.evaluations.event_scores import PROTOCOL, BucketScore, EventSounds
from pipelines.evaluations.made_sounds import Making, make_sounds, sound_system
from pipelines.evaluations.sound_sets import made_set, real_set
from pipelines.makers.maker import trained_seconds
from pipelines.makers.manner import Manner
from pipelines.report.plots import Line, alone, levels
from pipelines.wiring.listeners import listeners_at_hand, load_listener
from retrieval_index.index import Index
from retrieval_index.manifest import read_rows

HEAD = ("in training", "events", "in store", "clips", "sounds", "CLAP", "+-", "CLAP real", "right", "right real")


@dataclass(frozen=True, kw_only=True, slots=True)
class EventsJudged:
    """Sounds by how often their event was trained on.

    Args:
        made: The run.
        real: The real clips, in words.
        trained: What was trained on, in words.
        making: How sounds were made.
        seeds: How many for each clip.
        judges: What judged, and its weights.
        buckets: From never to most often.
        report: Where all of this was written; a plot lies beside it.
    """

    made: str
    real: str
    trained: str
    making: dict[str, Any]
    seeds: int
    judges: dict[str, str]
    buckets: Sequence[BucketScore]
    report: Path

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "buckets": [asdict(one) for one in self.buckets], "report": str(self.report),
                "protocol": PROTOCOL}  # fmt: skip

    def __str__(self) -> str:
        how = ", ".join(f"{name} {value}" for name, value in self.making.items())
        judges = ", ".join(f"{name} (weights {sha256[:12]})" for name, sha256 in self.judges.items())
        cells = [list(HEAD), *([_cell(value) for value in asdict(one).values()] for one in self.buckets)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
        table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        return "\n".join(
            [
                f"{self.made} ({how}), {self.seeds} sounds a clip",
                f"real: {self.real}; trained on: {self.trained}; by {judges}",
                *table,
                f"protocol: {PROTOCOL}",
                f"written to {self.report}",
            ]
        )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else f"{value}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EventMaking:
    """How sounds are made for real clips.

    Args:
        seconds: Length of the sounds, s; that of the run's training when not given. Real ones are heard as far.
        steps: Steps of the solver; as its system usually has when not given.
        guidance: How strongly the caption is followed.
        seed: Of the noise of the first sound of each clip; further ones have the next numbers.
        seeds: Sounds of each clip.
        index: Folder of the search index that a run of Re-AudioLDM retrieves from.
        neighbours: How many it retrieves; as many as it was trained with when not given.
    """

    seconds: float | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    seeds: int = 1
    index: Path | None = None
    neighbours: int | None = None

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ArgumentError(f"--seeds must be at least 1, not {self.seeds}")
        if self.neighbours and self.index is None:  # said here, before real sounds are heard
            raise ArgumentError("--neighbours are taken from an index: give --index DATASET/indexes/NAME")

    def of(self, run: Path) -> list[Making]:
        """How a run makes them, as its system usually does where nothing is said; one a seed."""
        usual = sound_system(run)[1].usual
        length_s = trained_seconds(run) if self.seconds is None else self.seconds
        if length_s is None:
            raise ArgumentError(f"{run} does not say how long its sounds were; give --seconds")
        manner = Manner(index=self.index, neighbours=self.neighbours)
        how = usual.but(seconds=length_s, steps=self.steps, guidance=self.guidance, manner=manner)
        return [
            Making(seconds=how.seconds, steps=how.steps, guidance=how.guidance, seed=seed, manner=manner)
            for seed in range(self.seed, self.seed + self.seeds)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class EventJudging:
    """What judges sounds, and beside what.

    Args:
        embedder: A CLAP that says how sounds fit captions, clap:WEIGHTS; the one at hand when not given.
        judge: A listener by whose features a sound is of the event whose real sounds are nearest, KIND:WEIGHTS.
        edge: First number of training clips of a bucket but the first; 1 10 30 50 100 500, as the paper has them, when
            not given. May be repeated.
        beside: Reports of other runs, which are drawn beside this one.
    """

    embedder: str | None = None
    judge: str | None = None
    edge: tuple[int, ...] = ()
    beside: tuple[Path, ...] = ()


USUAL, AT_HAND = EventMaking(), EventJudging()


def events(
    run: Path,
    /,
    *,
    real: str,
    trained: str,
    split: str = "test",
    making: Annotated[EventMaking, Parameter(name="*")] = USUAL,
    judging: Annotated[EventJudging, Parameter(name="*")] = AT_HAND,
    out: Path | None = None,
) -> EventsJudged:
    """How well the sounds of a run fit their captions, by how often their event occurs in what was trained on.

    Events that never occur there, but in the index, show what retrieval is worth. Sounds that are there are not made
    again.

    Args:
        run: Folder of a run; it makes sounds for each real clip that has a caption and a label.
        real: The real sounds: DATASET@NAME, a generation or selection of it, or DATASET for its clips of a split.
        trained: What was trained on: DATASET@GENERATION, or DATASET for its generation train.
        split: The split, where `real` names only a dataset.
        making: How sounds are made.
        judging: What judges.
        out: Where features, sounds and the report go; RUN/evaluation when not given.
    """
    buckets = Buckets(judging.edge or EDGES)
    others = [_read(path, buckets) for path in judging.beside]
    found = real_set(real, split=split, seed=making.seed)
    labels = labels_of_clips(found.dataset, [clip.clip_id for clip in found.clips])
    clips = [clip for clip in found.clips if clip.caption and clip.clip_id in labels]
    if not clips:
        raise ArgumentError(f"no clip of {found.of} of {found.dataset.path} has a caption and a label")
    counts, trained_on = _trained(trained)
    makings, folder = making.of(run), (out or run / "evaluation").resolve()
    names = [_clap(found.dataset, judging.embedder), *([] if judging.judge is None else [judging.judge])]
    listeners = [load_listener(name) for name in names]
    sounds = EventSounds(
        clips=clips,
        sounds=[sound for one in makings for sound in made_set(make_sounds(run, clips, one, folder), None, clips)],
        events_of={clip.clip_id: rarest(labels[clip.clip_id], counts) for clip in clips},
        seconds=makings[0].seconds,
        folder=folder / "features",
    )
    stored = None if making.index is None else _stored(making.index)
    told = {
        "made": str(run),
        "real": f"{found.dataset.path}, {found.of}",
        "trained": trained_on,
        "making": makings[0].as_dict(),
        "seeds": making.seeds,
        "judges": {name: listener.weights_sha256 for name, listener in zip(names, listeners, strict=True)},
    }
    report = folder / f"events-{short_hash([told, buckets.names], 8)}.json"
    scores = sounds.scores(listeners, buckets, counts, stored)
    return _written(EventsJudged(**told, buckets=scores, report=report), others)  # type: ignore[arg-type]


def _trained(asked: str) -> tuple[dict[str, int], str]:
    """Label -> clips of a generation that have it, and the generation in words."""
    path, _, name = asked.partition("@")
    dataset, generation = Dataset(Path(path)), name or "train"
    keys = Members.of(dataset, generation, None).keys.to_pylist()
    counts = occurrences(labels_of_clips(dataset, keys))
    if not counts:
        raise ArgumentError(f"no clip of generation {generation!r} of {path} has a label, so nothing can be counted")
    return counts, f"{path}, generation {generation}, {len(keys)} clips"


def _clap(dataset: Dataset, asked: str | None) -> str:
    """The CLAP that judges.

    Raises:
        ArgumentError: None is given or at hand, or another kind.
    """
    name = asked or next((one for one in listeners_at_hand(dataset) if one.startswith("clap:")), "")
    if not name.startswith("clap:"):
        raise ArgumentError(f"a CLAP says how sounds fit captions: give --embedder clap:WEIGHTS, not {name!r}")
    return name


def _stored(index: Path) -> set[str]:
    """Labels of the clips that an index holds."""
    held = read_rows(index, Index.read_manifest(index))["clip_id"].unique().to_pylist()
    return set(occurrences(labels_of_clips(Dataset(index.resolve().parent.parent), held)))


def _read(path: Path, buckets: Buckets) -> tuple[str, list[dict[str, Any]]]:
    """Name and rows of another report.

    Raises:
        ArgumentError: It is none, or has other buckets.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        rows, name = told["buckets"], Path(told["made"]).name
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArgumentError(f"--beside {path} is no report of `evaluate events`: {error}") from error
    if [row["bucket"] for row in rows] != buckets.names:
        raise ArgumentError(f"--beside {path} has other buckets than {', '.join(buckets.names)}; give the same --edge")
    return name, rows


def _written(judged: EventsJudged, others: Sequence[tuple[str, list[dict[str, Any]]]]) -> EventsJudged:
    """The result, kept as a file, with its plots beside it."""
    write_bytes(judged.report, json.dumps(judged.as_dict(), indent=1, ensure_ascii=False).encode())
    own = [asdict(one) for one in judged.buckets]
    runs = [(Path(judged.made).name, own), *others]
    filled = [number for number in range(len(own)) if any(rows[number]["sounds"] for _, rows in runs)]
    names = [own[number]["bucket"] for number in filled]
    for key, what in (("clap", "CLAP score"), ("right", "share of the event that was asked for")):
        lines = [Line(name, [rows[number][key] for number in filled]) for name, rows in runs]
        lines.append(Line("real sounds", [own[number][f"{key}_real"] for number in filled]))
        if any(value is not None for line in lines for value in line.values):
            note = "; ".join(f"{line.name}: {', '.join(_cell(value) for value in line.values)}" for line in lines)
            plot = levels(f"{what} by training clips of the event", names, lines, note, ("training clips", what))
            write_bytes(judged.report.with_name(f"{judged.report.stem}-{key}.svg"), alone(plot).encode())
    return judged
