"""The runner loses no row, repeats nothing that was committed, and lets bugs through."""

from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest
from toy_stage import Double

from curation.dataset import Dataset
from curation.errors import ArgumentError, LockedError, StoppedError
from curation.lock import writer_lock
from curation.status import status
from pipelines import follow, runner
from pipelines.feed import batches
from pipelines.follow import Upstream
from pipelines.runner import Job, run, run_in_turn


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = Dataset.create(tmp_path / "dataset")
    rows = [
        {"clip_id": f"{n:020d}", "video_key": "v", "start_ms": n, "duration_ms": 1000, "origin": "segment"}
        for n in range(20)
    ]
    made.append("clips", rows)
    return made


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    folder = tmp_path / "seen"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "RETRY_AFTER_S", (0.01, 0.01))


def go(dataset: Dataset, stage: Double, workers: int = 0) -> runner.Tally:
    return run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=3, workers=workers))


def check_final(dataset: Dataset, seen: Path) -> None:
    counts = status(dataset)["double"]
    assert counts.as_dict() == {
        "requested": 20,
        "done": 16,
        "set_aside": {"NO_AUDIO": 2, "TIMEOUT": 2},
        "pending": 0,
    }
    doubled = dataset.sql("SELECT key::INT AS n, doubled FROM double WHERE state = 'done' ORDER BY n").to_pylist()
    assert all(row["doubled"] == 2 * row["n"] for row in doubled)
    tries = {int(file.name): len(file.read_text()) for file in seen.iterdir()}
    assert tries[3] == 1, "a final code is tried once"
    assert tries[7] == 2, "a passing code is tried again"
    assert tries[9] == 3, "at most three times"


def test_every_row_ends_done_or_set_aside_and_a_second_run_does_nothing(dataset: Dataset, seen: Path) -> None:
    stage = Double(seen=seen)
    tally = go(dataset, stage)
    check_final(dataset, seen)
    assert (tally.done, dict(tally.set_aside)) == (16, {"NO_AUDIO": 2, "TIMEOUT": 2})
    assert go(dataset, stage).done == 0
    check_final(dataset, seen)


@pytest.mark.slow
def test_ray_actors_give_the_same_facts(dataset: Dataset, seen: Path) -> None:
    go(dataset, Double(seen=seen), workers=2)
    check_final(dataset, seen)


