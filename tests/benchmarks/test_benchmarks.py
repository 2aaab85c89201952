"""Every benchmark has the one shape, and what is saved names no machine."""

import json
import socket
import sys
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import best_seconds, pack, search


@pytest.mark.parametrize("name", program.NAMES)
def test_a_benchmark_says_what_it_is_and_stands_in_the_page(name: str) -> None:
    module = import_module(f"benchmarks.{name}")
    assert callable(module.measure)
    assert module.__doc__
    assert f"| `{name}` |" in (program.HERE / "README.md").read_text()


def test_search_and_pack_measure_both_sides() -> None:
    searched = search.measure(windows=300, dimension=8, queries=3, rounds=1)
    packed = pack.measure(clips=2, clips_per_shard=1, rounds=1)
    for measured, unit in ((searched, "queries_a_second"), (packed, "megabytes_a_second")):
        assert float(measured["ratio"]) == pytest.approx(float(measured[unit]) / float(measured[f"peer_{unit}"]))


def test_the_shortest_time_of_each_way_is_taken_in_turns() -> None:
    calls: list[str] = []
    best = best_seconds(lambda: calls.append("a"), lambda: calls.append("b"), rounds=3)
    assert calls == ["a", "b"] * 4
    assert all(0 <= seconds < 1 for seconds in best)


@pytest.mark.parametrize("save", [False, True])
def test_results_are_saved_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], save: bool
) -> None:
    monkeypatch.setattr(program, "HERE", tmp_path)
    monkeypatch.setattr(program, "measure_alone", lambda name: {"ratio": 2.0, "peer": "the other", "clips": 12_345})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "search", *(["--save"] if save else [])])
    assert program.main() == 0
    printed = capsys.readouterr().out
    assert "2.00 x  the other" in printed and "12,345" in printed
    files = list(tmp_path.rglob("*.json"))
    assert [file.name for file in files] == (["search.json"] if save else [])
    for file in files:
        saved = json.loads(file.read_text())
        assert saved["ratio"] == 2.0
        assert saved["machine"]["processors"] >= 1
        assert socket.gethostname() not in file.read_text()


def test_an_unknown_name_is_refused_with_the_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "nothing"])
    with pytest.raises(SystemExit) as stopped:
        program.main()
    assert stopped.value.code == 2
    assert f"there is no benchmark nothing; there are {program.NAMES[0]}" in capsys.readouterr().err
