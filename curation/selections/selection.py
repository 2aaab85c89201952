"""A selection: which clips are in, with which captions, and for every other clip why not and what refused it.

    selections/<name>.parquet    one row a clip of the dataset, sorted by clip_id
    selections/<name>.json       settings, counts by reason, sha256 of the Parquet file

Measurements are facts that were stored without judging; thresholds, evaluation lists and duplicates are applied here
and nowhere else; the SQL is in `curation/selections/judging.py`. A selection holds all that packing needs, so a shard
depends on it and on the media alone. The same dataset and settings give the same bytes. How captions are chosen is not
decided here: candidates come as SQL.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from curation.annotated import HUMAN_CAPTIONS
from curation.dataset import Dataset
from curation.described import read_described
from curation.duplicates.found import create_duplicates, found_sha256
from curation.errors import ArgumentError
from curation.guards import guard
from curation.keys import file_sha256
from curation.lock import writer_lock
from curation.names import plain_name
from curation.schema import SCHEMA_VERSION, TEXTS, column, table
from curation.selections.judging import ALWAYS, SPLIT_RANKS, Asked, judge
from curation.selections.rules import RULES
from curation.selections.without import Without
from curation.streaming import write_query
from curation.tables import write_bytes

Split = Literal["train", "val", "test"]


class Reason(StrEnum):
    """Why a clip is refused that no stage has set aside, in the order in which the reasons are tried."""

    PENDING = "PENDING"
    SPLIT = "SPLIT"
    WHERE = "WHERE"
    RULE = "RULE"
    GUARD = "GUARD"
    DUPLICATE_OF_EVALUATION = "DUPLICATE_OF_EVALUATION"
    DUPLICATE = "DUPLICATE"
    RANK = "RANK"


REASONS: dict[Reason, str] = {
    Reason.PENDING: "a stage has not finished with the clip; `refused_by` is the stage",
    Reason.SPLIT: "the clip belongs to another split; `refused_by` is that split",
    Reason.WHERE: "the condition is false or null for the clip",
    Reason.RULE: "a named rule is false or null for the clip, or a list of what is left out names it; `refused_by` is "
    "the rule or the list",
    Reason.GUARD: "the clip shares time with an evaluation list; `refused_by` is the list",
    Reason.DUPLICATE_OF_EVALUATION: "its sound is in a stricter split or an evaluation list; `refused_by` is that "
    "clip, or `<guard>/<sound>`",
    Reason.DUPLICATE: "the same sound is kept once already; `refused_by` is the kept clip",
    Reason.RANK: "it would be in, but others rank higher, or it has no rank",
}
"""Reason -> meaning. Before all of these stands the code with which `fetch`, `cut` or `measure` set the clip aside."""

SELECTION = table(
    "One row a clip of the dataset.",
    column("clip_id", pa.string(), "the clip"),
    column("kept", pa.bool_(), "whether the clip is in"),
    column("reason", pa.string(), "why it is not, as a code or a reason; null when kept"),
    column("refused_by", pa.string(), "what refused it: a stage, a split, a rule, an evaluation list, or a clip_id"),
    column("split", pa.string(), "`train`, `val` or `test`: the strictest of its annotations"),
    column("labels", TEXTS, "class names, sorted"),
    column("captions", TEXTS, "the chosen sentences, sorted by source and text"),
    column("caption_sources", TEXTS, "where each sentence is from, as `human:<list>`"),
    column(
        "transcript", pa.string(), "what is said, by the first list that has it; of a video, only of its single clip"
    ),
    column("types", TEXTS, "what it trains, by all lists that say so of it or its video, sorted; none: anything"),
    column("lists", TEXTS, "the lists that name the clip or its video, sorted"),
    column("platform", pa.string(), "platform of its video"),
    column("video_id", pa.string(), "its video's id there"),
    column("url", pa.string(), "address of its video, for platform `url`, without user and password"),
    column("start_ms", pa.int64(), "start in the video, ms"),
    column("duration_ms", pa.int64(), "length, ms"),
    column("prev_clip_id", pa.string(), "the clip that ends where this one starts, where segments follow each other"),
    column("licence", pa.string(), "licence as the platform states it"),
    column("original_sha256", pa.string(), "sha256 of the file that it was cut from"),
    column("audio_sha256", pa.string(), "sha256 of its .flac in the media store"),
    column("video_sha256", pa.string(), "sha256 of its .mp4 there; null without a picture"),
    column("sample_rate_hz", pa.int64(), "sample rate of its sound, Hz"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionReport:
    """What a selection came to; `kept_clips` and the counts of `refused` add up to `clips`.

    Args:
        name: Name of the selection.
        path: Its Parquet file.
        sha256: sha256 of that file: equal for equal selections.
        settings: What was asked for.
        clips: Clips of the dataset.
        kept_clips: How many are in.
        refused: Reason or code -> how many it refused.
    """

    name: str
    path: Path
    sha256: str
    settings: dict[str, Any]
    clips: int
    kept_clips: int
    refused: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The content of `selections/<name>.json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "sha256": self.sha256,
            "settings": self.settings,
            "clips": self.clips,
            "kept_clips": self.kept_clips,
            "refused": self.refused,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Choices between things that stand side by side: copies of a sound, clips that all pass, variants of a stage.

    Args:
        duplicates: Name of the groups that `dedupe` found; None: only equal samples count as duplicates, and the clip
            with the smallest clip_id is kept.
        best_clips: Keep so many at most, those that rank highest; None: all.
        by: SQL expression over the same tables as `where`, the higher the better, null ranks nowhere; given with
            `best_clips`. Source: V2M keeps its 20,000 best by audio-visual agreement.
        using: Stage -> label, for stages that ran in several variants.
        without: Lists of videos and clips that are left out.

    Raises:
        ArgumentError: Two lists have one name, `best_clips` and `by` do not come together, or `best_clips` is below 1.
    """

    duplicates: str | None = None
    best_clips: int | None = None
    by: str | None = None
    using: Mapping[str, str] = field(default_factory=dict)
    without: Sequence[Without] = ()

    def __post_init__(self) -> None:
        names = [one.name for one in self.without]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ArgumentError(f"--without has two lists {twice[0]!r}: rename one, the name says what refused a clip")
        if (self.best_clips is None) != (self.by is None):
            raise ArgumentError(f"--best {self.best_clips} and --by {self.by!r} go together: so many, and by what")
        if self.best_clips is not None and self.best_clips < 1:
            raise ArgumentError(f"--best must be at least 1, not {self.best_clips}")