def test_a_bug_stops_the_run_and_what_was_finished_is_kept(dataset: Dataset, seen: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug at 11"):
        go(dataset, Double(seen=seen, bug_at=11))
    # Of 0 to 8 neither 3, which has no sound, nor 7, whose second try never came.
    assert status(dataset)["double"].done == 7
    go(dataset, Double(seen=seen))
    counts = status(dataset)["double"]
    assert (counts.done, counts.pending) == (16, 0)
    assert len((seen / "0").read_text()) == 1, "what was committed is not done again"


def test_another_knob_is_another_identity_and_a_how_field_is_not(dataset: Dataset, seen: Path) -> None:
    go(dataset, Double(seen=seen))
    assert dataset.pending(Double(seen=seen, bug_at=5)).num_rows == 0
    assert dataset.pending(Double(seen=seen, factor=3)).num_rows == 20


def test_a_second_writer_is_refused_by_name(dataset: Dataset, seen: Path) -> None:
    stage = Double(seen=seen)
    lock = dataset.folder("locks") / f"double-{stage.folder_name}.lock"
    with writer_lock(lock, "stage double"), pytest.raises(LockedError, match="double"):
        go(dataset, stage)


def test_what_another_process_writes_is_waited_for_and_said_once(
    dataset: Dataset, seen: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Double(seen=seen)
    lock = dataset.folder("locks") / f"double-{stage.folder_name}.lock"
    looks: list[float] = []
    with ExitStack() as other:
        other.enter_context(writer_lock(lock, "stage double"))

        def rest(seconds: float) -> None:
            if seconds == runner.TURN_S:
                looks.append(seconds)
            if len(looks) == 3:
                other.close()

        monkeypatch.setattr("time.sleep", rest)
        job = Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=3, workers=0)
        assert run_in_turn(dataset, job).done == 16
    assert len(looks) == 3
    check_final(dataset, seen)
    told = [line for line in capsys.readouterr().err.splitlines() if "this one waits" in line]
    assert len(told) == 1 and "stage double" in told[0]


def test_ctrl_c_commits_what_is_finished(dataset: Dataset, seen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    advance = runner.Progress.advance

    def interrupt(self: runner.Progress, *args: object, **kwargs: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        advance(self, *args, **kwargs)

    monkeypatch.setattr(runner.Progress, "advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        go(dataset, Double(seen=seen))
    monkeypatch.undo()
    assert status(dataset)["double"].done >= 4
    go(dataset, Double(seen=seen))
    assert status(dataset)["double"].pending == 0


def test_a_folder_with_other_things_is_no_place_for_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("hello")
    with pytest.raises(ArgumentError, match="not empty"):
        Dataset.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_a_row_that_kills_every_worker_stops_the_run_and_is_named(dataset: Dataset, seen: Path) -> None:
    with pytest.raises(StoppedError, match=f"begins with {18:020d}"):
        go(dataset, Double(seen=seen, dies_at=18), workers=1)
    assert len((seen / "18").read_text()) == 4


def more_clips(dataset: Dataset, *numbers: int) -> None:
    rows = [
        {"clip_id": f"{n:020d}", "video_key": "v", "start_ms": n, "duration_ms": 1000, "origin": "segment"}
        for n in numbers
    ]
    dataset.append("clips", rows)


def test_a_stage_that_follows_takes_what_comes_and_ends_with_its_upstream(
    dataset: Dataset, seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(follow, "LOOKING_SHARE", 1e9)
    stage, opened, looks = Double(seen=seen), [], []
    open_stage = Double.open
    monkeypatch.setattr(Double, "open", lambda self: (opened.append(self), open_stage(self))[1])
    upstream = ExitStack()
    upstream.enter_context(writer_lock(dataset.folder("locks") / "fetch-video-00000000.lock", "fetch"))

    def queue() -> pa.Table:
        looks.append(status(dataset).get("double"))
        if len(looks) == 3:
            more_clips(dataset, 100, 101)
        if len(looks) == 5:
            more_clips(dataset, 102, 107)
            upstream.close()
        return dataset.pending(stage)

    tally = run(dataset, Job(stage=stage, queue=queue, batch_rows=3, workers=0, follow=follow.OF_CLIPS))
    assert len(opened) == 1
    assert status(dataset)["double"].pending == 0
    assert tally.done == 16 + 4
    tries = {int(file.name): len(file.read_text()) for file in seen.iterdir()}
    assert [tries[number] for number in (0, 100, 101, 102, 107)] == [1, 1, 1, 1, 2]


def test_a_stage_that_follows_waits_for_its_first_row(
    dataset: Dataset, seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(follow, "LOOKING_SHARE", 1e9)
    stage, looks = Double(seen=seen), []
    with writer_lock(dataset.folder("locks") / "cut-video-00000000.lock", "cut"):

        def queue() -> pa.Table:
            looks.append(1)
            rows = dataset.pending(stage)
            return rows.slice(0, 0) if len(looks) < 4 else rows

        with pytest.raises(RuntimeError, match="a bug at 11"):
            run(
                dataset,
                Job(stage=Double(seen=seen, bug_at=11), queue=queue, workers=0, follow=follow.OF_CLIPS),
            )
    assert len(looks) == 4


def test_a_stage_that_has_nobody_to_follow_says_so(
    dataset: Dataset, seen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Double(seen=seen)
    upstream = Upstream(dataset, ("double",), lambda: dataset.pending(stage).slice(0, 0))
    dataset.facts(stage).make_current(stage)
    assert upstream.first() is None
    assert "20 rows before this stage are pending and no process works on them" in capsys.readouterr().err
    assert upstream.more() is None


def test_a_queue_becomes_dictionaries_a_piece_at_a_time() -> None:
    rows = pa.table({"key": [str(number) for number in range(1000)]})
    found = [len(batch) for batch in batches(rows, 7)]
    assert (sum(found), set(found[:-1])) == (1000, {7})
    assert [row["key"] for batch in batches(rows, 300) for row in batch] == rows["key"].to_pylist()
    assert list(batches(rows.slice(0, 0), 3)) == []
