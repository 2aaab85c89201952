"""`foundsound quickstart`: the whole path on a small corpus that it makes itself, and a page of plain results.

Every step is a verb that a user could type; nothing here knows more than its command line does. Each leaves what it
did on the disk, so running it again resumes in seconds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile

from curation.dataset import Dataset
from curation.selections.selection import read_report, read_rows
from pipelines.engine import start_ray
from pipelines.progress import Progress
from pipelines.quickstart.corpus import Expected, expected, write_corpus, write_lists
from pipelines.quickstart.judge import judge, precision_at_5
from pipelines.quickstart.mirror import Mirror
from pipelines.quickstart.phrases import QUERIES
from pipelines.quickstart.world import make_world
from pipelines.report.page import write_page
from pipelines.verbs.caption import caption
from pipelines.verbs.embed import embed
from pipelines.verbs.fetch import fetch
from pipelines.verbs.generate import generate
from pipelines.verbs.guard import guard
from pipelines.verbs.index import index
from pipelines.verbs.manifest import manifest
from pipelines.verbs.measure import measure
from pipelines.verbs.pack import pack, verify
from pipelines.verbs.query import query
from pipelines.verbs.report import found_section
from pipelines.verbs.result import codes_text
from pipelines.verbs.select import select
from pipelines.verbs.status import StatusResult, status
from pipelines.verbs.train import train
from pipelines.wiring.embedders import embedder_of
from retrieval_index.index import Index

WHERE = "measure.silence_ratio < 0.95 AND measure.still_ratio < 0.95"
"""What the quickstart refuses: sound that is nearly all silence, and pictures that do not move."""

SOUNDS_PER_PROMPT = 4

NEXT = """The same on VGGSound, with published weights, on a machine with a network and a GPU:
  foundsound manifest vggsound vggsound.csv --out vgg && foundsound fetch vgg --from youtube && foundsound measure vgg
  foundsound caption vgg --captioner Qwen/Qwen2-Audio-7B-Instruct && foundsound embed vgg && foundsound select vgg
  foundsound pack vgg && foundsound index vgg && foundsound query vgg "a dog barking in the rain\""""


@dataclass(slots=True)
class QuickstartResult:
    """What the quickstart found.

    Args:
        folder: Where everything lies.
        page: The report.
        stages: Counts of the dataset's stages.
        refused: What the selection of the train split refused, by reason.
        checks: What was expected of the faults that were put in, and whether it came.
        precision: Precision at 5 of the text queries over held-out clips: trained, untrained, chance.
        generated: Generated sounds judged right, and how many there are.
        seconds: Time of each step, s.
    """

    folder: Path
    page: Path
    stages: StatusResult
    refused: dict[str, int]
    checks: dict[str, bool]
    precision: dict[str, float]
    generated: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All of it."""
        return {
            "folder": str(self.folder),
            "report": self.page.as_uri(),
            "stages": self.stages.as_dict(),
            "refused": self.refused,
            "checks": self.checks,
            "precision_at_5": self.precision,
            "generated": self.generated,
            "seconds": self.seconds,
        }

    def sentences(self) -> list[str]:
        """The results in plain words."""
        right, total = self.generated["right"], self.generated["sounds"]
        wrong = [name for name, held in self.checks.items() if not held]
        faults = "as expected" if not wrong else f"NOT as expected: {', '.join(wrong)}"
        return [
            "Sounds, pictures and captions are synthetic, made here from known parameters; no captioner's weights, no "
            "published CLAP and no network were used. The numbers say that the path works, not how good a model is.",
            f"Faults put in: {len(self.checks)} checks, {faults}. Refused for training: {codes_text(self.refused)}.",
            f"Search: {sum(map(len, QUERIES.values()))} paraphrased queries over held-out clips of {len(QUERIES)} "
            f"classes: precision at 5 is {self.precision['trained']:.2f} with the CLAP trained here, "
            f"{self.precision['untrained']:.2f} untrained, {self.precision['chance']:.3f} by chance.",
            f"Generation: {right} of {total} sounds are of the class asked for, judged by arithmetic; "
            f"by chance at most {total / len(QUERIES):.0f}.",
        ]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        total = sum(self.seconds.values())
        return "\n\n".join(
            [str(self.stages), *self.sentences(), f"Time: {times}; {total:.0f} s in all.", NEXT, self.page.as_uri()]
        )


class _Clock:
    """Times the steps of the journey and says which one begins."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun
        return result


def _corpus(folder: Path, seed: int) -> Expected:
    world = make_world(seed)
    with Progress("make corpus", total=len(world.clips), unit="videos") as progress:
        write_corpus(world, folder / "videos", on_video=lambda clip: progress.advance())
    write_lists(world, folder)
    return expected(world)


def _untrained_clap(folder: Path, seed: int) -> Path:
    """A CLAP with the same sizes and words and random weights, for the comparison."""
    from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
    from pipelines.recipes.clap import WINDOW_S

    if not (folder / "config.json").is_file():
        texts = [text for clip in make_world(seed).good for text in clip.captions]
        build_tiny_clap(texts, TinyClapConfig(window_s=WINDOW_S), seed=seed).save(folder)
    return folder


def _precision(folder: Path, labels: dict[str, str]) -> float:
    """Mean precision at 5 of all queries, asked of one index."""
    searched = Index.open(folder, embedder=embedder_of(folder))
    asked = [(text, label) for label, texts in QUERIES.items() for text in texts]
    answers = searched.query_text([text for text, _ in asked], k=5)
    scores = [
        precision_at_5([labels[hit.clip_id] for hit in hits], label)
        for hits, (_, label) in zip(answers, asked, strict=True)
    ]
    return sum(scores) / len(scores)


