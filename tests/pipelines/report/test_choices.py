"""What selections refused, and why, is what the page says; pairs of duplicates can be heard."""

from pathlib import Path

import pyarrow as pa

from curation import keys
from curation.dataset import Dataset
from curation.guards import guard
from curation.selections.selection import select
from curation.tables import write_parquet
from pipelines.report.choices import Table, choices, duplicates, leaks, rules, selections
from pipelines.report.examples import describe
from tests.curation.made import Made


def made_dataset(folder: Path) -> tuple[Dataset, list[str]]:
    made = Made(folder)
    clips = [
        made.clip("kept", 0),
        made.clip("leaked", 0),
        made.clip("leaked", 60_000),
        made.clip("again", 0, sound=100),
    ]
    return made.dataset(), clips


def test_leaks_are_counted_by_list_and_selection(tmp_path: Path) -> None:
    dataset, _ = made_dataset(tmp_path)
    spans = pa.table(LEAKED, schema=guard.GUARD)
    write_parquet(guard.guard_path(dataset, "bench"), spans)
    select(dataset, name="guarded", guards=["bench"])
    select(dataset, name="open")
    with dataset.connect() as connection:
        found = leaks(connection, dataset, selections(dataset))
        assert rules(connection, selections(dataset)) is None
    assert found == Table(
        "Evaluation lists",
        ["evaluation list", "spans", "refused by guarded", "refused by open"],
        [["bench", 1, 1, "not asked"]],
    )


def test_a_choice_shows_what_was_kept_and_every_reason(tmp_path: Path) -> None:
    dataset, _ = made_dataset(tmp_path)
    select(dataset, name="s", where="clips.start_ms = 0")
    (report,) = selections(dataset)
    plot = choices(report)
    assert plot.note == "2 of 4 clips are kept, of the split train."
    assert "<title>kept: 2<" in plot.svg and "<title>WHERE: 1<" in plot.svg and "<title>DUPLICATE: 1<" in plot.svg


def test_without_lists_there_is_no_table_of_leaks(tmp_path: Path) -> None:
    dataset, _ = made_dataset(tmp_path)
    with dataset.connect() as connection:
        assert leaks(connection, dataset, []) is None
        assert duplicates(connection, dataset) == []


def test_groups_of_duplicates_are_counted_by_layer_and_heard_in_pairs(tmp_path: Path) -> None:
    dataset, (kept, leaked, later, again) = made_dataset(tmp_path)
    rows = [(kept, kept, "samples"), (again, kept, "samples"), (later, later, "print"), (leaked, later, "print")]
    groups = [
        {"clip_id": clip, "group": best, "layer": layer, "kept_clip_id": best, "distance": 0.0}
        for clip, best, layer in rows
    ]
    write_parquet(dataset.folder("duplicates") / "all.parquet", pa.Table.from_pylist(groups))
    write_parquet(dataset.folder("duplicates") / "other.parquet", pa.table({"something": [1]}))
    with dataset.connect() as connection:
        (found,) = duplicates(connection, dataset)
        describe(connection, found.sections, dataset.stages())
    assert dict(found.table.rows) == {
        "dropped, found by identical samples": 1,
        "dropped, found by fingerprints": 1,
        "groups": 2,
        "clips in groups": 4,
        "largest group": 2,
    }
    heard = {section.title: [(one.text, one.detail) for one in section.shown] for section in found.sections}
    assert heard["Duplicates found by identical samples"] == [("dropped", "again, 0–10 s"), ("kept", "kept, 0–10 s")]
    assert all(one.sha256 for section in found.sections for one in section.shown)


LEAKED = {
    "video_key": [keys.video_key("youtube", "leaked")],
    "platform": ["youtube"],
    "video_id": ["leaked"],
    "start_ms": [5_000],
    "duration_ms": [10_000],
    "file_name": [None],
}
"""Shares five seconds with the first clip of `leaked` and none with the second."""
