"""Several sources are asked in their order, each keeps its answers, and what was set aside can be asked for again."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile

from curation.dataset import Dataset
from curation.download.egress import YOUTUBE, Gate
from curation.download.pace import fetch_pace, save_gates
from curation.errors import ArgumentError, Code
from curation.lists.ingest import ingest
from curation.reopen import reopen
from curation.status import status
from pipelines import runner
from pipelines.runner import Tally
from pipelines.verbs.fetch import fetch as fetch_verb
from pipelines.verbs.retry import age_s, retry

IDS = ("aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc")


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Three videos: the first is in `one` and `two`, the second only in `two`, the third nowhere."""
    monkeypatch.setattr(runner, "RETRY_AFTER_S", (0.01, 0.01))
    for folder in ("one", "two", "cut"):
        (tmp_path / folder).mkdir()
    noise(tmp_path / "one" / f"{IDS[0]}.flac", 1)
    noise(tmp_path / "two" / f"{IDS[0]}.flac", 2)
    noise(tmp_path / "two" / f"{IDS[1]}.flac", 3)
    made = Dataset.create(tmp_path / "dataset")
    (tmp_path / "list.csv").write_text("\n".join(["video_id,start_s,duration_s", *(f"{name},0,1" for name in IDS)]))
    ingest(made, "table", tmp_path / "list.csv")
    return made


def noise(file: Path, seed: int) -> None:
    soundfile.write(file, np.random.default_rng(seed).normal(0, 0.1, 48_000), 48_000)


def template(dataset: Dataset, folder: str, name: str = "{video_id}.flac") -> str:
    return str(dataset.path.parent / folder / name)


def fetch(dataset: Dataset, *sources: str) -> Tally:
    return fetch_verb(dataset.path, source=sources, workers=0).tally


def counts(dataset: Dataset, stage: str = "fetch") -> dict[str, object]:
    found = status(dataset)[stage].as_dict()
    assert found["done"] + sum(found["set_aside"].values()) + found["pending"] == found["requested"]
    return found


def rows(dataset: Dataset, video_id: str) -> Sequence[tuple[str, str | None, int]]:
    """Source, code and attempt of every row of a video, in their order."""
    files = [str(path) for folder in dataset.current_facts("fetch").values() for path in folder.glob("part-*.parquet")]
    found = dataset.sql(
        f"SELECT source, code, attempt FROM read_parquet({files!r}, union_by_name = true) AS had "
        f"JOIN videos ON videos.video_key = had.key WHERE video_id = '{video_id}' ORDER BY finished_at"
    )
    return [(Path(row["source"]).parent.name, row["code"], row["attempt"]) for row in found.to_pylist()]


def test_each_source_is_asked_for_what_those_before_it_lack_and_every_answer_is_kept(dataset: Dataset) -> None:
    fetch(dataset, template(dataset, "one"), template(dataset, "two"))
    assert counts(dataset) == {"requested": 3, "done": 2, "set_aside": {"NOT_FOUND": 1}, "pending": 0}
    assert counts(dataset, "cut") == counts(dataset)
    assert rows(dataset, IDS[0]) == [("one", None, 1)]
    assert rows(dataset, IDS[1]) == [("one", "NOT_FOUND", 1), ("two", "NOT_FOUND", 0), ("two", None, 1)]
    assert rows(dataset, IDS[2])[-1] == ("two", "NOT_FOUND", 1)
    again = fetch(dataset, template(dataset, "one"), template(dataset, "two"))
    assert (again.done, dict(again.set_aside)) == (0, {})


