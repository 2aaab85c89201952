"""What belongs to the egress is never an attempt of a video; sources are asked in their order; nothing is lost."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from curation.dataset import Dataset
from curation.download.egress import Pace
from curation.download.pace import fetch_pace
from curation.errors import ClipError, Code, StoppedError
from curation.schema import column, table
from curation.stage import Outcome, Stage, Work, how
from curation.status import status
from curation.tables import Row
from pipelines import routes, runner
from pipelines.disk import DiskMark, parse_bytes
from pipelines.routes import Address, Routes, Routing
from pipelines.runner import Job, Tally, run

ROWS = 30
QUICK = Pace(first_pause_s=0.02, longest_pause_s=0.05, lost_pause_s=0.02, losses=4)
HOST = ("mirror", 80)

Server = Callable[[int, int], Code | None]
"""Number of the row and number of the request, from 1 on -> what it answers; None is good."""


@dataclass
class World:
    """A server, what was asked of it, and whether its host accepts connections."""

    answers: Server
    asked: list[tuple[int, str | None]] = field(default_factory=list)
    is_up: Callable[[], bool] = lambda: True

    def probe(self, address: Address) -> bool:
        assert address == HOST
        return self.is_up()

    def tries(self) -> Counter[int]:
        return Counter(number for number, _ in self.asked)


@dataclass(frozen=True, kw_only=True)
class Ask(Stage):
    """Asks the world for a number."""

    NAME: ClassVar[str] = "ask"
    VERSION: ClassVar[int] = 1
    RESULTS: ClassVar[pa.Schema] = table("Answers.", column("got", pa.int64(), "the number"))

    world: World = how()
    line: str = how(default="'mirror'")

    def requests(self) -> str:
        return f"SELECT clip_id AS key, clip_id AS input, start_ms, {self.line} AS line FROM clips"

    def open(self) -> Work:
        def one(row: Row) -> Outcome:
            number = int(row["start_ms"])
            self.world.asked.append((number, row["egress"]))
            code = self.world.answers(number, len(self.world.asked))
            if code is not None:
                return Outcome(key=row["key"], error=ClipError(code, "as told"))
            return Outcome(key=row["key"], values={"got": number})

        return lambda rows: [one(row) for row in rows]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = Dataset.create(tmp_path / "dataset")
    rows = [
        {"clip_id": f"{n:020d}", "video_key": "v", "start_ms": n, "duration_ms": 1000, "origin": "segment"}
        for n in range(ROWS)
    ]
    made.append("clips", rows)
    return made


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "RETRY_AFTER_S", (0.001, 0.001))


def go(
    dataset: Dataset,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    *,
    names: Sequence[str] = ("here",),
    paces: dict[str, Pace] | None = None,
    line: str = "'mirror'",
    disk: DiskMark | None = None,
) -> Tally:
    monkeypatch.setattr(runner, "Routes", partial(Routes, probe=world.probe))
    stage = Ask(world=world, line=line)
    routing = Routing(names=tuple(names), paces=paces or {"mirror": QUICK}, hosts={"mirror": HOST}, disk=disk)
    return run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), workers=0, routing=routing))


def counts(dataset: Dataset) -> dict[str, object]:
    found = status(dataset)["ask"].as_dict()
    assert found["done"] + sum(found["set_aside"].values()) + found["pending"] == found["requested"] == ROWS
    return found


def attempts(dataset: Dataset) -> list[dict[str, object]]:
    """All committed rows, in their order."""
    (folder,) = dataset.current_facts("ask").values()
    files = str(folder / "part-*.parquet")
    return dataset.sql(
        f"SELECT key::INT AS n, code, attempt FROM read_parquet('{files}') ORDER BY finished_at"
    ).to_pylist()


def test_a_refusal_is_no_attempt_and_the_video_goes_to_the_end(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(lambda number, request: Code.RATE_LIMITED if number == 3 and request < ROWS + 2 else None)
    tally = go(dataset, world, monkeypatch)
    assert counts(dataset) == {"requested": ROWS, "done": ROWS, "set_aside": {}, "pending": 0}
    assert [number for number, _ in world.asked][-3:] == [29, 3, 3]
    of_three = [(row["code"], row["attempt"]) for row in attempts(dataset) if row["n"] == 3]
    assert of_three == [("RATE_LIMITED", 0), ("RATE_LIMITED", 0), (None, 1)]
    assert tally.again == 2


@pytest.mark.parametrize("code", [Code.RATE_LIMITED, Code.BOT_CHECK])
def test_when_refusals_hold_the_run_ends_and_nothing_is_set_aside(
    code: Code, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(lambda number, request: code if request > 10 else None)
    with pytest.raises(StoppedError, match=rf"mirror through here: {code} 5 times in a row\. 20 videos stay pending"):
        go(dataset, world, monkeypatch)
    assert counts(dataset) == {"requested": ROWS, "done": 10, "set_aside": {}, "pending": 20}
    assert len(world.asked) == 15
    with pytest.raises(StoppedError):
        go(dataset, world, monkeypatch)
    assert len(world.asked) == 16, "a new run gives the egress one more chance"
    world.answers = lambda number, request: None
    go(dataset, world, monkeypatch)
    assert counts(dataset) == {"requested": ROWS, "done": ROWS, "set_aside": {}, "pending": 0}


def test_a_refusal_after_failed_attempts_keeps_their_number(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([Code.TRUNCATED, Code.RATE_LIMITED, Code.TRUNCATED, Code.RATE_LIMITED, Code.TRUNCATED])
    go(dataset, World(lambda number, request: next(said) if number == 0 else None), monkeypatch)
    of_zero = [(row["code"], row["attempt"]) for row in attempts(dataset) if row["n"] == 0]
    assert of_zero == [("TRUNCATED", 1), ("RATE_LIMITED", 1), ("TRUNCATED", 2), ("RATE_LIMITED", 2), ("TRUNCATED", 3)]
    assert counts(dataset)["set_aside"] == {"TRUNCATED": 1}


def test_other_egresses_go_on_while_one_pauses(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda number, request: None)
    world.answers = lambda number, request: Code.BOT_CHECK if world.asked[-1][1] == "blocked" else None
    slow = Pace(first_pause_s=1000.0, longest_pause_s=2000.0)
    go(dataset, world, monkeypatch, names=("blocked", "free"), paces={"mirror": slow})
    assert counts(dataset)["done"] == ROWS
    assert Counter(egress for _, egress in world.asked) == {"blocked": 1, "free": ROWS}


def test_a_broken_video_between_good_ones_is_its_own_fault(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda number, request: Code.NETWORK if number in (5, ROWS - 1) else None)
    go(dataset, world, monkeypatch)
    assert counts(dataset) == {"requested": ROWS, "done": ROWS - 2, "set_aside": {"NETWORK": 2}, "pending": 0}
    assert [world.tries()[number] for number in (4, 5, ROWS - 1)] == [1, 3, 3]


def test_a_connection_that_comes_back_has_cost_nothing(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda number, request: Code.NETWORK if 5 < request <= 27 else None)
    go(dataset, world, monkeypatch)
    assert counts(dataset) == {"requested": ROWS, "done": ROWS, "set_aside": {}, "pending": 0}
    assert {(row["code"], row["attempt"]) for row in attempts(dataset)} == {(None, 1)}


def test_a_connection_that_stays_dead_stops_the_run_and_sets_nothing_aside(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(lambda number, request: Code.NETWORK if request > 5 else None)
    world.is_up = lambda: len(world.asked) <= 5
    with pytest.raises(StoppedError, match=r"no connection 4 times in a row\. 25 videos stay pending"):
        go(dataset, world, monkeypatch)
    assert len(world.asked) == 25, "20 in a row, and then only the host was tried"
    assert counts(dataset) == {"requested": ROWS, "done": 5, "set_aside": {}, "pending": 25}


def test_a_host_that_accepts_and_then_fails_is_tried_with_one_video_at_a_time(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(lambda number, request: Code.NETWORK)
    with pytest.raises(StoppedError, match="no connection 4 times"):
        go(dataset, world, monkeypatch)
    assert len(world.asked) == 23
    assert counts(dataset) == {"requested": ROWS, "done": 0, "set_aside": {}, "pending": ROWS}


@pytest.mark.parametrize(("is_up", "set_aside", "pending"), [(True, 3, 0), (False, 0, 3)])
def test_fewer_than_twenty_at_the_end_are_judged_by_the_host(
    is_up: bool, set_aside: int, pending: int, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(lambda number, request: Code.TIMEOUT if number >= ROWS - 3 else None, is_up=lambda: is_up)
    if is_up:
        go(dataset, world, monkeypatch)
    else:
        with pytest.raises(StoppedError, match="3 videos stay pending"):
            go(dataset, world, monkeypatch)
    found = counts(dataset)
    assert (sum(found["set_aside"].values()), found["pending"]) == (set_aside, pending)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_server_says_nothing_is_lost_and_nothing_that_is_done_is_asked_again(
    seed: int, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(seed)
    says = [None, None, None, Code.NOT_FOUND, Code.NETWORK, Code.TIMEOUT, Code.RATE_LIMITED, Code.TRUNCATED]
    good: Counter[int] = Counter()

    def answers(number: int, request: int) -> Code | None:
        code = says[int(draw.integers(len(says)))]
        good[number] += code is None
        return code

    go(dataset, World(answers), monkeypatch, names=("one", "two"))
    found = counts(dataset)
    assert found["pending"] == 0
    assert "RATE_LIMITED" not in found["set_aside"]
    assert (set(good.values()), len(+good)) == ({0, 1}, found["done"]) or set(good.values()) == {1}


def test_the_bucket_is_not_full_again_after_a_restart(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    class EnoughError(Exception):
        """Ends a run that would wait for tokens."""

    def enough(self: Routes) -> list[object]:
        if not self._asked_at and not self._gates["here", "mirror"].opens_at(0) <= 0:
            raise EnoughError
        return []

    world, pace = World(lambda number, request: None), {"mirror": Pace(videos_per_hour=1.0, burst=4)}
    with monkeypatch.context() as patch:
        patch.setattr(Routes, "review", enough)
        for _ in range(2):
            with pytest.raises(EnoughError):
                go(dataset, world, monkeypatch, paces=pace)
    assert len(world.asked) == 4
    assert counts(dataset)["pending"] == ROWS - 4


def test_a_scarce_source_is_asked_when_it_may_be_and_what_is_here_waits_for_nobody(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "CASE WHEN start_ms < 10 THEN 'mirror' WHEN start_ms < 20 THEN 'scarce' END"
    paces = {"mirror": QUICK, "scarce": Pace(videos_per_hour=1e6, burst=2)}
    world = World(lambda number, request: None)
    go(dataset, world, monkeypatch, paces=paces, line=line)
    assert {number for number, _ in world.asked[:2]} == {10, 11}
    assert {egress for number, egress in world.asked if number >= 20} == {None}
    assert counts(dataset)["done"] == ROWS


def test_rows_that_found_no_room_in_memory_are_found_in_the_dataset(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "WAITING_ROWS", 3)
    seen: Counter[int] = Counter()

    def answers(number: int, request: int) -> Code | None:
        seen[number] += 1
        return Code.TRUNCATED if seen[number] == 1 else None

    go(dataset, World(answers), monkeypatch)
    assert counts(dataset)["done"] == ROWS
    assert set(seen.values()) == {2}


def test_a_full_disk_pauses_and_goes_on_when_there_is_room(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    media = tmp_path / "media"
    media.mkdir()
    monkeypatch.setattr("pipelines.disk.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("pipelines.disk.LOOKING_SHARE", 1e9)
    disk = DiskMark(folders=(media,), max_bytes=1000)

    def answers(number: int, request: int) -> Code | None:
        (media / str(number)).write_bytes(bytes(100))
        return None

    emptied = []

    def wait(seconds: float) -> None:
        emptied.append(len(list(media.iterdir())))
        for file in media.iterdir():
            file.unlink()

    monkeypatch.setattr("pipelines.engine.time.sleep", wait)
    go(dataset, World(answers), monkeypatch, disk=disk)
    assert counts(dataset)["done"] == ROWS
    assert set(emptied) == {10}
    assert "media take 1.0 kB of 1.0 kB allowed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("200GB", 200 * 10**9), ("1.5 TB", 1_500 * 10**9), ("7", 7), ("3k", 3000), ("2m", 2 * 10**6)],
)
def test_sizes_are_read_as_people_write_them(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GB", "-3GB", "0", "ten", "1e99TB", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="no size"):
        parse_bytes(text)


def test_the_least_free_space_is_kept(tmp_path: Path) -> None:
    assert not DiskMark(folders=(tmp_path / "not" / "yet",), min_free_bytes=1).complaint()
    assert "must stay" in DiskMark(folders=(tmp_path / "not" / "yet",), min_free_bytes=10**18).complaint()


def test_a_dataset_that_was_never_fetched_has_no_pace(dataset: Dataset) -> None:
    assert fetch_pace(dataset, 3) is None
