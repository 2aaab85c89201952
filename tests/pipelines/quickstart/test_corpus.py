import csv
import json
from pathlib import Path

import av
import pytest

from pipelines.quickstart.corpus import HEADER, MALFORMED_LINE, expected, write_corpus, write_lists
from pipelines.quickstart.world import Fault, World, make_world


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(5)


@pytest.fixture(scope="module")
def faulty(world: World) -> World:
    """The faults, and the video that one of them copies."""
    copied = {clip.copy_of for clip in world.clips}
    clips = tuple(clip for clip in world.clips if clip.fault is not None or clip.video_id in copied)
    return World(seed=world.seed, clips=clips)


@pytest.fixture(scope="module")
def folder(faulty: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(faulty, folder)
    return folder


def test_the_list_parses_back_to_the_world(world: World, tmp_path: Path) -> None:
    path, _ = write_lists(world, tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(world.clips) + 1
    rows = list(csv.DictReader(lines))
    assert tuple(rows[0]) == HEADER
    broken = rows.pop(MALFORMED_LINE - 2)
    with pytest.raises(ValueError, match="half past two"):
        float(broken["start_s"])
    assert lines[MALFORMED_LINE - 1].startswith("aaaaaaaaaaa,half past two")
    for row, clip in zip(rows, world.clips, strict=True):
        assert (row["video_id"], float(row["start_s"]), float(row["duration_s"])) == (clip.video_id, clip.start_s, 4.0)
        assert json.loads(row["labels"]) == [clip.label]
        assert tuple(json.loads(row["captions"])) == clip.captions
        assert row["split"] == clip.split


def test_the_evaluation_list_names_the_leak_and_one_video_elsewhere(world: World, tmp_path: Path) -> None:
    _, path = write_lists(world, tmp_path)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    by_id = {clip.video_id: clip for clip in world.clips}
    listed = {row["video_id"]: float(row["start_s"]) for row in rows if row["video_id"] in by_id}
    wanted = expected(world)
    assert listed == {wanted["leaked"]: by_id[wanted["leaked"]].start_s, wanted["elsewhere"]: 30.0}
    assert by_id[wanted["elsewhere"]].split == by_id[wanted["leaked"]].split == "train"


def test_what_is_expected_adds_up(world: World) -> None:
    wanted = expected(world)
    assert (wanted["good"], wanted["train"], wanted["test"]) == (104, 64, 40)
    assert wanted["set_aside"] == {"NOT_FOUND": 4, "TRUNCATED": 1}
    refused = {wanted["silent"], wanted["still"], wanted["leaked"], wanted["duplicates"][1]}
    assert len(refused) == 4
    assert wanted["listed"] == 113 == wanted["good"] + sum(wanted["set_aside"].values()) + len(refused)


def test_the_files_of_a_corpus(faulty: World, folder: Path) -> None:
    there = {path.name for path in folder.iterdir()}
    assert there == {f"{clip.video_id}.mp4" for clip in faulty.clips if clip.fault is not Fault.DEAD}


def test_the_duplicate_is_the_same_file(faulty: World, folder: Path) -> None:
    (copy,) = faulty.with_fault(Fault.DUPLICATE)
    assert (folder / f"{copy.video_id}.mp4").read_bytes() == (folder / f"{copy.copy_of}.mp4").read_bytes()


def test_the_truncated_file_cannot_be_opened_and_the_others_can(faulty: World, folder: Path) -> None:
    for clip in faulty.clips:
        path = folder / f"{clip.video_id}.mp4"
        if clip.fault is Fault.TRUNCATED:
            with pytest.raises(av.InvalidDataError):
                av.open(path)
        elif clip.fault is not Fault.DEAD:
            with av.open(path) as container:
                assert container.duration == round(clip.video_s * 1e6)


def test_writing_again_leaves_what_is_there(faulty: World, folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    told = []
    write_corpus(faulty, folder, on_video=told.append)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert len(told) == len(before)
