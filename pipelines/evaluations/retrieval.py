"""`foundsound evaluate retrieval`: how well captions find their clips, and clips their captions.

Protocol, that of the audio retrieval benchmarks (Koepke et al. 2022, arXiv 2112.09418; LAION-CLAP, arXiv 2211.06687):

* Text to sound: every caption is a query, five a clip on AudioCaps and Clotho; its own clip is the one right answer
  among all clips, whatever others say.
* Sound to text: every clip is a query; all captions of all clips are searched, and each of its own is right. R@k counts
  a clip when any of them is among the first k; mAP@k is over all of them.
* A clip longer than a window of the embedder is the mean of its windows.
* Of equal scores the right answer counts as the last.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from captioning.candidates import candidates_sql
from curation.annotated import ANNOTATED
from curation.blobs import BlobReader, BlobRef
from curation.current import last_sql
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.keys import KEY_HEX_DIGITS
from curation.selections.judging import SPLIT_RANKS
from curation.selections.selection import Split, read_report, read_rows
from curation.stage import Stage
from models.metrics.similarity import average_precision_at, ranks, recall_at, unit
from pipelines.progress import Progress
from pipelines.runner import Job, run
from pipelines.verbs.embed import DEFAULT_EMBEDDER
from pipelines.wiring.embedders import embed_stage, embed_text_stage

AT = (1, 5, 10)
"""The k of R@k."""

PRECISION_AT = 10
"""The k of mAP@k."""

QUERIES_AT_ONCE = 256
"""Queries whose scores are in memory at a time. Source: ours; 400 MB of float64 with 190,000 captions."""

PUBLISHED = {
    "audiocaps": {
        "of": "LAION-CLAP, AudioCaps test, text to sound",
        "source": "Wu et al. 2023, arXiv 2211.06687, rounded",
        "text_to_sound": {"recall_at_1": 0.367, "recall_at_5": 0.70, "recall_at_10": 0.83},
    }
}
"""Kind of a list -> what was published for its test split."""

_OF_SPLIT = f"""
SELECT clip_id FROM ({ANNOTATED}) GROUP BY clip_id HAVING max(CASE split WHEN 'test' THEN {SPLIT_RANKS["test"]}
    WHEN 'val' THEN {SPLIT_RANKS["val"]} ELSE {SPLIT_RANKS["train"]} END) = ?"""

_ASKED = f"""
SELECT clip_id, source, substr(sha256(text), 1, {KEY_HEX_DIGITS}) AS hash
FROM ({{candidates}}) JOIN chosen USING (clip_id)
WHERE trim(text) <> '' AND (source = $1 OR starts_with(source, $1 || ':'))"""

_HEARD = """
SELECT DISTINCT asked.clip_id, cut.audio_sha256 FROM asked JOIN cut ON cut.key = asked.clip_id AND cut.state = 'done'"""

_TEXTS = """
SELECT asked.clip_id, found.blob, found.offset_bytes, 1 AS windows, found.dimension
FROM asked JOIN heard USING (clip_id)
LEFT JOIN ({vectors}) AS found ON found.key = asked.clip_id AND found.input = asked.hash AND found.state = 'done'
ORDER BY asked.clip_id, asked.source, asked.hash"""

_SOUNDS = """
SELECT heard.clip_id, found.blob, found.offset_bytes, found.windows, found.dimension
FROM heard
LEFT JOIN ({vectors}) AS found ON found.key = heard.clip_id AND found.input = heard.audio_sha256
    AND found.state = 'done'
