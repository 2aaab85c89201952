"""The SQL of views: the latest fact, every request with its answer, and the same with and without a settled part."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from curation.compact import compact
from curation.dataset import Dataset
from curation.stage import Stage
from curation.views import answers_sql, latest_sql
from tests.curation.made import MadeCut

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Asked(MadeCut):
    """Requests given as SQL."""

    sql: str = ""

    def requests(self) -> str:
        return self.sql


PLAIN = "SELECT unnest(['a', 'b', 'c', 'd']) AS key, 'new' AS input"
INHERITED = "SELECT *, CASE WHEN key = 'd' THEN 'REMOVED' END AS inherited, 7 AS needed FROM ({})"
SPOKEN_OF = "SELECT *, 'not AS inherited' AS needed FROM ({})"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """`a` was done for an older input and failed once for the new one, `b` is done, `c` failed for good."""
    made = Dataset.create(tmp_path / "dataset")
    rows = [("a", "old", None, 1), ("a", "new", "NETWORK", 1), ("b", "new", "NETWORK", 1), ("b", "new", None, 2)]
    for second, (key, read, code, attempt) in enumerate([*rows, ("c", "new", "NO_AUDIO", 1)]):
        at = NOW + timedelta(seconds=second)
        row = {"key": key, "input": read, "code": code, "attempt": attempt, "finished_at": at}
        made.facts(MadeCut()).append([row])
    return made


def states(dataset: Dataset, requests: str, reopen: str | None = None) -> list[tuple[str, str, str | None, int]]:
    folder = dataset.facts(MadeCut()).folder
    rows = dataset.sql(f"SELECT key, state, code, attempts FROM ({answers_sql(requests, folder, reopen)}) ORDER BY key")
    return [tuple(row.values()) for row in rows.to_pylist()]  # type: ignore[misc]


@pytest.mark.parametrize("compacted", [False, True])
def test_the_latest_of_each_key_and_of_each_input(dataset: Dataset, compacted: bool) -> None:
    if compacted:
        assert list(compact(dataset))
    folder = dataset.facts(MadeCut()).folder
    by_key = dataset.sql(f"SELECT key, input, code FROM ({latest_sql(folder)}) ORDER BY ALL").to_pylist()
    latest = [("a", "new", "NETWORK"), ("b", "new", None), ("c", "new", "NO_AUDIO")]
    assert [tuple(row.values()) for row in by_key] == latest
    by_input = dataset.sql(f"SELECT key, input FROM ({latest_sql(folder, 'key, input')}) ORDER BY ALL").to_pylist()
    assert [tuple(row.values()) for row in by_input] == [("a", "new"), ("a", "old"), ("b", "new"), ("c", "new")]


@pytest.mark.parametrize("compacted", [False, True])
def test_every_request_has_one_answer(dataset: Dataset, compacted: bool) -> None:
    if compacted:
        assert list(compact(dataset))
    known = [("a", "pending", "NETWORK", 1), ("b", "done", None, 2), ("c", "set_aside", "NO_AUDIO", 1)]
    assert states(dataset, PLAIN) == [*known, ("d", "pending", None, 0)]
    assert states(dataset, SPOKEN_OF.format(PLAIN)) == [*known, ("d", "pending", None, 0)]
    assert states(dataset, INHERITED.format(PLAIN)) == [*known, ("d", "set_aside", "REMOVED", 0)]
    reopened = [("a", "pending", "NETWORK", 1), ("b", "done", None, 2), ("c", "pending", "NO_AUDIO", 1)]
    assert states(dataset, PLAIN, "code = 'NO_AUDIO'") == [*reopened, ("d", "pending", None, 0)]


@pytest.mark.parametrize("requests", [PLAIN, INHERITED.format(PLAIN)])
def test_pending_has_the_columns_of_the_requests_and_the_attempts(dataset: Dataset, requests: str) -> None:
    stage: Stage = type("Now", (Asked,), {"sql": requests})()
    pending = dataset.pending(stage)
    needed = ["needed"] if "needed" in requests else []
    assert pending.column_names == ["key", "input", *needed, "attempts"]
    assert pending["key"].to_pylist() == (["a"] if needed else ["a", "d"])
