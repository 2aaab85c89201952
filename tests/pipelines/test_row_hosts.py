"""Rows with urls of their own: every host has a line, and one that refuses holds up no other."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curation.dataset import Dataset
from curation.download import egress
from curation.download.download import Limits
from curation.download.egress import Pace, kind_of_line
from curation.download.fetch_queue import fetch_queue
from curation.download.pace import load_gates
from curation.errors import ClipError, Code, PausedError, StoppedError
from curation.stage import Outcome
from curation.status import status
from pipelines import lines, runner
from pipelines.lines import Lines
from pipelines.main import main
from pipelines.routes import Address, Routes, Routing
from pipelines.verbs.fetch import _stage as fetch_stage
from pipelines.verbs.fetch import fetch as fetch_verb
from pipelines.verbs.status import pace_lines
from pipelines.verbs.ways import DIRECT
from tests.curation.download.scripted import Scripted, scripted
from tests.pipelines.test_fetch_faults import GOOD, MISSING, REFUSED, listed

QUICK = Pace(first_pause_s=10.0, longest_pause_s=20.0, refusals=2, lost_pause_s=10.0, losses=3)


class Clock:
    """A time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """Hosts, what they answer, and routes to them, asked one request after the other."""

    def __init__(self, dataset: Dataset, answers: Callable[[str, int], Code | None], pace: Pace = QUICK) -> None:
        self.clock, self.answers, self.probed = Clock(), answers, Counter[Address]()
        self.is_up: Callable[[Address], bool] = lambda address: True
        self.asked: list[tuple[str, int]] = []
        self.ends: dict[str, Code | None] = {}
        routing = Routing(names=("here",), paces={"row": pace})
        self.routes = Routes(dataset, routing, ("here",), clock=self.clock, probe=self._probe)

    def _probe(self, address: Address) -> bool:
        self.probed[address] += 1
        return self.is_up(address)

    def add(self, hosts: dict[str, int]) -> None:
        """So many rows of each host."""
        rows = [
            {"key": f"{host}/{n}", "url": f"http://{host}/{n}", "line": f"row {host}", "attempts": 0, "n": n}
            for host, count in hosts.items()
            for n in range(count)
        ]
        self.routes.add(pa.Table.from_pylist(rows))

    def one(self) -> bool:
        """Ask one thing if something may be asked; what fails by itself is tried three times."""
        batch = self.routes.next(lambda egress: True)
        if batch is None:
            return False
        (row,) = batch.rows
        host = row["line"].removeprefix("row ")
        self.asked.append((host, row["n"]))
        code = self.answers(host, row["n"])
        outcome = Outcome(key=row["key"], error=ClipError(code, "as told") if code else None)
        for settled in [*self.routes.settle(row, outcome, 0.1), *self.routes.review()]:
            attempts = settled.row["attempts"] + settled.is_attempt
            error = settled.outcome.error
            if settled.is_attempt and error is not None and error.code is Code.NETWORK and attempts < 3:
                self.routes.put_back({**settled.row, "attempts": attempts}, 0.0)
            elif settled.is_attempt:
                self.ends[settled.row["key"]] = error.code if error else None
        return True

    def to_the_end(self, steps: int = 2000) -> None:
        for _ in range(steps):
            if not self.one():
                for settled in self.routes.review():
                    self.ends[settled.row["key"]] = settled.outcome.error.code if settled.outcome.error else None
                if self.routes.is_empty():
                    return
                self.clock.now += 1.0
        raise AssertionError(f"not over after {steps} steps: {self.asked[-10:]}")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset.create(tmp_path / "dataset")


def test_hosts_take_turns_and_one_that_refuses_holds_up_no_other(dataset: Dataset) -> None:
    refused: list[int] = []

    def answers(host: str, n: int) -> Code | None:
        if host == "a" and not refused:
            refused.append(n)
            return Code.RATE_LIMITED
        return None

    world = World(dataset, answers)
    world.add({"a": 4, "b": 3, "c": 3})
    while world.one():
        pass
    assert [host for host, _ in world.asked] == ["a", "b", "c", "b", "c", "b", "c"]
    assert world.routes.note().startswith("row a through here pauses until ")
    world.to_the_end()
    assert set(world.ends.values()) == {None} and len(world.ends) == 10
    assert world.clock.now == pytest.approx(1_700_000_000.0 + 10.0)