ORDER BY heard.clip_id"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """How high the right answers rank, in one direction.

    Args:
        queries: How many were asked.
        searched: Among how many answers.
        recall_at_1: Share of queries with a right answer first, in [0, 1].
        recall_at_5: Share with one among the first 5.
        recall_at_10: Share with one among the first 10.
        map_at_10: Mean average precision of the first 10, in [0, 1].
        median_rank: Median over queries of the rank of the first right answer, from 1.
        chance_at_1: What `recall_at_1` would be in random order.
        chance_at_5: The same of `recall_at_5`.
        chance_at_10: The same of `recall_at_10`.
    """

    queries: int
    searched: int
    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    map_at_10: float
    median_rank: float
    chance_at_1: float
    chance_at_5: float
    chance_at_10: float


def scores_of(
    queries_QD: npt.NDArray[np.floating], stored_SD: npt.NDArray[np.floating], relevant: Sequence[npt.NDArray[np.intp]]
) -> Scores:
    """Rank everything stored for every query by cosine.

    Args:
        queries_QD: Vectors of the queries, of any length above 0.
        stored_SD: Vectors of what may be found.
        relevant: For each query the numbers of its right answers among `stored_SD`, at least one.

    Raises:
        ValueError: A query has no right answer, or a vector no direction.
    """
    queries, stored = unit(queries_QD), unit(stored_SD)
    found: list[npt.NDArray[np.int64]] = []
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(first, first + QUERIES_AT_ONCE)
        found += ranks(queries[part] @ stored.T, relevant[part])
    recall = {f"recall_at_{k}": recall_at(found, k) for k in AT}
    chance = {f"chance_at_{k}": float(np.mean([_chance(len(stored), len(one), k) for one in found])) for k in AT}
    return Scores(
        queries=len(queries),
        searched=len(stored),
        map_at_10=average_precision_at(found, PRECISION_AT),
        median_rank=float(np.median([one[0] for one in found])),
        **recall,
        **chance,
    )


def _chance(stored: int, right: int, k: int) -> float:
    """Probability that one of so many right answers is among the first k of a random order."""
    return 1.0 - comb(stored - right, k) / comb(stored, k) if k <= stored else 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalResult:
    """How well captions and sounds find each other.

    Args:
        dataset: The dataset.
        of: Which clips: a split or a selection.
        captions: Whose captions.
        clips: Clips that were asked, each with a sound and a caption.
        clips_listed: Clips of the split or selection that have a caption; those without a sound are missing.
        captions_a_clip: The least and the most captions that a clip has.
        embedder: Its name.
        identity: Class, sums of its weights and preprocessing.
        text_to_sound: Every caption is a query, its clip the answer.
        sound_to_text: Every clip is a query, its captions the answers.
        published: What was published of the same list, or None.
    """

    dataset: Path
    of: str
    captions: str
    clips: int
    clips_listed: int
    captions_a_clip: tuple[int, int]
    embedder: str
    identity: dict[str, Any]
    text_to_sound: Scores
    sound_to_text: Scores
    published: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """All of it; shares are in [0, 1]."""
        return {
            "dataset": str(self.dataset),
            "of": self.of,
            "captions": self.captions,
            "clips": self.clips,
            "clips_listed": self.clips_listed,
            "captions_a_clip": list(self.captions_a_clip),
            "embedder": {"name": self.embedder, **self.identity},
            "text_to_sound": asdict(self.text_to_sound),
            "sound_to_text": asdict(self.sound_to_text),
            "published": self.published,
        }

    def __str__(self) -> str:
        least, most = self.captions_a_clip
        each = f"{least}" if least == most else f"{least} to {most}"
        weights = str(self.identity.get("weights_sha256", "unknown"))[:12]
        lines = [
            f"{self.dataset}, {self.of}: {self.clips:,} of {self.clips_listed:,} clips with captions have a sound",
            f"{self.text_to_sound.queries:,} captions ({self.captions}), {each} a clip; every caption is a query, and "
            "for a clip any of its captions is right",
            f"embedder {self.embedder}, weights {weights}; a clip longer than its window is the mean of its windows",
            f"{'%':<24}{'R@1':>7}{'R@5':>7}{'R@10':>7}{'mAP@10':>8}{'median rank':>13}",
        ]
        for name, scores in (("text to sound", self.text_to_sound), ("sound to text", self.sound_to_text)):
            numbers = "".join(f"{100 * getattr(scores, f'recall_at_{k}'):7.1f}" for k in AT)
            lines.append(f"{name:<24}{numbers}{100 * scores.map_at_10:8.1f}{scores.median_rank:13g}")
            chance = "".join(f"{100 * getattr(scores, f'chance_at_{k}'):7.1f}" for k in AT)
            lines.append(f"{'  by chance':<24}{chance}")
        if self.published is not None:
            figures = "".join(f"{100 * value:7.1f}" for value in self.published["text_to_sound"].values())
            lines.append(f"{'published':<24}{figures}  {self.published['of']} ({self.published['source']})")
        return "\n".join(lines)


def retrieval(
    dataset: Path,
    /,
    *,
    split: Split = "test",
    selection: str | None = None,
    captions: str = "human",
    embedder: str = DEFAULT_EMBEDDER,
    vectors: str = "clap",
    revision: str | None = None,
    batch: int = 32,
    workers: int | None = None,
) -> RetrievalResult:
    """Judge how well captions find their clips and clips their captions: R@1, R@5, R@10, mAP@10, median rank.

    Sounds and captions that have no vectors yet are embedded first.

    Args:
        dataset: Folder of the dataset.
        split: Which clips: those of this split.
        selection: Which clips: those of this selection, instead of a split.
        captions: Whose captions: human, or human:LIST, model:NAME or label.
        embedder: The CLAP that is judged.
        vectors: Name of its vectors, as given to `embed --name`.
        revision: Commit or tag on the Hub.
        batch: Clips that are embedded at once.
        workers: Processes that embed; 0 works in this process, without Ray.
    """
    if split not in SPLIT_RANKS:
        raise ArgumentError(f"--split {split!r} is none of {', '.join(SPLIT_RANKS)}")
    opened = Dataset(dataset)
    sounds = embed_stage(opened, embedder, called=vectors, revision=revision)
    texts = embed_text_stage(opened, embedder, called=vectors, revision=revision)
    for stage in (sounds, texts):
        _check_label(opened, stage, vectors)
    of = f"split {split}" if selection is None else f"selection {selection}"
    asked, heard = _asked(opened, split, selection, captions, of)
    _embed(opened, sounds, "SELECT pending.* FROM pending SEMI JOIN asked ON clip_id = key", heard, batch, workers)
    wanted = "SELECT pending.* FROM pending SEMI JOIN asked ON clip_id = key AND hash = input"
    _embed(opened, texts, wanted, asked, batch, workers)
    clips, sounds_CD = _sounds(opened, heard, vectors)
    clip_of_text, texts_TD = _texts(opened, asked, heard, vectors, clips)
    forth, back = _both_ways(sounds_CD, texts_TD, clip_of_text)
    counts = np.bincount(clip_of_text)
    return RetrievalResult(
        dataset=opened.path,
        of=of,
        captions=captions,
        clips=len(clips),
        clips_listed=len(asked["clip_id"].unique()),
        captions_a_clip=(int(counts.min()), int(counts.max())),
        embedder=embedder,
        identity=dict(sounds.embedder),
        text_to_sound=forth,
        sound_to_text=back,
        published=_published(opened, asked, split if selection is None else _split_of(opened, selection)),
    )


def _both_ways(
    sounds_CD: npt.NDArray[np.floating], texts_TD: npt.NDArray[np.floating], clip_of_text: npt.NDArray[np.intp]
) -> tuple[Scores, Scores]:
    """Text to sound, and sound to text; the numbers of the clips of the texts are in order."""
    captions_of = np.split(np.arange(len(clip_of_text)), np.searchsorted(clip_of_text, np.arange(1, len(sounds_CD))))
    with Progress("retrieval", total=2, unit="directions") as progress:
        forth = scores_of(texts_TD, sounds_CD, [np.array([clip]) for clip in clip_of_text])
        progress.advance(1)
        back = scores_of(sounds_CD, texts_TD, captions_of)
        progress.advance(1)
    return forth, back


def _check_label(dataset: Dataset, stage: Stage, vectors: str) -> None:
    """Refuse an embedder under whose name another's vectors lie, which it would push aside."""
    there = dataset.current_facts(stage.NAME).get(vectors)
    if there is not None and there.name != stage.folder_name:
        raise ArgumentError(
            f"the vectors {vectors!r} of {dataset.path} were made with another embedder; give that one, or a name of "
            "its own to this one with --vectors"
        )


