"""Read back by the steps of AudioLDM's own reader: root, path, captions drawn from keys, labels by their number."""

import csv
import json
from pathlib import Path

import soundfile

from curation.dataset import Dataset
from curation.exports.audioldm import NAME, label_id
from curation.exports.export import export
from curation.exports.target import MediaMode


def read(folder: Path, split: str) -> list[tuple[Path, list[str], list[str]]]:
    """(file, captions, names of labels) of each row."""
    root = json.loads((folder / "dataset_root.json").read_text())
    places = root["metadata"]["path"][NAME]
    with Path(places["class_label_indices"]).open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(row["index"]) for row in table] == list(range(len(table)))
    numbers = {row["mid"]: int(row["index"]) for row in table}
    found = []
    for row in json.loads(Path(places[split]).read_text())["data"]:
        assert row["wav"][0] != "/"
        labels = [numbers[label] for label in row["labels"].split(",")] if "labels" in row else []
        captions = [row[key] for key in row if "caption" in key]
        found.append((Path(root[NAME]) / row["wav"], captions, [table[number]["display_name"] for number in labels]))
    return found


def test_the_reader_finds_sounds_captions_and_labels(exported: Dataset, tmp_path: Path) -> None:
    report = export(exported, "audioldm", tmp_path / "out", selections=["train", "test"])
    found = read(report.folder, "train")
    assert report.splits["train"] == {"clips": 5, "rows": 3, "left_out": {"NO_CAPTION": 2}}
    assert sorted(labels for _, _, labels in found) == [[], ["Bell", "dog, barking"], ["Music"]]
    assert sorted(len(captions) for _, captions, _ in found) == [2, 2, 2]
    assert [captions for _, captions, _ in read(report.folder, "test")] in (
        [["a test"], ["half a second late"]],
        [["half a second late"], ["a test"]],
    )
    for file, _, _ in found:
        assert file.is_relative_to(report.folder)
        assert soundfile.info(file).frames == 800


def test_referenced_sounds_are_found_below_the_root(exported: Dataset, tmp_path: Path) -> None:
    folder = export(exported, "audioldm", tmp_path / "out", selections=["test"], media=MediaMode.REFERENCE).folder
    assert all(
        file.is_file() and file.is_relative_to(exported.root("media").path) for file, _, _ in read(folder, "test")
    )


def test_ids_of_labels_have_no_comma_and_differ() -> None:
    labels = ["a,b", "a%2Cb", "a b", "ab"]
    ids = [label_id(label) for label in labels]
    assert len(set(ids)) == len(labels) and not any("," in one for one in ids)
