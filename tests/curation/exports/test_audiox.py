"""Rows as AudioX's loader takes them: absolute paths of known suffixes, a caption, and one of its own type names."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from curation import keys
from curation.dataset import Dataset
from curation.exports.audiox import PROMPTS, Music
from curation.exports.export import export
from curation.exports.target import MediaMode
from curation.schema import column, table
from curation.selections.selection import select
from curation.stage import Stage
from tests.curation.made import Made, write_facts

LOADER_TYPES = {f"{given}_condition-{kind}" for given in ("text", "video", "text+video") for kind in ("audio", "music")}
"""Of the names in AudioX's `data/dataset.py` those that need no sound as a prompt."""


def rows(folder: Path, split: str = "train") -> list[dict[str, str]]:
    """As the loader reads them: a line a row, kept when `path` ends with a known suffix."""
    found = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(set(row) == {"path", "video_path", "caption", "type"} for row in found)
    assert all(row["path"].endswith(".flac") and row["type"] in LOADER_TYPES for row in found)
    return found


@pytest.mark.parametrize("origin", ["selections", "generations"])
def test_the_type_says_what_the_clip_has(exported: Dataset, tmp_path: Path, origin: str) -> None:
    report = export(exported, "audiox", tmp_path / "out", pictures=True, **{origin: ["train"]})
    found = rows(report.folder)
    assert sorted((row["caption"].split(",")[0], row["type"]) for row in found) == [
        (PROMPTS["audio"], "video_condition-audio"),
        ("a bell", "text_condition-audio"),
        ("a dog", "text_condition-audio"),
        ("a short one", "text_condition-audio"),
        ("a tune", "text+video_condition-music"),
        ("kurz: süß", "text_condition-audio"),
        ("music", "text+video_condition-music"),
    ]
    assert report.splits == {"train": {"clips": 5, "rows": 7, "left_out": {"NO_CAPTION": 1}}}
    for row in found:
        assert Path(row["path"]).is_file() and Path(row["path"]).is_relative_to(report.folder)
        assert bool(row["video_path"]) == ("video" in row["type"])
        assert not row["video_path"] or Path(row["video_path"]).read_bytes()[4:8] == b"ftyp"


def test_without_pictures_a_silent_film_has_nothing_to_offer(exported: Dataset, tmp_path: Path) -> None:
    report = export(exported, "audiox", tmp_path / "out", selections=["train"])
    assert {row["type"].partition("-")[0] for row in rows(report.folder)} == {"text_condition"}
    assert report.splits["train"]["left_out"] == {"NO_CAPTION": 2}
    assert not (report.folder / "video").exists()


def test_referenced_media_bring_no_files(exported: Dataset, tmp_path: Path) -> None:
    folder = export(exported, "audiox", tmp_path / "out", selections=["test"], media=MediaMode.REFERENCE).folder
    assert {file.name for file in folder.iterdir()} == {"README.md", "export.json", "test.jsonl"}
    assert all(Path(row["path"]).is_relative_to(exported.root("media").path) for row in rows(folder, "test"))


class MadeTag(Stage):
    NAME, VERSION, GRAIN = "tag", 1, "clip"
    RESULTS = table("", column("music_ratio", pa.float64(), ""))

    def requests(self) -> str:
        return "SELECT key, audio_sha256 AS input FROM cut WHERE state = 'done'"


def test_tags_decide_what_music_is_before_lists_and_labels(tmp_path: Path) -> None:
    made = Made(tmp_path)
    ratios = {"just": 0.5, "not_quite": 0.499, "talk": 0.0, "untagged": None}
    for name in ratios:
        made.clip(name, said=[{"labels": ["Music"] if name in ("talk", "untagged") else [], "captions": [name]}])
    made.clip("listed", said=[{"list": "other", "captions": ["listed"]}])
    dataset = made.dataset()
    sources = [{"list": "listed", "rows": 0, "rejected": 0}, {"list": "other", "kind": "v2m", "rows": 0, "rejected": 0}]
    dataset.set_config(sources=sources)
    ids = {name: keys.clip_id("youtube", name, 0, 10_000) for name in ratios}
    tagged = [(ids[name], "done", {"music_ratio": ratio}, "x") for name, ratio in ratios.items() if ratio is not None]
    write_facts(dataset, MadeTag(), tagged)
    select(dataset, name="train")
    found = rows(export(dataset, "audiox", tmp_path / "out", selections=["train"]).folder)
    kinds = {row["caption"]: row["type"].rpartition("-")[2] for row in found}
    assert kinds == {"just": "music", "not_quite": "audio", "talk": "audio", "untagged": "music", "listed": "music"}
    assert "just" not in Music(dataset)