def _asked(dataset: Dataset, split: Split, selection: str | None, captions: str, of: str) -> tuple[pa.Table, pa.Table]:
    """The captions, and the clips of theirs that have a sound.

    Raises:
        ArgumentError: There are none.
    """
    if selection is None:
        chosen = dataset.sql(_OF_SPLIT, [SPLIT_RANKS[split]])
    else:
        chosen = read_rows(dataset, selection, kept_only=True, columns=["clip_id", "kept"]).select(["clip_id"])
    query = _ASKED.format(candidates=candidates_sql(dataset))
    asked = dataset.sql(query, [captions], chosen=chosen)
    if not asked.num_rows:
        raise ArgumentError(f"no clip of {of} of {dataset.path} has captions {captions!r}; give others with --captions")
    heard = dataset.sql(_HEARD, asked=asked) if dataset.has_stage("cut") else asked.slice(0, 0)
    if heard.num_rows < 2:
        raise ArgumentError(
            f"{heard.num_rows} of {len(asked['clip_id'].unique())} clips of {of} have a sound, and at least 2 are "
            f"ranked; run `foundsound fetch {dataset.path}` first"
        )
    return asked, heard


def _embed(dataset: Dataset, stage: Stage, wanted: str, asked: pa.Table, batch: int, workers: int | None) -> None:
    """Run a stage over what is asked and has no vector yet, and over nothing else."""
    job = Job(
        stage=stage,
        queue=lambda: dataset.sql(f"{wanted} ORDER BY key", pending=dataset.pending(stage), asked=asked),
        batch_rows=batch,
        workers=workers,
        gpu=True,
    )
    if job.queue().num_rows:
        run(dataset, job)