def _search(dataset: Path, seed: int) -> dict[str, float]:
    """Embed, index the held-out clips, and ask; with the trained CLAP and an untrained one."""
    opened = Dataset(dataset)
    claps = {
        "trained": opened.folder("runs") / "clap-tiny" / "model",
        "untrained": _untrained_clap(opened.folder("runs") / "clap-untrained", seed),
    }
    held_out = read_rows(opened, "test", kept_only=True).to_pylist()
    labels = {row["clip_id"]: row["labels"][0] for row in held_out}
    found = {}
    for name, clap in claps.items():
        vectors = "clap" if name == "trained" else name
        embed(dataset, embedder=str(clap), name=vectors)
        index(dataset, selection="test", name=f"test-{name}", embedder=str(clap), vectors=vectors)
        found[name] = _precision(opened.folder("indexes") / f"test-{name}", labels)
    index(dataset, selection="train", embedder=str(claps["trained"]))
    return {**found, "chance": 1 / len(QUERIES)}


def _generate(run: Path, seed: int) -> dict[str, int]:
    """The first held-out query of each class, several sounds each, judged by arithmetic."""
    prompts = {texts[0]: label for label, texts in QUERIES.items()}
    made = generate(run, text=list(prompts), count=SOUNDS_PER_PROMPT, seed=seed)
    right = 0
    wanted = [label for label in prompts.values() for _ in range(SOUNDS_PER_PROMPT)]
    for file, label in zip(made.files, wanted, strict=True):
        wave_T, rate_hz = soundfile.read(file, dtype="float32")
        right += judge(wave_T, rate_hz).label == label
    return {"right": right, "sounds": len(wanted)}


def _checks(dataset: Dataset, known: Expected) -> dict[str, bool]:
    """Each fault that was put in, and whether it came out as it should."""
    counts = status(dataset.path).stages
    rows = dataset.sql("SELECT clip_id, video_id FROM clips JOIN videos USING (video_key)").to_pylist()
    video_of = {row["clip_id"]: row["video_id"] for row in rows}
    refused = {
        video_of[row["clip_id"]]: row["reason"] for row in read_rows(dataset, "train").to_pylist() if not row["kept"]
    }
    aside = dict(counts["cut"].set_aside)
    return {
        "every row is accounted for": all(c.pending == 0 for c in counts.values()),
        "malformed row": counts["manifest"].set_aside["MALFORMED"] == 1,
        "dead links and truncated file": aside == {str(code): n for code, n in known["set_aside"].items()},
        "silent clip": refused.get(known["silent"]) == "WHERE",
        "still picture": refused.get(known["still"]) == "WHERE",
        "clip of the evaluation list": refused.get(known["leaked"]) == "GUARD",
        "its neighbour in time is kept": known["elsewhere"] not in refused,
        "exact duplicate": sum(refused.get(video) == "DUPLICATE" for video in known["duplicates"]) == 1,
        "training clips": read_report(dataset, "train").kept_clips == known["train"],
        "held-out clips": read_report(dataset, "test").kept_clips == known["test"],
    }


def _curate(dataset: Path, folder: Path, clock: _Clock) -> None:
    """From the list to shards."""
    clock.step("manifest", lambda: manifest("table", folder / "list.csv", out=dataset))
    with Mirror(folder / "videos") as mirror:
        clock.step("fetch and cut", lambda: fetch(dataset, source=f"{mirror.url}/{{video_id}}.mp4"))
    clock.step("measure", lambda: measure(dataset))
    clock.step("caption", lambda: caption(dataset, captioner="label"))
    guard(dataset, add=[f"evaluation={folder / 'evaluation.csv'}"])
    clock.step("select", lambda: select(dataset, split="train", where=WHERE, guard="evaluation"))
    clock.step("select", lambda: select(dataset, split="test", where=WHERE))
    clock.step("pack and verify", lambda: [pack(dataset, selection=split) for split in ("train", "test")])
    clock.step("pack and verify", lambda: verify(dataset))


def quickstart(*, out: Path = Path("quickstart"), seed: int = 0) -> QuickstartResult:
    """The whole path in a few minutes, without a network: makes a small corpus, curates, searches, trains, generates.

    Args:
        out: Folder for everything it makes; run again, it goes on there.
        seed: Of the corpus and of both networks.
    """
    folder = out.resolve()
    dataset = folder / "dataset"
    clock = _Clock()
    known = clock.step("corpus", lambda: _corpus(folder, seed))
    if not (dataset / "shards").is_dir():
        clock.step("start Ray", start_ray)
    _curate(dataset, folder, clock)
    clock.step("train CLAP", lambda: train("clap-tiny", data=[str(dataset)], seed=seed))
    precision = clock.step("embed and search", lambda: _search(dataset, seed))
    clock.step("train AudioX", lambda: train("audiox-tiny", data=[str(dataset)], seed=seed))
    generated = clock.step("generate", lambda: _generate(dataset / "runs" / "audiox-tiny", seed))
    opened = Dataset(dataset)
    page = opened.folder("reports") / "report.html"
    result = QuickstartResult(
        folder=folder,
        page=page,
        stages=status(dataset),
        refused=read_report(opened, "train").refused,
        checks=_checks(opened, known),
        precision=precision,
        generated=generated,
        seconds=clock.seconds,
    )
    asked = [texts[0] for texts in QUERIES.values()][:3]
    found = tuple(found_section(text, query(dataset, text, index="test-trained", k=5)) for text in asked)
    title = "foundsound quickstart: a synthetic world"
    clock.step("report", lambda: write_page(opened, page, title=title, summary=tuple(result.sentences()), found=found))
    return result