def test_the_pause_of_a_host_survives_a_restart_and_no_other_host_is_kept(dataset: Dataset) -> None:
    world = World(dataset, lambda host, n: Code.RATE_LIMITED if host == "a" else None)
    world.add({"a": 1, "b": 1})
    while world.one():
        pass
    world.routes.save(at_end=True)
    kept = load_gates(dataset, {"row": QUICK}, ["here"], world.clock.now)
    assert set(kept) == {("here", "row"), ("here", "row a")}
    assert kept["here", "row a"].paused_until == world.clock.now + 10.0 and not kept["here", "row"].paused_until
    again = World(dataset, lambda host, n: None)
    again.add({"a": 1, "b": 1})
    assert again.one() and again.asked == [("b", 0)] and not again.one()
    again.to_the_end()
    again.routes.save(at_end=True)
    assert not load_gates(dataset, {"row": QUICK}, ["here"], again.clock.now)["here", "row a"].paused_until


def test_a_host_that_keeps_refusing_is_given_up_when_all_others_are_done(dataset: Dataset) -> None:
    world = World(dataset, lambda host, n: Code.RATE_LIMITED if host == "a" else None)
    world.add({"a": 3, "b": 5})
    with pytest.raises(PausedError, match=r"row a through here: RATE_LIMITED 2 times in a row\. 3 videos stay pending"):
        world.to_the_end()
    assert len(world.ends) == 5


@pytest.mark.parametrize("alone", [False, True])
def test_a_dead_host_among_living_ones_is_the_fault_of_its_rows(alone: bool, dataset: Dataset) -> None:
    """Also when so many of its rows are left at the end that no other host could answer between them."""
    world = World(dataset, lambda host, n: Code.NETWORK if host == "dead" else None)
    world.add({"dead": 60, "alive": 1 if alone else 60})
    world.to_the_end()
    assert Counter(world.ends.values()) == {Code.NETWORK: 60, None: 1 if alone else 60}
    assert Counter(host for host, _ in world.asked)["dead"] == 180
    assert set(world.probed) <= {("alive", 80)}


def test_a_lost_connection_is_told_by_all_hosts_together_and_costs_nothing(dataset: Dataset) -> None:
    world = World(dataset, lambda host, n: Code.NETWORK if 10 <= len(world.asked) <= 50 else None)
    world.is_up = lambda address: False
    world.add({f"h{n}": 5 for n in range(10)})
    with pytest.raises(PausedError, match=r"row through here: no connection 3 times in a row\. 41 videos stay pending"):
        world.to_the_end()
    assert set(world.ends.values()) == {None}
    assert len(world.asked) == 9 + 20, "then only a host that had answered was tried"


def test_each_host_has_the_rate_that_is_given(dataset: Dataset) -> None:
    world = World(dataset, lambda host, n: None, Pace(videos_per_hour=3600.0, burst=2))
    world.add({"a": 4, "b": 4})
    while world.one():
        pass
    assert [host for host, _ in world.asked] == ["a", "b", "a", "b"]
    world.clock.now += 1.0
    while world.one():
        pass
    assert [host for host, _ in world.asked[4:]] == ["a", "b"]