def select(
    dataset: Dataset,
    *,
    name: str,
    where: str | None = None,
    split: Split = "train",
    guards: Sequence[str] = (),
    rules: Sequence[str] = (),
    captions_sql: str | None = None,
    choice: Choice | None = None,
) -> SelectionReport:
    """Judge every clip of the dataset and write the selection; one of the same name is replaced.

    Args:
        dataset: The dataset; `cut` and `measure` must have run on it.
        name: Name of the selection.
        where: SQL condition over one row a clip, with the tables `clips` (and its `split`, `labels`, `captions`,
            `transcript`, `types`, `lists`), `videos`, `"fetch"` (a word of SQL, so in quotes), `cut`, `measure`, and
            every other stage of clips that has run, as answered last; null counts as false. None keeps all.
        split: The split that is taken.
        guards: Evaluation lists whose spans and sounds are refused; only for the train split.
        rules: Names of published thresholds (`curation/selections/rules.py`); each refuses what it does not hold for.
        captions_sql: Query that gives `clip_id`, `text`, `source` of the chosen captions; None takes those by people.
            A clip without any is kept.
        choice: Which copy, which best, which variant; None: no more than the first of equal samples.

    Raises:
        ArgumentError: The condition is not SQL, a guard, a rule or duplicates are not there or too old, or a stage has
            not run.
        LockedError: Another process writes this selection, or takes something down.
    """
    path, choice = selection_path(dataset, name), choice or Choice()
    if split not in SPLIT_RANKS:
        raise ArgumentError(f"split {split!r} is none of {', '.join(SPLIT_RANKS)}")
    if guards and split != "train":
        raise ArgumentError(f"guards keep evaluation clips out of training; split {split!r} takes none: drop them")
    for stage in ALWAYS:
        _has_run(dataset, stage)
    asked = Asked(
        rank=SPLIT_RANKS[split],
        captions=captions_sql or HUMAN_CAPTIONS,
        where=where,
        rules=[(rule, _rule(dataset, rule, choice)) for rule in dict.fromkeys(rules)],
        best_clips=choice.best_clips,
        by=choice.by,
        using=choice.using,
        guards=guards,
        without=choice.without,
    )
    settings = {"split": split, "captions_sql": captions_sql, **_settings(dataset, asked, choice)}
    lock = dataset.folder("locks") / f"select-{name}.lock"
    with writer_lock(lock, f"selection {name!r} of {dataset.path}"), dataset.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")  # of working tables; the result is sorted
        guard.create_guarded(connection, dataset, guards)
        asked = replace(asked, covered=create_duplicates(connection, dataset, choice.duplicates, guards))
        counts = write_query(connection, judge(connection, dataset, asked), path, SELECTION, count_by="reason")
        report = _report(name, path, settings, counts)
        content = json.dumps(report.as_dict(), indent=2, sort_keys=True, ensure_ascii=False)
        write_bytes(path.with_name(f"{name}.json"), content.encode())
    return report


