"""How far a dataset is: for every stage what was requested, done, set aside by code, and is pending.

`done + set aside + pending == requested` for each; nothing else is possible, since every requested row is counted once.
"""

from collections import Counter
from dataclasses import dataclass, field

from curation.dataset import Dataset
from curation.facts import REQUESTS_FILE, FactTable
from curation.views import answers_sql

STAGES = (
    "manifest",
    "fetch",
    "segment",
    "cut",
    "measure",
    "tag",
    "print",
    "agree",
    "caption",
    "score",
    "embed",
    "embed_text",
    "encode",
    "encode_text",
    "encode_sound",
    "encode_frames",
    "encode_pictures",
)
"""The order in which stages are shown: the way the data flow."""


@dataclass(slots=True)
class StageStatus:
    """Counts of one stage, in rows of its grain; `inherited` are those of `set_aside` that an earlier stage lost."""

    requested: int = 0
    done: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    pending: int = 0
    inherited: Counter[str] = field(default_factory=Counter)

    def add(self, state: str, code: str | None, count: int, *, inherited: bool = False) -> None:
        """Count rows of one state (`done`, `set_aside` or `pending`)."""
        self.requested += count
        if state == "done":
            self.done += count
        elif state == "set_aside":
            self.set_aside[str(code)] += count
            self.inherited[str(code)] += count if inherited else 0
        else:
            self.pending += count

    def as_dict(self) -> dict[str, object]:
        """For JSON, codes sorted by name."""
        return {
            "requested": self.requested,
            "done": self.done,
            "set_aside": dict(sorted(self.set_aside.items())),
            "pending": self.pending,
        }


def status(dataset: Dataset) -> dict[str, StageStatus]:
    """The counts of every stage that has run, in the order of the data's way.

    A stage with several variants side by side (two captioners) has an entry `<stage>:<label>` for each.
    """
    found = {"manifest": _of_lists(dataset)}
    for stage in dataset.stages():
        labels = FactTable.current(dataset.path / "facts" / stage)
        if stage == "fetch":
            found["fetch"] = _of_fetch(dataset, set(labels))
            continue
        for label, folder in labels.items():
            requests = (folder / REQUESTS_FILE).read_text()
            name = stage if len(labels) == 1 else f"{stage}:{label}"
            with dataset.reading():
                states = answers_sql(requests, folder)
                counts = _count(dataset, f"SELECT state, code, inherited IS NOT NULL AS inherited FROM ({states})")
            if counts.requested:
                found[name] = counts
    order = {name: rank for rank, name in enumerate(STAGES)}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0].partition(":")[0], len(order)), item[0])))


def _of_lists(dataset: Dataset) -> StageStatus:
    counted = StageStatus()
    for source in dataset.config["sources"]:
        denied = source.get("denied", 0)
        counted.add("done", None, source["rows"] - source["rejected"] - denied)
        if source["rejected"]:
            counted.add("set_aside", "MALFORMED", source["rejected"])
        if denied:
            counted.add("set_aside", "DENIED", denied)
    return counted


def _of_fetch(dataset: Dataset, labels: set[str]) -> StageStatus:
    """Videos; or, once cut clips were fetched, clips, each counted by the better of its own and its video's answer."""
    if labels == {"video"}:
        return _count(
            dataset,
            "SELECT coalesce(got.state, 'pending') AS state, got.code, false AS inherited FROM videos "
            'LEFT JOIN "fetch" AS got ON got.key = videos.video_key',
        )
    return _count(
        dataset,
        """
        WITH units AS (
            SELECT clip_id AS unit, unnest([clip_id, video_key]) AS key FROM clips WHERE origin = 'list'
            UNION ALL
            SELECT DISTINCT key, key FROM annotations WHERE grain = 'video'
        )
        SELECT coalesce(arg_min(state, rank), 'pending') AS state, arg_min(code, rank) AS code, false AS inherited
        FROM (
            SELECT unit, got.state, got.code,
                CASE got.state WHEN 'done' THEN 0 WHEN 'pending' THEN 1 ELSE 2 END AS rank
            FROM units LEFT JOIN "fetch" AS got ON got.key = units.key
        )
        GROUP BY unit""",
    )


def _count(dataset: Dataset, states: str) -> StageStatus:
    counted = StageStatus()
    rows = dataset.sql(f"SELECT state, code, inherited, count(*) AS n FROM ({states}) GROUP BY ALL").to_pylist()
    for row in rows:
        counted.add(row["state"], row["code"], row["n"], inherited=row["inherited"])
    return counted
