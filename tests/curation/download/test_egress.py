"""The budget and the pauses of an egress, with a clock of its own: nothing sleeps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curation.dataset import Dataset
from curation.download.egress import MIRROR, YOUTUBE, Gate, Pace, egresses, pace_of
from curation.download.pace import MANY_PARTS, load_gates, merge_gates, save_gates
from curation.errors import ArgumentError, Code
from curation.tables import part_files

NOON = 1_800_000_000.0
SLOW = Pace(videos_per_hour=300.0, burst=10)


def refused(gate: Gate, now: float, times: int = 1) -> Gate:
    for _ in range(times):
        now = max(now, gate.paused_until)
        gate = gate.refuse(Code.RATE_LIMITED, now, asked_at=now)
    return gate


@pytest.mark.parametrize("seed", range(20))
def test_no_window_holds_more_videos_than_the_rate_and_the_burst_allow(seed: int) -> None:
    draw = np.random.default_rng(seed)
    pace = Pace(videos_per_hour=float(draw.uniform(20, 2000)), burst=int(draw.integers(1, 20)))
    gate, now, taken = Gate.fresh(pace, NOON), NOON, []
    for _ in range(300):
        now += float(draw.exponential(draw.choice([1.0, 60.0])))
        if gate.opens_at(now) <= now:
            gate = gate.take(now)
            taken.append(now)
    assert len(taken) > pace.burst
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            window_h = (taken[last] - taken[first]) / 3600
            assert last - first + 1 <= pace.burst + window_h * (pace.videos_per_hour or 0) + 1e-6


def test_an_empty_bucket_opens_when_one_token_is_there_and_not_before() -> None:
    gate = Gate.fresh(SLOW, NOON)
    for _ in range(10):
        assert gate.opens_at(NOON) == NOON
        gate = gate.take(NOON)
    assert gate.opens_at(NOON) == pytest.approx(NOON + 12.0)
    assert gate.opens_at(NOON + 11.9) > NOON + 11.9
    assert gate.opens_at(NOON + 12.1) == NOON + 12.1


def test_an_hour_of_asking_as_often_as_allowed_is_the_rate_and_the_burst() -> None:
    gate, now, count = Gate.fresh(SLOW, NOON), NOON, 0
    while (now := gate.opens_at(now)) < NOON + 3600:
        gate, count = gate.take(now), count + 1
    assert count in (309, 310)


def test_without_a_rate_a_gate_is_always_open() -> None:
    gate = Gate.fresh(MIRROR, NOON)
    for _ in range(1000):
        gate = gate.take(NOON)
    assert gate.opens_at(NOON) == NOON


def test_pauses_double_up_to_the_longest_and_an_answer_ends_the_row() -> None:
    gate, pauses = Gate.fresh(YOUTUBE, NOON), []
    for _ in range(7):
        now = max(NOON, gate.paused_until)
        gate = refused(gate, now)
        pauses.append(gate.paused_until - now)
    assert pauses == [300, 600, 1200, 2400, 3600, 3600, 3600]
    assert not gate.opens_at(gate.paused_until - 1) <= gate.paused_until - 1
    answered = gate.answer(asked_at=gate.paused_until)
    assert (answered.streak, answered.code, answered.is_on_trial) == (0, None, False)
    assert refused(answered, NOON).paused_until == NOON + 300


def test_answers_to_one_burst_are_one_refusal() -> None:
    gate = Gate.fresh(MIRROR, NOON).refuse(Code.RATE_LIMITED, NOON + 1, asked_at=NOON)
    again = gate.refuse(Code.BOT_CHECK, NOON + 1.5, asked_at=NOON + 0.5)
    assert (again.streak, again.paused_until) == (1, gate.paused_until)
    assert gate.answer(asked_at=NOON + 0.9) == gate, "an answer that was asked for before the refusal says nothing"


@pytest.mark.parametrize(("asked_s", "pause_s"), [(None, 1.0), (0.5, 1.0), (30.0, 30.0), (1e9, 3600.0), (-5.0, 1.0)])
def test_retry_after_lengthens_a_pause_within_reason(asked_s: float | None, pause_s: float) -> None:
    gate = Gate.fresh(MIRROR, NOON).refuse(Code.RATE_LIMITED, NOON, asked_at=NOON, retry_after_s=asked_s)
    assert gate.paused_until == NOON + pause_s


@pytest.mark.parametrize(("pace", "most"), [(MIRROR, 5), (YOUTUBE, 24)])
def test_an_egress_is_given_up_after_so_many_refusals_and_gets_one_more_chance(pace: Pace, most: int) -> None:
    almost = refused(Gate.fresh(pace, NOON), NOON, most - 1)
    assert not almost.is_given_up
    gone = refused(almost, NOON)
    assert gone.is_given_up
    chance = gone.again()
    assert not chance.is_given_up
    assert chance.paused_until == gone.paused_until
    assert refused(chance, NOON).is_given_up


def test_losses_and_refusals_are_counted_apart() -> None:
    gate = refused(Gate.fresh(MIRROR, NOON), NOON, 3)
    lost = gate.refuse(Code.NETWORK, NOON + 100, asked_at=NOON + 100)
    assert (lost.streak, lost.paused_until) == (1, NOON + 100 + MIRROR.lost_pause_s)


def test_gates_come_back_from_the_disk_as_they_were(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "dataset")
    gate = refused(Gate.fresh(SLOW, NOON).take(NOON).take(NOON), NOON + 1, 2)
    save_gates(dataset, {("here", "youtube"): Gate.fresh(SLOW, NOON)})
    save_gates(dataset, {("here", "youtube"): gate})
    found = load_gates(dataset, {"youtube": SLOW, "mirror": MIRROR}, ["here", "there"], NOON + 2)
    assert found["here", "youtube"] == gate
    assert found["there", "youtube"] == Gate.fresh(SLOW, NOON + 2)
    assert set(found) == {(egress, source) for egress in ("here", "there") for source in ("youtube", "mirror")}
    assert found["here", "youtube"].opens_at(NOON + 2) == gate.paused_until
    smaller = load_gates(dataset, {"youtube": replace(SLOW, burst=3)}, ["here"], NOON)["here", "youtube"]
    assert smaller.tokens == 3


def test_many_parts_are_merged_and_the_latest_is_kept(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "dataset")
    gate = Gate.fresh(SLOW, NOON)
    for number in range(MANY_PARTS):
        gate = gate.take(NOON + number)
        save_gates(dataset, {("here", "youtube"): gate})
    merge_gates(dataset)
    assert len(part_files(dataset.path / "facts" / "egress")) == 1
    assert load_gates(dataset, {"youtube": SLOW}, ["here"], NOON + MANY_PARTS)["here", "youtube"] == gate
    assert "egress" not in dataset.stages()


def test_ways_out_have_names_of_their_own() -> None:
    (here,) = egresses()
    assert here.proxy is None and here.cookies is None and here.name
    one, two = egresses(["http://a:secret@one:3128", "http://two:3128"], [Path("x/mine.txt"), Path("yours.txt")])
    assert (one.name, two.name) == ("one:3128/mine", "two:3128/yours")
    assert len({egress.name for egress in egresses(cookies=[Path("a.txt"), Path("b.txt")])}) == 2


@pytest.mark.parametrize(
    ("proxies", "cookies", "says"),
    [
        (["http://a:1", "http://b:1"], [Path("c")], "as many"),
        (["http://a:1", "http://a:1"], [], "twice"),
        (["ftp://a:1"], [], "http://host:3128"),
        (["a:1"], [], "http://host:3128"),
    ],
)
def test_ways_out_that_make_no_sense_are_refused(proxies: list[str], cookies: list[Path], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        egresses(proxies, cookies)


def test_the_user_s_rate_holds_for_every_source() -> None:
    assert pace_of("youtube").videos_per_hour == 300
    assert pace_of("mirror").videos_per_hour is None
    assert pace_of("mirror", 50).videos_per_hour == pace_of("youtube", 50).videos_per_hour == 50
    with pytest.raises(ArgumentError, match="--rate"):
        pace_of("youtube", 0)
