"""Captions of a published set as facts of the stage `caption`, beside those of models that were run here."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa

from captioning.caption import Caption as CaptionStage
from captioning.imported.entry import Caption, read_segments, timed
from captioning.imported.join import FATES, Fate, Joined, join
from captioning.imported.sets import SETS
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.facts import FactTable, fact_row
from curation.keys import file_sha256, short_hash
from curation.lists.ingest import list_name
from curation.lists.row import Reject
from curation.lock import writer_lock
from curation.stage import Outcome, Stage
from curation.tables import Row
from curation.views import latest_sql, quoted

VERSION = 2
"""Grows when the same file gives other captions; 2: control characters are not kept."""

COMMIT_ROWS = 10_000


@dataclass(frozen=True, kw_only=True)
class Imported(Stage):
    """The captions of one file of a set; nothing is worked on, so what is requested of it is what it has.

    Args:
        set: Name of the set, a key of `SETS`.
        file_sha256: Of the file.
        called: Label of the captions.
    """

    NAME: ClassVar[str] = "caption"
    VERSION: ClassVar[int] = VERSION
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = CaptionStage.RESULTS

    set: str
    file_sha256: str
    called: str

    @property
    def label(self) -> str:
        """Label of the captions."""
        return self.called

    def requests(self) -> str:
        """The clips that were joined."""
        return f"SELECT key, input FROM caption WHERE label = {quoted(self.called)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport:
    """What came of an import.

    Args:
        label: Label of the captions.
        fates: How many rows of the file had which fate; their sum is the number of rows.
        clips: Clips that have captions of the file.
        new_clips: Those that had none before this import.
        rejects: The first rows that could not be understood.
    """

    label: str
    fates: dict[Fate, int]
    clips: int
    new_clips: int
    rejects: Sequence[Reject] = field(default_factory=tuple)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "captions": self.label,
            "rows": sum(self.fates.values()),
            **{fate.value.replace(" ", "_"): self.fates.get(fate, 0) for fate in FATES},
            "clips": self.clips,
            "new_clips": self.new_clips,
            "first_malformed": [{"line": reject.line, "reason": reject.reason} for reject in self.rejects],
        }


def import_captions(
    dataset: Dataset,
    kind: str,
    file: Path,
    *,
    name: str | None = None,
    segments: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Join a file of a published set with a dataset and keep its captions; again, it adds those of new clips.

    Args:
        dataset: The dataset.
        kind: Which set, a key of `SETS`.
        file: Its file.
        name: Label of the captions; None makes it from the set and the file's name.
        segments: One of AudioSet's segment lists, which says the times that AudioSet's copies do not; None: only lists
            of the dataset say them.
        progress: Called with the number of rows that were looked at.

    Raises:
        ArgumentError: There is no such set or file, or it has another layout.
        LockedError: Another process imports the same.
    """
    if kind not in SETS:
        raise ArgumentError(f"{kind!r} is no set of captions that is known here; give one of {', '.join(SETS)}")
    for path in (file, *([segments] if segments else [])):
        if not path.is_file():
            raise ArgumentError(f"{path} is not a file")
    label = list_name(kind, file, name)
    known = dataset.current_facts("caption").get(label)
    stage = Imported(set=kind, file_sha256=file_sha256(file), called=label)
    if known is not None and json.loads((known / "identity.json").read_text(encoding="utf-8")).get("set") != kind:
        raise ArgumentError(f"{dataset.path} has captions {label!r} that are no {kind}; give another --name")
    lock = dataset.folder("locks") / f"caption-{stage.folder_name}.lock"
    with writer_lock(lock, f"captions {label} of {dataset.path}"):
        entries = SETS[kind].read(file)
        if segments is not None:
            entries = timed(entries, read_segments(segments, _youtube_ids(dataset)))
        joined = join(dataset, entries, progress)
        facts = dataset.facts(stage)
        rows = _rows(joined, stage, file, _inputs(dataset, facts))
        for start in range(0, len(rows), COMMIT_ROWS):
            facts.append(rows[start : start + COMMIT_ROWS])
        facts.make_current(stage)
    return ImportReport(
        label=label,
        fates=dict(joined.fates),
        clips=len(joined.captions),
        new_clips=len(rows),
        rejects=tuple(joined.rejects),
    )


def _youtube_ids(dataset: Dataset) -> frozenset[str]:
    return frozenset(dataset.sql("SELECT video_id FROM videos WHERE platform = 'youtube'")["video_id"].to_pylist())


def _inputs(dataset: Dataset, facts: FactTable) -> set[tuple[str, str]]:
    """(clip, input) of the captions that an earlier import of the same file kept."""
    with dataset.reading():
        kept = dataset.sql(f"SELECT key, input FROM ({latest_sql(facts.folder)})")
    return set(zip(kept["key"].to_pylist(), kept["input"].to_pylist(), strict=True))


def _rows(joined: Joined, stage: Imported, file: Path, kept: set[tuple[str, str]]) -> list[Row]:
    """The facts that are not there yet, sorted by clip."""
    rows = []
    for clip_id, captions in sorted(joined.captions.items()):
        texts = list(dict.fromkeys(caption.text for caption in captions))
        input_hash = short_hash([stage.file_sha256, texts])
        if (clip_id, input_hash) not in kept:
            outcome = Outcome(key=clip_id, values=_values(stage, file, captions, texts))
            rows.append(fact_row(outcome, input_hash=input_hash, attempt=1, seconds=0.0))
    return rows


def _values(stage: Imported, file: Path, captions: Iterable[Caption], texts: list[str]) -> Row:
    sources = {
        "set": stage.set,
        "file": file.name,
        "file_sha256": stage.file_sha256,
        "rows": [caption.line for caption in captions],
    }
    return {
        "text": texts[0],
        "model": SETS[stage.set].title,
        "candidate": 0,
        "further": [{"candidate": number, "text": text} for number, text in enumerate(texts[1:], 1)],
        "made_from": "list",
        "sources": json.dumps(sources, sort_keys=True),
    }