def test_a_video_is_pending_while_a_source_has_not_answered(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(Exception):
        """Ends the run after the first source has answered for a video."""

    put_back = runner._Run._put_back
    monkeypatch.setattr(runner._Run, "_put_back", lambda *_: (_ for _ in ()).throw(KilledError))
    with pytest.raises(KilledError):
        fetch(dataset, template(dataset, "one"), template(dataset, "two"))
    monkeypatch.setattr(runner._Run, "_put_back", put_back)
    before = counts(dataset)
    assert before["pending"] == 2 + (before["done"] == 0)
    assert before["set_aside"] == {}
    fetch(dataset, template(dataset, "one"), template(dataset, "two"))
    assert counts(dataset)["done"] == 2
    asked = [source for name in IDS for source, _, attempt in rows(dataset, name) if attempt]
    assert (asked.count("one"), asked.count("two")) == (3, 2), "no source was asked twice"


def test_a_source_that_is_named_later_is_asked(dataset: Dataset) -> None:
    fetch(dataset, template(dataset, "one"))
    assert counts(dataset)["set_aside"] == {"NOT_FOUND": 2}
    fetch(dataset, template(dataset, "one"), template(dataset, "two"))
    assert counts(dataset) == {"requested": 3, "done": 2, "set_aside": {"NOT_FOUND": 1}, "pending": 0}
    assert rows(dataset, IDS[1]) == [("one", "NOT_FOUND", 1), ("two", None, 1)]


def test_cut_clips_and_whole_videos_are_asked_for_one_after_the_other(dataset: Dataset) -> None:
    noise(dataset.path.parent / "cut" / f"{IDS[2]}_000000.flac", 4)
    fetch(dataset, template(dataset, "cut", "{video_id}_{start:06d}.flac"), template(dataset, "two"))
    assert counts(dataset) == {"requested": 3, "done": 3, "set_aside": {}, "pending": 0}
    assert counts(dataset, "cut") == counts(dataset)


def test_one_source_may_not_be_named_twice(dataset: Dataset) -> None:
    with pytest.raises(ArgumentError, match="twice"):
        fetch(dataset, template(dataset, "one"), template(dataset, "one"))


def test_clips_of_a_later_list_come_from_where_the_video_came_from(dataset: Dataset) -> None:
    sources = (template(dataset, "one"), template(dataset, "two"))
    fetch(dataset, *reversed(sources))
    noise(dataset.path.parent / "one" / f"{IDS[1]}.flac", 9)
    (dataset.path.parent / "more.csv").write_text(f"video_id,start_s,duration_s\n{IDS[1]},0,0.5\n")
    ingest(dataset, "table", dataset.path.parent / "more.csv")
    fetch(dataset, *sources)
    assert counts(dataset, "cut")["done"] == 3
    assert dataset.sql("SELECT count(DISTINCT input) AS n FROM cut").to_pylist() == [{"n": 2}]


def test_what_was_set_aside_is_opened_with_fresh_attempts(dataset: Dataset) -> None:
    fetch(dataset, template(dataset, "one"))
    assert dict(retry(dataset.path).opened) == {}, "NOT_FOUND is final and was not named"
    assert dict(retry(dataset.path, code=("NOT_FOUND",), older_than="7d").opened) == {}, "it is younger"
    opened = retry(dataset.path, code=("NOT_FOUND",))
    assert dict(opened.opened) == {"NOT_FOUND": 2}
    assert "2 of them had a final code" in str(opened)
    assert counts(dataset) == {"requested": 3, "done": 1, "set_aside": {}, "pending": 2}
    assert dict(retry(dataset.path, code=("NOT_FOUND",)).opened) == {}, "what is open is not opened again"
    noise(dataset.path.parent / "one" / f"{IDS[1]}.flac", 3)
    fetch(dataset, template(dataset, "one"))
    assert counts(dataset) == {"requested": 3, "done": 2, "set_aside": {"NOT_FOUND": 1}, "pending": 0}
    assert rows(dataset, IDS[1]) == [("one", "NOT_FOUND", 1), ("one", "NOT_FOUND", 0), ("one", None, 1)]


def test_only_the_source_that_said_the_code_is_opened(dataset: Dataset) -> None:
    there = dataset.path.parent / "two" / f"{IDS[2]}.flac"
    there.write_bytes(b"")
    fetch(dataset, template(dataset, "one"), template(dataset, "two"))
    assert counts(dataset)["set_aside"] == {"EMPTY": 1}
    assert dict(reopen(dataset, "fetch", codes=[Code.EMPTY])) == {"EMPTY": 1}
    noise(there, 5)
    fetch(dataset, template(dataset, "one"), template(dataset, "two"))
    assert [row[0] for row in rows(dataset, IDS[2]) if row[2]] == ["one", "two", "two"]
    assert counts(dataset)["done"] == 3


def test_any_stage_may_be_opened_and_its_passing_codes_are_without_a_code(dataset: Dataset) -> None:
    file = dataset.path.parent / "one" / f"{IDS[0]}.flac"
    noise(file, 1)
    file.write_bytes(file.read_bytes()[:20_000])  # cut off: shorter than its header says
    fetch(dataset, template(dataset, "one"))
    assert set(counts(dataset, "cut")["set_aside"]) == {"NOT_FOUND", "TRUNCATED"}
    assert dict(reopen(dataset, "cut")) == {"TRUNCATED": 1}
    assert counts(dataset, "cut")["pending"] == 1
    fetch(dataset, template(dataset, "one"))
    assert counts(dataset, "cut")["set_aside"]["TRUNCATED"] == 1


def test_the_age_is_measured_from_the_last_answer(dataset: Dataset) -> None:
    fetch(dataset, template(dataset, "one"))
    later = (datetime.now(UTC) + timedelta(days=7)).timestamp()
    assert not reopen(dataset, "fetch", codes=[Code.NOT_FOUND], older_than_s=age_s("8d"), now=later)
    assert reopen(dataset, "fetch", codes=[Code.NOT_FOUND], older_than_s=age_s("6.9d"), now=later).total() == 2


def test_arguments_that_make_no_sense_are_refused(dataset: Dataset) -> None:
    fetch(dataset, template(dataset, "one"))
    with pytest.raises(ArgumentError, match="codes are MALFORMED, REMOVED"):
        retry(dataset.path, code=("GONE",))
    with pytest.raises(ArgumentError, match="there are: cut, fetch, segment"):
        retry(dataset.path, stage="measure")
    for text in ("7", "d", "-1d", "7 days"):
        with pytest.raises(ArgumentError, match="older-than"):
            age_s(text)


def test_the_pace_is_that_of_the_answers_and_says_who_pauses(dataset: Dataset) -> None:
    assert fetch_pace(dataset, 3) is None
    fetch(dataset, template(dataset, "one"))
    save_gates(dataset, {("here", "youtube"): Gate.fresh(YOUTUBE, 1e9).refuse(Code.BOT_CHECK, 1e9, asked_at=1e9)})
    pace = fetch_pace(dataset, 30, now=1e9 + 299)
    assert pace is not None
    moments = dataset.sql('SELECT epoch(finished_at) AS moment FROM "fetch" ORDER BY moment')["moment"].to_pylist()
    assert pace["videos_per_hour"] == pytest.approx(2 * 3600 / (moments[-1] - moments[0]))
    assert pace["seconds_left"] == pytest.approx(30 * (moments[-1] - moments[0]) / 2)
    (paused,) = pace["paused"]
    assert paused == {
        "egress": "here",
        "source": "youtube",
        "code": "BOT_CHECK",
        "until": "2001-09-09T01:51:40+00:00",
        "in_a_row": 1,
    }
    assert fetch_pace(dataset, 30, now=1e9 + 301)["paused"] == []