def selection_path(dataset: Dataset, name: str) -> Path:
    """Where the rows of the selection of this name are, or would be."""
    return dataset.folder("selections") / f"{plain_name(name, 'selection')}.parquet"


def read_report(dataset: Dataset, name: str) -> SelectionReport:
    """The settings and counts of a selection.

    Raises:
        ArgumentError: There is no such selection.
        DatasetError: Its two files do not belong together, as after a kill between them.
    """
    return read_described(selection_path(dataset, name), SelectionReport, what="selection", verb="select")


def read_rows(
    dataset: Dataset, name: str, *, kept_only: bool = False, columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of a selection, with the columns of `SELECTION` or those named, sorted by clip_id.

    Raises:
        ArgumentError: There is no such selection.
        DatasetError: It is damaged.
    """
    path = read_report(dataset, name).path
    filters = [("kept", "=", True)] if kept_only else None
    return pq.read_table(path, columns=None if columns is None else list(columns), filters=filters)


def _settings(dataset: Dataset, asked: Asked, choice: Choice) -> dict[str, Any]:
    """What was asked for, with hashes of the guards and duplicates that decided."""
    return {
        "where": asked.where,
        "guards": {name: guard.guard_sha256(dataset, name) for name in sorted(set(asked.guards))},
        "rules": dict(asked.rules),
        "duplicates": {choice.duplicates: found_sha256(dataset, choice.duplicates)} if choice.duplicates else None,
        "best_clips": choice.best_clips,
        "by": choice.by,
        "using": dict(choice.using),
        **({"without": {one.name: one.sha256 for one in choice.without}} if choice.without else {}),
    }


def _has_run(dataset: Dataset, stage: str) -> None:
    """Refuse to go on without a stage, and say which verb runs it."""
    if not dataset.has_stage(stage):
        verb = {"cut": "fetch", "print": "dedupe"}.get(stage, stage)
        raise ArgumentError(f"stage {stage!r} has not run on {dataset.path}; run `foundsound {verb}` first")


def _rule(dataset: Dataset, name: str, choice: Choice) -> str:
    """The condition of a named rule whose stages have all run."""
    if name not in RULES:
        raise ArgumentError(f"rule {name!r} is none of {', '.join(RULES)}")
    rule = RULES[name]
    for stage in rule.needs:
        _has_run(dataset, stage)
        labels = sorted(dataset.current_facts(stage))
        if stage != "fetch" and len(labels) > 1 and stage not in choice.using:
            raise ArgumentError(f"rule {name!r} reads {stage!r}, of which there are {labels}; say which with --using")
    return str(rule.where)


def _report(name: str, path: Path, settings: dict[str, Any], counts: Mapping[str | None, int]) -> SelectionReport:
    refused = {reason: count for reason, count in counts.items() if reason is not None}
    return SelectionReport(
        name=name,
        path=path,
        sha256=file_sha256(path),
        settings=settings,
        clips=sum(counts.values()),
        kept_clips=counts.get(None, 0),
        refused=dict(sorted(refused.items())),
    )
