"""What `fetch` records beside the video itself: segments and cuts, and what becomes of them when it fails later on."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile

from curation import fetch as fetch_module
from curation.cut import Cut
from curation.dataset import Dataset
from curation.download.download import Download, Limits, Request
from curation.download.fetch_queue import fetch_queue
from curation.download.source import parse_source
from curation.errors import ClipError, Code
from curation.fetch import Fetch
from curation.lists.ingest import ingest
from curation.segment import Segment
from curation.status import status
from pipelines import runner
from pipelines.runner import Job, Tally, run


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(runner, "RETRY_AFTER_S", (0.01, 0.01))
    noise(tmp_path / "a.flac", seconds=3)
    return Dataset.create(tmp_path / "dataset")


def noise(file: Path, *, seconds: int, seed: int = 1) -> None:
    soundfile.write(file, np.random.default_rng(seed).normal(0, 0.1, seconds * 48_000), 48_000)


def listed(dataset: Dataset, name: str, *rows: str, named_by: str = "path") -> None:
    file = dataset.path.parent / f"{name}.csv"
    file.write_text("\n".join([f"{named_by},start_s,duration_s", *rows]) + "\n")
    ingest(dataset, "table", file)


def fetch(
    dataset: Dataset,
    rows: Literal["all", "whole"] = "all",
    *,
    template: Path | None = None,
    allow_private: bool = False,
) -> Tally:
    source = parse_source(str(template)) if template else None
    stage = Fetch(
        grain="clip" if source and source.is_cut else "video",
        sources=(source,) if source else (),
        segment=Segment(),
        cut=Cut(media=dataset.media),
        media=dataset.media,
        limits=Limits(),
        allow_private=allow_private,
    )
    inner = {"segment": stage.segment, "cut": stage.cut}
    return run(dataset, Job(stage=stage, queue=lambda: fetch_queue(dataset, stage, rows=rows), inner=inner, workers=0))


def counts(dataset: Dataset, stage: str) -> dict[str, object]:
    return status(dataset)[stage].as_dict()


def test_a_video_whose_length_cannot_be_found_is_tried_three_times_and_set_aside(dataset: Dataset) -> None:
    file = dataset.path.parent / "a.flac"
    file.write_bytes(file.read_bytes()[:100_000])
    listed(dataset, "whole", "a.flac,,")
    fetch(dataset)
    assert counts(dataset, "fetch")["done"] == 1
    assert counts(dataset, "segment") == {"requested": 1, "done": 0, "set_aside": {"TRUNCATED": 1}, "pending": 0}
    assert dataset.sql("SELECT attempt FROM segment").to_pylist() == [{"attempt": 3}]
    assert (fetch(dataset).done, fetch(dataset).again) == (0, 0)


def test_a_video_that_is_gone_takes_no_clips_with_it_that_were_cut_before(dataset: Dataset) -> None:
    listed(dataset, "first", "a.flac,0,1")
    fetch(dataset)
    listed(dataset, "second", "a.flac,1,1")
    (dataset.path.parent / "a.flac").unlink()
    fetch(dataset)
    assert counts(dataset, "fetch") == {"requested": 1, "done": 1, "set_aside": {}, "pending": 0}
    assert counts(dataset, "cut") == {"requested": 2, "done": 1, "set_aside": {"NOT_FOUND": 1}, "pending": 0}
    assert fetch(dataset).done == 0


def test_clips_that_a_later_list_names_are_cut_from_a_video_that_was_fetched_before(dataset: Dataset) -> None:
    listed(dataset, "first", "a.flac,0,1")
    fetch(dataset)
    listed(dataset, "second", "a.flac,1,1", "a.flac,,")
    fetch(dataset)
    assert counts(dataset, "cut") == {"requested": 3, "done": 3, "set_aside": {}, "pending": 0}
    assert counts(dataset, "segment")["done"] == 1
    assert dataset.sql('SELECT count(*) AS n FROM "fetch"').to_pylist() == [{"n": 1}]


def forget(dataset: Dataset, *stages: str) -> None:
    """What a kill between two commits leaves: of the stages that are committed last no row is there."""
    for stage in stages:
        for folder in dataset.current_facts(stage).values():
            for part in set(folder.glob("part-*.parquet")) - {folder / "part-0-schema.parquet"}:
                part.unlink()


def test_a_kill_between_the_commits_of_cut_and_fetch_loses_no_video(dataset: Dataset) -> None:
    listed(dataset, "first", "a.flac,0,1")
    fetch(dataset)
    forget(dataset, "fetch")
    assert counts(dataset, "fetch")["pending"] == 1
    assert fetch(dataset).done == 1
    assert counts(dataset, "fetch") == counts(dataset, "cut")
    assert counts(dataset, "cut") == {"requested": 1, "done": 1, "set_aside": {}, "pending": 0}
    assert fetch(dataset).done == 0


def test_a_kill_after_the_commit_of_segment_loses_no_clip(dataset: Dataset) -> None:
    listed(dataset, "whole", "a.flac,,")
    fetch(dataset, "whole")
    forget(dataset, "cut", "fetch")
    assert counts(dataset, "cut")["pending"] == 1
    assert fetch(dataset, "whole").done == 1
    assert counts(dataset, "cut") == {"requested": 1, "done": 1, "set_aside": {}, "pending": 0}
    assert fetch(dataset, "whole").done == 0


def test_a_video_that_comes_with_other_bytes_the_next_time_is_segmented_and_cut_anew_as_a_whole(
    dataset: Dataset,
) -> None:
    listed(dataset, "first", "a.flac,0,1", "a.flac,,")
    fetch(dataset)
    noise(dataset.path.parent / "a.flac", seconds=3, seed=2)
    listed(dataset, "second", "a.flac,1,1")
    fetch(dataset)
    assert counts(dataset, "cut") == {"requested": 3, "done": 3, "set_aside": {}, "pending": 0}
    assert counts(dataset, "segment") == {"requested": 1, "done": 1, "set_aside": {}, "pending": 0}
    assert dataset.sql("SELECT count(DISTINCT input) AS n FROM cut").to_pylist() == [{"n": 1}]
    assert fetch(dataset).done == 0


def test_a_clip_that_was_fetched_by_itself_is_not_cut_from_its_video_too(dataset: Dataset) -> None:
    folder = dataset.path.parent
    noise(folder / "abcdefghijk_000000.flac", seconds=1)
    noise(folder / "abcdefghijk.flac", seconds=3, seed=2)
    listed(dataset, "first", "abcdefghijk,0,1", "abcdefghijk,1,1", named_by="video_id")
    fetch(dataset, template=folder / "{video_id}_{start:06d}.flac")
    by_itself = dataset.sql("SELECT key, input FROM cut").to_pylist()
    assert counts(dataset, "fetch") == {"requested": 2, "done": 1, "set_aside": {"NOT_FOUND": 1}, "pending": 0}
    for done in (1, 0):
        assert fetch(dataset, template=folder / "{video_id}.flac").done == done
    assert counts(dataset, "fetch") == counts(dataset, "cut")
    assert counts(dataset, "cut") == {"requested": 2, "done": 2, "set_aside": {}, "pending": 0}
    assert by_itself[0] in dataset.sql("SELECT key, input FROM cut").to_pylist()


def test_what_a_refused_address_lost_of_a_video_fetched_before_is_tried_again_once_it_is_allowed(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = dataset.path.parent / "a.flac"

    class Session:
        def __init__(self, source: object, *, allow_private: bool, **_: object) -> None:
            self.allow_private = allow_private

        def get(self, request: Request, folder: Path) -> Download:
            if not self.allow_private:
                raise ClipError(Code.FORBIDDEN, "host resolves to the private address 10.0.0.1")
            return Download(path=file, bytes=file.stat().st_size, suffix=".flac", owned=False)

    monkeypatch.setattr(fetch_module, "Session", Session)
    listed(dataset, "first", "http://host/a.flac,0,1", named_by="url")
    fetch(dataset, allow_private=True)
    listed(dataset, "second", "http://host/a.flac,1,1", "http://host/a.flac,,", named_by="url")
    fetch(dataset)
    assert counts(dataset, "cut") == {"requested": 2, "done": 1, "set_aside": {"FORBIDDEN": 1}, "pending": 0}
    assert counts(dataset, "segment")["set_aside"] == {"FORBIDDEN": 1}
    fetch(dataset, allow_private=True)
    assert counts(dataset, "cut") == {"requested": 3, "done": 3, "set_aside": {}, "pending": 0}
    assert counts(dataset, "segment")["done"] == 1
    assert fetch(dataset, allow_private=True).done == 0


def test_what_one_source_does_not_have_is_asked_for_at_another_and_not_twice_at_the_same(dataset: Dataset) -> None:
    there, empty = dataset.path.parent / "there", dataset.path.parent / "empty"
    for folder in (there, empty):
        folder.mkdir()
    noise(there / "abcdefghijk.flac", seconds=3)
    listed(dataset, "ids", "abcdefghijk,0,1", "lmnopqrstuv,0,1", named_by="video_id")
    assert fetch(dataset, template=empty / "{video_id}.flac").set_aside == {"NOT_FOUND": 2}
    assert fetch(dataset, template=empty / "{video_id}.flac").set_aside == {}
    assert fetch(dataset, template=there / "{video_id}.flac").done == 1
    for stage in ("fetch", "cut"):
        assert counts(dataset, stage) == {"requested": 2, "done": 1, "set_aside": {"NOT_FOUND": 1}, "pending": 0}
    again = fetch(dataset, template=there / "{video_id}.flac")
    assert (again.done, again.set_aside) == (0, {})
