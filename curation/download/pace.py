"""The budgets of the egresses on the disk, and how fast a dataset is being fetched.

    facts/egress/part-*.parquet      one row each time a gate is saved; the latest of (egress, source) counts

A run that is started again goes on with the bucket and the pause that it left.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.dataset import Dataset
from curation.download.egress import ROW_LINE, YOUTUBE, Gate, Pace, kind_of_line
from curation.errors import Code
from curation.schema import column, table
from curation.tables import append_part, part_files, rows_to_table

FOLDER = Path("facts") / "egress"

EGRESS = table(
    "One row each time a gate is saved: what one egress may still ask of one source.",
    column("egress", pa.string(), "name of the way out"),
    column(
        "source",
        pa.string(),
        "`youtube`, the template, `row HOST` for addresses of rows, or `row`: their connection",
    ),
    column("tokens", pa.float64(), "videos that might be asked at `saved_at`"),
    column("code", pa.string(), "why it was refused last; null after an answer"),
    column("streak", pa.int32(), "refusals, or losses of the connection, in a row"),
    column("paused_at", pa.timestamp("us", tz="UTC"), "when the last pause began"),
    column("paused_until", pa.timestamp("us", tz="UTC"), "when it ends"),
    column("saved_at", pa.timestamp("us", tz="UTC"), "when the row was written"),
)

MANY_PARTS = 200
"""From so many parts on they are merged when a run begins. Source: ours; a part a minute is written at most."""

RATE_OVER_S = 3600.0
"""The rate is measured over the last hour in which something was fetched. Source: ours; the budgets are by the hour."""


def load_gates(
    dataset: Dataset, paces: Mapping[str, Pace], names: Iterable[str], now: float
) -> dict[tuple[str, str], Gate]:
    """The gate of every (egress, source), as the last run left it; fresh where there was none.

    Those of hosts that rows lead to are among them only where a run left one.

    Args:
        dataset: Its folder is looked into.
        paces: Source -> pace.
        names: The egresses.
        now: The time, seconds since 1970.
    """
    egresses = tuple(names)
    gates = {(name, source): Gate.fresh(gate_pace(paces, source), now) for name in egresses for source in paces}
    for row in _latest(dataset):
        if row["egress"] in egresses and kind_of_line(row["source"]) in paces:
            gates[row["egress"], row["source"]] = _gate(row, gate_pace(paces, row["source"]), now).again()
    return gates


def gate_pace(paces: Mapping[str, Pace], source: str) -> Pace:
    """The pace of a source. What rows lead to has that of `row` for each host; their connection itself has no rate."""
    pace = paces[kind_of_line(source)]
    return replace(pace, videos_per_hour=None) if source == ROW_LINE else pace


def save_gates(dataset: Dataset, gates: Mapping[tuple[str, str], Gate]) -> None:
    """Append the gates as one part."""
    rows = [_row(egress, source, gate) for (egress, source), gate in gates.items()]
    append_part(dataset.path / FOLDER, rows_to_table(rows, EGRESS))


def merge_gates(dataset: Dataset) -> None:
    """Write the latest rows as one part and delete the others, once there are many; called where nobody else writes."""
    files = part_files(dataset.path / FOLDER)
    if len(files) >= MANY_PARTS:
        append_part(dataset.path / FOLDER, rows_to_table(_latest(dataset), EGRESS))
        for file in files:
            file.unlink(missing_ok=True)


def _latest(dataset: Dataset) -> list[dict[str, Any]]:
    """The latest row of every (egress, source)."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for file in part_files(dataset.path / FOLDER):  # the oldest first
        for row in pq.ParquetFile(file).read().to_pylist():
            found[row["egress"], row["source"]] = row
    return list(found.values())


def _row(egress: str, source: str, gate: Gate) -> dict[str, Any]:
    return {
        "egress": egress,
        "source": source,
        "tokens": gate.tokens,
        "code": gate.code.value if gate.code else None,
        "streak": gate.streak,
        "paused_at": datetime.fromtimestamp(gate.paused_at, UTC),
        "paused_until": datetime.fromtimestamp(gate.paused_until, UTC),
        "saved_at": datetime.fromtimestamp(gate.counted_at, UTC),
    }


def _gate(row: Mapping[str, Any], pace: Pace, now: float) -> Gate:
    """A saved gate; one that a clock which was ahead has saved does not wait for that clock."""
    return Gate(
        pace=pace,
        tokens=min(row["tokens"], float(pace.burst)),
        counted_at=min(row["saved_at"].timestamp(), now),
        code=Code(row["code"]) if row["code"] else None,
        streak=row["streak"],
        paused_at=min(row["paused_at"].timestamp(), now),
        paused_until=min(row["paused_until"].timestamp(), now + YOUTUBE.longest_pause_s),
    )


def fetch_pace(dataset: Dataset, pending: int, now: float | None = None) -> dict[str, Any] | None:
    """How fast the dataset is fetched and how long the rest takes, for `status`.

    Args:
        dataset: The dataset.
        pending: Videos (or clips) that are left.
        now: The time, seconds since 1970; None takes the clock's.

    Returns:
        `videos_per_hour` (answers, good and bad, over the last hour of work), `seconds_left` (None without a rate),
        `last_at` (ISO time of the last answer) and `paused`: a list of `egress`, `source`, `code`, `until` (ISO time)
        and `in_a_row`. None when nothing was ever fetched.
    """
    if not dataset.has_stage("fetch"):
        return None
    now = time.time() if now is None else now
    measured = dataset.sql(
        f"""WITH answers AS (
            SELECT key, state, finished_at FROM "fetch" WHERE state <> 'pending'
        ), ends AS (SELECT max(finished_at) AS last FROM answers)
        SELECT count(*) AS n, epoch(min(finished_at)) AS begun, epoch(max(finished_at)) AS ended FROM answers, ends
        WHERE finished_at > last - INTERVAL '{RATE_OVER_S:.0f} seconds'"""
    ).to_pylist()[0]
    count, took_s = measured["n"], (measured["ended"] or 0.0) - (measured["begun"] or 0.0)
    per_hour = (count - 1) * 3600.0 / took_s if count > 1 and took_s > 0 else None  # the first one begins the count
    paused = [
        {
            "egress": row["egress"],
            "source": row["source"],
            "code": row["code"],
            "until": row["paused_until"].isoformat(timespec="seconds"),
            "in_a_row": row["streak"],
        }
        for row in _latest(dataset)
        if row["code"] and row["paused_until"].timestamp() > now
    ]
    last = datetime.fromtimestamp(measured["ended"], UTC).isoformat(timespec="seconds") if measured["ended"] else None
    return {
        "videos_per_hour": per_hour,
        "seconds_left": pending * 3600.0 / per_hour if per_hour else None,
        "last_at": last,
        "paused": paused,
    }
