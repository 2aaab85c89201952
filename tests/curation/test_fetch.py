"""What `fetch` records beside the video itself: segments and cuts, and what becomes of them when it fails later on."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile

from curation.cut import Cut
from curation.dataset import Dataset
from curation.download.download import Limits
from curation.fetch import Fetch, fetch_queue
from curation.lists.ingest import ingest
from curation.segment import Segment
from curation.status import status
from pipelines import runner
from pipelines.runner import Job, Tally, run


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(runner, "RETRY_AFTER_S", (0.01, 0.01))
    noise = np.random.default_rng(1).normal(0, 0.1, 3 * 48_000)
    soundfile.write(tmp_path / "a.flac", noise, 48_000)
    return Dataset.create(tmp_path / "dataset")


def listed(dataset: Dataset, name: str, *rows: str) -> None:
    file = dataset.path.parent / f"{name}.csv"
    file.write_text("\n".join(["path,start_s,duration_s", *rows]) + "\n")
    ingest(dataset, "table", file)


def fetch(dataset: Dataset, rows: Literal["all", "whole"] = "all") -> Tally:
    cut = Cut(media=dataset.media)
    stage = Fetch(segment=Segment(), cut=cut, media=dataset.media, limits=Limits())
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
