"""The table of overlaps, on made lists, and on the published ones against counts made in plain Python."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from curation.dataset import Dataset
from curation.guards import guard
from curation.guards.evaluation_lists import GUARD_KINDS
from curation.guards.overlap import overlap_table
from curation.lists.ingest import ingest
from curation.lists.listfile import ListFile

Span = tuple[str, float | None, float | None]


def table(dataset: Dataset) -> dict[tuple[str, str], tuple[int, int, int]]:
    rows = overlap_table(dataset).to_pylist()
    return {(row["list"], row["other"]): (row["spans"], row["by_video"], row["in_time"]) for row in rows}


def add(dataset: Dataset, name: str, kind: str, path: Path, **options: Any) -> None:
    guard.add(dataset, name, (row for row in GUARD_KINDS[kind](ListFile(path=path, **options))))  # type: ignore[misc]


def test_lists_share_videos_and_time(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "dataset")
    (tmp_path / "vggsound.csv").write_text(
        "aaaaaaaaaaa,10,dog,train\naaaaaaaaaaa,40,dog,train\nbbbbbbbbbbb,0,cat,train\n"
    )
    (tmp_path / "eval.csv").write_text("aaaaaaaaaaa,20,dog,test\nbbbbbbbbbbb,9,cat,test\nccccccccccc,0,cat,test\n")
    (tmp_path / "whole.csv").write_text("video_id\naaaaaaaaaaa\n")
    ingest(dataset, "vggsound", tmp_path / "vggsound.csv")
    ingest(dataset, "table", tmp_path / "whole.csv")
    add(dataset, "eval", "vggsound", tmp_path / "eval.csv")
    assert table(dataset) == {
        ("vggsound", "eval"): (3, 3, 1),
        ("eval", "vggsound"): (3, 2, 1),
        ("vggsound", "whole"): (3, 2, 2),
        ("whole", "vggsound"): (1, 1, 1),
        ("eval", "whole"): (3, 1, 1),
        ("whole", "eval"): (1, 1, 1),
    }


def test_a_dataset_without_lists_shares_nothing(tmp_path: Path) -> None:
    assert table(Dataset.create(tmp_path / "dataset")) == {}


def counted(ones: Iterable[Span], others: Iterable[Span]) -> tuple[int, int, int]:
    """Different spans of one list, how many are of a video of the other, and how many share time with it."""
    by_video: dict[str, list[tuple[float | None, float | None]]] = defaultdict(list)
    for video, start, end in set(others):
        by_video[video].append((start, end))
    spans = set(ones)
    shared = [span for span in spans if span[0] in by_video]
    in_time = [
        (video, start, end)
        for video, start, end in shared
        if any(
            start is None or begin is None or (start < finish and begin < end)  # type: ignore[operator]
            for begin, finish in by_video[video]
        )
    ]
    return len(spans), len(shared), len(in_time)


def audiocaps(path: Path) -> set[Span]:
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (row["youtube_id"], float(row["start_time"]), float(row["start_time"]) + 10) for row in csv.DictReader(file)
        }


def real_spans(lists: Path) -> dict[str, set[Span]]:
    """The spans of the published lists, read without the project's readers."""
    with (lists / "vggsound" / "test.csv").open(newline="", encoding="utf-8") as file:
        names = [row[0].removesuffix(".mp4") for row in csv.reader(file)]
    test = {(name[:11], float(name[12:]), float(name[12:]) + 10) for name in names}
    with (lists / "vggsound" / "vggsound_subset.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row[3] == "train"]
    train = {(row[0], float(row[1]), float(row[1]) + 10) for row in rows}
    with (lists / "musiccaps" / "musiccaps-public.csv").open(newline="", encoding="utf-8") as file:
        music = {(row["ytid"], float(row["start_s"]), float(row["end_s"])) for row in csv.DictReader(file)}
    with (lists / "audioset" / "eval_segments.csv").open(newline="", encoding="utf-8") as file:
        cells = list(csv.reader(file, skipinitialspace=True))[3:]
    sounds = {(row[0], float(row[1]), float(row[2])) for row in cells}
    blacklist = json.loads((lists / "wavcaps" / "blacklist_exclude_test_ac.json").read_text())["AudioSet"]
    return {
        "vggsound-test": test,
        "vggsound-train": train,
        "musiccaps": music,
        "audioset-eval": sounds,
        "wavcaps-blacklist": {(name[1:12], None, None) for name in blacklist},
        **{f"audiocaps-{name}": audiocaps(lists / "audiocaps" / f"{name}.csv") for name in ("train", "val", "test")},
    }


@pytest.mark.slow
def test_the_published_lists_share_what_plain_python_counts(tmp_path: Path, real_data: Path) -> None:
    lists = real_data / "annotations"
    dataset = Dataset.create(tmp_path / "dataset")
    with (lists / "vggsound" / "vggsound_subset.csv").open(encoding="utf-8") as file:
        (tmp_path / "train.csv").write_text("".join(line for line in file if line.rstrip().endswith(",train")))
    names = lists / "audioset" / "class_labels_indices.csv"
    add(dataset, "vggsound-train", "vggsound", tmp_path / "train.csv")
    add(dataset, "vggsound-test", "vggsound", lists / "vggsound" / "test.csv")
    add(dataset, "musiccaps", "musiccaps", lists / "musiccaps" / "musiccaps-public.csv")
    add(dataset, "audioset-eval", "audioset", lists / "audioset" / "eval_segments.csv", labels_file=names)
    add(dataset, "clotho-test", "clotho", lists / "clotho" / "test.csv")
    ingest(dataset, "audiocaps", lists / "audiocaps" / "train.csv", split="train")  # a list of the dataset's own
    for name in ("val", "test"):
        add(dataset, f"audiocaps-{name}", "audiocaps", lists / "audiocaps" / f"{name}.csv")
    spans = real_spans(lists)
    del spans["wavcaps-blacklist"]
    found = table(dataset)
    for one, ones in spans.items():
        for other, others in spans.items():
            if one != other:
                expected = counted(ones, others)
                assert found.get((one, other), (len(ones), 0, 0)) == expected, (one, other)
    assert found["audiocaps-train", "vggsound-test"][1:] == (15, 12)
    assert found["audiocaps-test", "vggsound-test"][1:] == (1, 0)
    assert not any("clotho-test" in pair for pair in found), "Clotho's names are of no video of the others"


@pytest.mark.slow
def test_a_blacklist_of_names_guards_the_videos_that_they_name(tmp_path: Path, real_data: Path) -> None:
    lists = real_data / "annotations"
    dataset = Dataset.create(tmp_path / "dataset")
    add(dataset, "wavcaps-blacklist", "wavcaps", lists / "wavcaps" / "blacklist_exclude_test_ac.json")
    add(dataset, "audiocaps-test", "audiocaps", lists / "audiocaps" / "test.csv")
    spans = real_spans(lists)
    expected = counted(spans["audiocaps-test"], spans["wavcaps-blacklist"])
    found = table(dataset)
    assert found["audiocaps-test", "wavcaps-blacklist"] == expected
    names = json.loads((lists / "wavcaps" / "blacklist_exclude_test_ac.json").read_text())
    assert found["wavcaps-blacklist", "audiocaps-test"][0] == len({name for of in names.values() for name in of})
    assert expected[1] == expected[2] > 900