def test_lines_keep_the_order_of_rows_and_forget_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "WAITING_ROWS", 2)
    draw = np.random.default_rng(1)
    hosts = [f"row h{draw.integers(7)}" if draw.random() < 0.7 else None for _ in range(500)]
    made = Lines(["row", None])
    made.add(pa.table({"line": pa.array(hosts, pa.string()), "n": list(range(500))}))
    assert made and len(made) == 500 and made.waits("row") and made.waits(None) and not made.waits("row x")
    taken: dict[str | None, list[int]] = {}
    while (line := next(made.waiting(), "over")) != "over":
        taken.setdefault(line, []).append(made.pop(line)["n"])
    assert taken == {host: [n for n, own in enumerate(hosts) if own == host] for host in set(hosts)}
    assert not made and len(made) == 0
    row = {"line": "row a", "n": 0}
    assert [made.put_back(row) for _ in range(3)] == [True, True, False]
    made.pop("row a")
    assert made.put_back(row) and len(made) == 2
    with pytest.raises(ValueError, match="no pace"):
        made.add(pa.table({"line": ["mirror"]}))


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://Example.org/a.mp4?x=http://b/", "row example.org"),
        ("https://example.org:8080?x", "row example.org:8080"),
        ("http://[2001:db8::1]:80/a", "row [2001:db8::1]:80"),
    ],
)
def test_a_row_waits_in_the_line_of_its_host(url: str, line: str, tmp_path: Path) -> None:
    dataset = listed(tmp_path, [url], named_by="url")
    stage = fetch_stage(dataset, (), DIRECT, keep_originals=False, allow_private=False, limits=Limits())
    for part in (stage, stage.segment, stage.cut):
        dataset.facts(part).make_current(part)
    assert fetch_queue(dataset, stage)["line"].to_pylist() == [line]
    assert kind_of_line(line) == "row"


@pytest.fixture
def two_hosts() -> Iterator[tuple[Scripted, Scripted]]:
    with ExitStack() as stack:
        yield stack.enter_context(scripted("127.0.0.1")), stack.enter_context(scripted("127.0.0.2"))


def test_of_two_hosts_one_refuses_and_the_other_is_fetched_to_the_end(
    two_hosts: tuple[Scripted, Scripted],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good, strict = two_hosts
    monkeypatch.setattr(runner, "RETRY_AFTER_S", (0.01, 0.01))
    pace = Pace(first_pause_s=0.3, longest_pause_s=0.6, refusals=2)
    monkeypatch.setattr(egress, "MIRROR", pace)
    good.answers |= {f"/{n}.flac": GOOD if n else MISSING for n in range(8)}
    strict.answers |= {f"/{n}.flac": REFUSED for n in range(4)}
    urls = [f"{good.url}/{n}.flac" for n in range(8)] + [f"{strict.url}/{n}.flac" for n in range(4)]
    dataset = listed(tmp_path, urls, named_by="url")
    with pytest.raises(StoppedError, match=r"row 127\.0\.0\.2:\d+ through .*: RATE_LIMITED 2 times .* 4 videos stay"):
        fetch_verb(dataset.path, workers=0, allow_private=True)
    found = status(dataset)["fetch"].as_dict()
    assert (found["done"], found["set_aside"], found["pending"]) == (7, {"NOT_FOUND": 1}, 4)
    assert len(strict.requests) == 2 and len(set(good.requests)) == 8
    monkeypatch.setattr(egress, "MIRROR", Pace(first_pause_s=900.0, longest_pause_s=900.0, refusals=2))
    with pytest.raises(StoppedError):
        fetch_verb(dataset.path, workers=0, allow_private=True)  # one more chance, then a long pause
    capsys.readouterr()
    assert main(["status", str(dataset.path), "--json"]) == 0
    (pause,) = json.loads(capsys.readouterr().out)["pace"]["paused"]
    assert pause["source"] == f"row {strict.url.removeprefix('http://')}" and pause["code"] == "RATE_LIMITED"


def test_of_many_pauses_status_shows_some_and_their_number() -> None:
    paused = [{"source": f"row h{n}", "egress": "here", "until": "soon", "code": "RATE_LIMITED"} for n in range(13)]
    shown = pace_lines({"videos_per_hour": None, "seconds_left": None, "paused": paused})
    assert len(shown) == 11 and shown[-1] == "and 3 more pause; --json has all"
    assert pace_lines({"videos_per_hour": None, "seconds_left": None, "paused": paused[:10]}) == shown[:10]