def _sounds(dataset: Dataset, heard: pa.Table, vectors: str) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float64]]:
    """clip_ids in order, and the mean of the windows of each, (C, D)."""
    with dataset.reading():
        rows = dataset.sql(_SOUNDS.format(vectors=last_sql(dataset, "embed", vectors)), heard=heard)
    stored_WD = unit(_gathered(dataset, rows))
    begins = np.cumsum([0, *rows["windows"].to_pylist()[:-1]])
    return np.array(rows["clip_id"].to_pylist()), unit(np.add.reduceat(stored_WD, begins, axis=0))


def _texts(
    dataset: Dataset, asked: pa.Table, heard: pa.Table, vectors: str, clips: npt.NDArray[np.str_]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """For each caption the number of its clip, in the order of the clips, and its vector, (T, D)."""
    with dataset.reading():
        rows = dataset.sql(_TEXTS.format(vectors=last_sql(dataset, "embed_text", vectors)), asked=asked, heard=heard)
    return np.searchsorted(clips, np.array(rows["clip_id"].to_pylist())), unit(_gathered(dataset, rows))


def _gathered(dataset: Dataset, rows: pa.Table) -> npt.NDArray[Any]:
    if missing := rows["blob"].null_count:
        raise ArgumentError(f"{missing} of {rows.num_rows} sounds or captions have no vector; run the command again")
    places = [
        BlobRef(
            blob=row["blob"], offset_bytes=row["offset_bytes"], shape=(row["windows"], row["dimension"]), dtype="<f2"
        )
        for row in rows.to_pylist()
    ]
    return BlobReader(dataset.root("vectors")).gather(places)


def _split_of(dataset: Dataset, selection: str) -> str:
    return str(read_report(dataset, selection).settings["split"])


def _published(dataset: Dataset, asked: pa.Table, split: str) -> dict[str, Any] | None:
    """What was published of the list that all captions are from, of its test split only."""
    lists = {source.partition(":")[2] for source in asked["source"].unique().to_pylist()}
    kinds = {entry.get("kind") for entry in dataset.config["sources"] if entry["list"] in lists}
    return PUBLISHED.get(str(next(iter(kinds)))) if split == "test" and len(kinds) == 1 else None
