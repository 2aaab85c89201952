"""The quickstart's corpus on disk: a folder of videos, the lists that name them, and what is wrong with them.

The faults are deliberate and known, so `expected` can say beforehand what must be set aside or refused, and why.
"""

import csv
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict

from curation.errors import Code
from pipelines.quickstart.world import CLIP_S, Clip, Fault, World, write_video

HEADER = ("video_id", "start_s", "duration_s", "labels", "captions", "split")

MALFORMED_LINE = 42
"""Line of `list.csv`, counted from 1 with the header, whose start is not a number."""

KEPT_SHARE = 0.6
"""How much of the truncated file is left: its index comes last, so nothing of it can be decoded."""

ELSEWHERE_S = 30.0
"""Start of the row of `evaluation.csv` that names a training video at a time which is not in the corpus."""


class Expected(TypedDict):
    """What must come out of a world; see `expected`."""

    good: int
    train: int
    test: int
    listed: int
    set_aside: dict[str, int]
    malformed_line: int
    dead: list[str]
    truncated: str
    duplicates: tuple[str, str]
    leaked: str
    elsewhere: str
    silent: str
    still: str


def _elsewhere(world: World) -> Clip:
    """The training clip whose video, but not whose time, is in the evaluation list."""
    return next(clip for clip in world.good if clip.split == "train")


def write_corpus(
    world: World, folder: Path, *, threads: int = 2, on_video: Callable[[Clip], None] | None = None
) -> None:
    """Write every video that exists as `<video_id>.mp4`; those that are there already are left alone.

    Args:
        world: What to write.
        folder: Where; made if need be.
        threads: How many videos are encoded at a time.
        on_video: Told of each finished video, for a progress bar.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clips = [clip for clip in world.clips if clip.fault is not Fault.DEAD]
    with ThreadPoolExecutor(threads) as pool:
        for clip in pool.map(lambda clip: _write_one(clip, folder), clips):
            if on_video is not None:
                on_video(clip)


def _write_one(clip: Clip, folder: Path) -> Clip:
    path = folder / f"{clip.video_id}.mp4"
    if path.exists():
        return clip
    if clip.fault is not Fault.TRUNCATED:
        write_video(clip, path)
        return clip
    whole = folder / f"{clip.video_id}.whole"
    write_video(clip, whole)
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * KEPT_SHARE)])
    whole.replace(path)
    return clip


def _write_rows(path: Path, rows: Iterable[tuple[str, ...]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


def write_lists(world: World, folder: Path) -> tuple[Path, Path]:
    """Write `list.csv` and `evaluation.csv`.

    `list.csv` is a general table with the columns of `HEADER`, labels and captions as JSON arrays; the row at
    `MALFORMED_LINE` has a start that is no number. `evaluation.csv` has the columns video_id, start_s and duration_s:
    the leaked clip, a training video at another time, which is no overlap, and videos that are not in the corpus.

    Args:
        world: What to list.
        folder: Where; made if need be.

    Returns:
        The paths of the two files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_row(clip) for clip in world.clips]
    broken = ("aaaaaaaaaaa", "half past two", *rows[0][2:])
    rows.insert(MALFORMED_LINE - 2, broken)
    (leaked,) = world.with_fault(Fault.LEAKED)
    evaluation = [
        *((f"not-listed{number}", "0", "10") for number in range(5)),
        (leaked.video_id, f"{leaked.start_s:g}", f"{CLIP_S:g}"),
        (_elsewhere(world).video_id, f"{ELSEWHERE_S:g}", "10"),
    ]
    return (
        _write_rows(folder / "list.csv", [HEADER, *rows]),
        _write_rows(folder / "evaluation.csv", [HEADER[:3], *evaluation]),
    )


def _row(clip: Clip) -> tuple[str, ...]:
    labels, captions = json.dumps([clip.label]), json.dumps(list(clip.captions))
    return clip.video_id, f"{clip.start_s:g}", f"{CLIP_S:g}", labels, captions, clip.split


def expected(world: World) -> Expected:
    """What must come out of the corpus of a world.

    Returns:
        good, train, test: clips that must be selected, all and by split; listed: rows that can be understood;
        set_aside: count by code over fetch and cut (the truncated file arrives as long as its server says, but lacks
        its index: TRUNCATED); the line and ids of each fault; duplicates: the training video and its copy, of which
        one is to be refused; leaked: refused by the evaluation list; elsewhere: in that list at another time, not
        refused.
    """
    of = {fault: [clip.video_id for clip in world.with_fault(fault)] for fault in Fault}
    (copy,) = world.with_fault(Fault.DUPLICATE)
    if copy.copy_of is None:
        raise ValueError(f"the duplicate {copy.video_id} names no original")
    return Expected(
        good=len(world.good),
        train=sum(clip.split == "train" for clip in world.good),
        test=sum(clip.split == "test" for clip in world.good),
        listed=len(world.clips),
        set_aside={Code.NOT_FOUND: len(of[Fault.DEAD]), Code.TRUNCATED: len(of[Fault.TRUNCATED])},
        malformed_line=MALFORMED_LINE,
        dead=of[Fault.DEAD],
        truncated=of[Fault.TRUNCATED][0],
        duplicates=(copy.copy_of, copy.video_id),
        leaked=of[Fault.LEAKED][0],
        elsewhere=_elsewhere(world).video_id,
        silent=of[Fault.SILENT][0],
        still=of[Fault.STILL][0],
    )
