"""Originals that are sections of a video: their clips are cut at shifted times, now and when they were kept."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from curation import fetch as fetch_module
from curation.cut import Cut
from curation.dataset import Dataset
from curation.download.download import Download, Limits, Request
from curation.download.fetch_queue import fetch_queue
from curation.download.source import parse_source
from curation.errors import ArgumentError
from curation.fetch import Fetch
from curation.lists.ingest import ingest
from curation.media import MediaStore
from curation.segment import Segment
from pipelines.runner import Job, run
from pipelines.verbs.fetch import fetch as fetch_verb

RATE_HZ = 48_000
SOUND = np.random.default_rng(5).normal(0, 0.1, 30 * RATE_HZ)
ASKED: list[tuple[int, int] | None] = []


class Session:
    """Gives the section from 1 s before what is wanted to 1 s after it, of a sound of 30 s."""

    def __init__(self, source: object, **_: object) -> None:
        ASKED.clear()

    def get(self, request: Request, folder: Path) -> Download:
        span, file = request.span, folder / "original.flac"
        ASKED.append((span.start_ms, span.end_ms) if span else None)
        start, end = (span.start_ms - 1000, span.end_ms + 1000) if span else (0, 30_000)
        soundfile.write(file, SOUND[start * 48 : end * 48], RATE_HZ)
        return Download(
            path=file, bytes=file.stat().st_size, suffix=".flac", owned=True, section_start_ms=start if span else None
        )


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(fetch_module, "Session", Session)
    return Dataset.create(tmp_path / "dataset")


def listed(dataset: Dataset, name: str, *rows: str) -> None:
    file = dataset.path.parent / f"{name}.csv"
    file.write_text("\n".join(["video_id,start_s,duration_s", *(f"abcdefghijk,{row}" for row in rows)]) + "\n")
    ingest(dataset, "table", file)


def fetch(dataset: Dataset, *, crf: int = 23, keeps: bool = True) -> list[tuple[int, int] | None]:
    """Run the stage and say which spans were asked for."""
    stage = Fetch(
        sources=(parse_source("youtube"),),
        segment=Segment(),
        cut=Cut(media=dataset.media, crf=crf),
        media=dataset.media,
        originals=MediaStore(dataset.folder("originals")) if keeps else None,
        limits=Limits(),
        ranges=True,
    )
    ASKED.clear()

    run(
        dataset,
        Job(
            stage=stage,
            queue=lambda: fetch_queue(dataset, stage),
            inner={"segment": stage.segment, "cut": stage.cut},
            workers=0,
        ),
    )
    return list(ASKED)


def check(dataset: Dataset, *starts_ms: int) -> None:
    """Every clip has a cut, and the cut of the file fetched last is the sound at the clip's time, to a bit of 16."""
    rows = dataset.sql(
        "SELECT start_ms, audio_sha256 FROM cut JOIN clips ON clips.clip_id = cut.key "
        'JOIN "fetch" AS got ON got.original_sha256 = cut.input ORDER BY start_ms'
    ).to_pylist()
    assert [row["start_ms"] for row in rows] == list(starts_ms)
    for row in rows:
        sound, _ = soundfile.read(dataset.media.path(row["audio_sha256"], ".flac"))
        start = row["start_ms"] * 48
        assert np.abs(sound - SOUND[start : start + len(sound)]).max() < 2 / 32_768


def test_clips_of_a_section_are_cut_at_its_own_times_also_later(dataset: Dataset) -> None:
    listed(dataset, "first", "10,2", "14,2")
    assert fetch(dataset) == [(10_000, 16_000)]
    assert dataset.sql('SELECT section_start_ms FROM "fetch"').to_pylist() == [{"section_start_ms": 9_000}]
    check(dataset, 10_000, 14_000)
    assert fetch(dataset) == []
    assert fetch(dataset, crf=24) == [], "the section was kept"
    check(dataset, 10_000, 14_000)
    listed(dataset, "inside", "12,1")
    assert fetch(dataset, crf=24) == []
    check(dataset, 10_000, 12_000, 14_000)
    listed(dataset, "outside", "20,1")
    assert fetch(dataset, crf=24) == [(10_000, 21_000)]
    check(dataset, 10_000, 12_000, 14_000, 20_000)
    assert fetch(dataset, crf=24) == []


def test_a_section_that_was_not_kept_is_fetched_again_for_all_clips(dataset: Dataset) -> None:
    listed(dataset, "first", "10,2")
    fetch(dataset, keeps=False)
    listed(dataset, "second", "5,1")
    assert fetch(dataset, keeps=False) == [(5_000, 12_000)]
    check(dataset, 5_000, 10_000)


def test_a_video_that_is_to_be_segmented_is_fetched_whole(dataset: Dataset) -> None:
    listed(dataset, "first", "10,2", ",")
    assert fetch(dataset) == [None]
    known = dataset.sql('SELECT section_start_ms FROM "fetch"').to_pylist()
    assert known == [{"section_start_ms": None}]


def test_ranges_are_for_youtube(dataset: Dataset) -> None:
    with pytest.raises(ArgumentError, match="--from youtube"):
        fetch_verb(dataset.path, source=["/media/{video_id}.mp4"], ranges=True, workers=0)
