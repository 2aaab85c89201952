"""A takedown takes along what kills left behind, and nothing that a row names or that is not the dataset's own."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.blobs import BlobWriter
from curation.dataset import Dataset
from curation.selections.selection import select
from curation.tables import TEMPORARY, write_parquet
from curation.takedowns.forget import forget
from tests.curation.made import Made, write_facts
from tests.curation.takedowns.test_forget import Embedded, vector


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = Made(tmp_path)
    clips = [made.clip(f"v{n}", sound=n, picture=n == 1) for n in range(3)]
    dataset = made.dataset()
    select(dataset, name="train")
    with BlobWriter(dataset.root("vectors") / "clap") as writer:
        place = writer.append(vector(1))
    spot = {"blob": f"clap/{place.blob}", "offset_bytes": 0, "windows": 2, "dimension": 5}
    write_facts(dataset, Embedded(), [(clips[1], "done", spot, "x")])
    return dataset


def orphan(folder: Path, suffix: str, content: bytes = b"orphan") -> Path:
    """A file of a media store that no row names."""
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / sha256[:2] / f"{sha256}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def unfinished(dataset: Dataset) -> list[Path]:
    """Files as kills leave them, one in every kind of folder."""
    facts = next((dataset.path / "facts" / "cut").glob("*/"))
    tables = ("clips", "videos", "selections", "duplicates", "indexes/train", ".")
    paths = [folder / f"{TEMPORARY}0-part.parquet" for folder in (facts, *(dataset.path / name for name in tables))]
    paths += [dataset.path / "shards" / "train" / f"{TEMPORARY}0-000000.tar"]
    paths += [dataset.path / "media" / "ab" / f"{TEMPORARY}0-x.flac"]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"rows of v0")
    return paths


def files(dataset: Dataset) -> set[Path]:
    return {path for path in dataset.path.rglob("*") if path.is_file() and "locks" not in path.parts}


def test_what_no_row_names_and_what_was_never_finished_goes(dataset: Dataset) -> None:
    before = files(dataset)
    leftovers = unfinished(dataset)
    orphans = [orphan(dataset.path / "media", suffix, suffix.encode()) for suffix in (".flac", ".mp4")]
    with BlobWriter(dataset.root("vectors") / "clap") as writer:
        orphans.append(dataset.path / "vectors" / "clap" / writer.append(vector(0)).blob)
    said = forget(dataset, ["another_vid"], dry_run=True)
    assert all(path.is_file() for path in (*leftovers, *orphans))
    done = forget(dataset, ["another_vid"])
    assert done.touched == said.touched
    assert sum(int(one.what.split()[0]) for one in done.touched if one.kind == "orphans") == 2 + 1 + 1
    assert sum(int(one.what.split()[0]) for one in done.touched if one.kind == "leftover") == len(leftovers) - 2
    assert [one.place for one in done.touched if one.kind == "shard"] == [str(leftovers[-2])]
    assert {path for path in files(dataset) if "deny" not in path.parts} == before
    assert not forget(dataset, []).touched


def test_what_others_may_write_meanwhile_or_what_is_no_medium_stays(dataset: Dataset) -> None:
    kept = [
        dataset.path / "runs" / "clap" / f"{TEMPORARY}model",
        dataset.path / "guards" / f"{TEMPORARY}eval.parquet",
        dataset.path / "media" / "ab" / "notes.txt",
        dataset.path / "media" / "README",
        dataset.path / "vectors" / "clap" / "mine.bin",
    ]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    forget(dataset, ["another_vid"])
    assert all(path.is_file() for path in kept)


def test_media_that_only_a_selection_still_names_stay_as_long_as_it_does(dataset: Dataset) -> None:
    (folder,) = (dataset.path / "facts" / "cut").glob("*/")
    part = sorted(folder.glob("part-*.parquet"))[-1]
    rows = pq.read_table(part)
    media = [dataset.media.path(sha256, ".flac") for sha256 in rows["audio_sha256"].to_pylist()]
    write_parquet(part, rows.slice(1))
    forget(dataset, ["another_vid"])
    assert all(path.is_file() for path in media)
    for path in dataset.folder("selections").iterdir():
        path.unlink()
    forget(dataset, [])
    assert [path.is_file() for path in media] == [False, True, True]


@pytest.mark.parametrize("link", [False, True])
def test_media_elsewhere_may_be_another_datasets(link: bool, dataset: Dataset, tmp_path: Path) -> None:
    """Also where the folder in the dataset is only a link to it."""
    elsewhere = tmp_path / "elsewhere"
    (dataset.path / "media").rename(elsewhere)
    if link:
        (dataset.path / "media").symlink_to(elsewhere)
    else:
        dataset.set_config(roots={"media": str(elsewhere)})
    stranger = orphan(elsewhere, ".flac")
    done = forget(dataset, ["v1"])
    assert stranger.is_file() and any(str(dataset.root("media")) in note for note in done.notes)


def test_a_dataset_that_nothing_was_cut_of_loses_no_media(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "dataset")
    stranger = orphan(dataset.path / "media", ".flac")
    forget(dataset, ["v1"])
    assert stranger.is_file()
