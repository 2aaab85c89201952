"""Asking again for what was set aside: rows that open an answer, appended beside it.

Nothing is rewritten. A row with attempt 0 repeats the last answer of a (key, input), for `fetch` of each source, and
says that it is open again; the next run of the stage tries it with fresh attempts.
"""

import time
from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from curation.dataset import Dataset
from curation.errors import FINAL_CODES, ArgumentError, Code
from curation.lock import writer_lock
from curation.tables import append_part
from curation.views import is_final_sql, latest_sql, quoted


def reopen(
    dataset: Dataset, stage: str, *, codes: Collection[Code] = (), older_than_s: float = 0.0, now: float | None = None
) -> Counter[str]:
    """Open what a stage set aside.

    Args:
        dataset: The dataset.
        stage: NAME of the stage.
        codes: Which codes, final ones too; none for all passing ones.
        older_than_s: Only answers that are at least so old, s.
        now: The time, seconds since 1970; None takes the clock's.

    Returns:
        How many answers were opened, by code.

    Raises:
        ArgumentError: The stage has not run, or the age is negative.
        LockedError: The stage is running.
    """
    if not dataset.has_stage(stage):
        known = ", ".join(dataset.stages()) or "none"
        raise ArgumentError(f"{dataset.path} has no stage {stage!r} that has run; there are: {known}")
    if not older_than_s >= 0:
        raise ArgumentError(f"--older-than must not be negative, not {older_than_s} s")
    opened: Counter[str] = Counter()
    moment = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    for folder in dataset.current_facts(stage).values():
        lock = dataset.folder("locks") / f"{stage}-{folder.name}.lock"
        with writer_lock(lock, f"stage {stage} of {dataset.path}"), dataset.reading():
            rows = dataset.sql(_set_aside(stage, folder, codes), [moment, moment, older_than_s])
            append_part(folder, rows)
        opened.update(rows["code"].to_pylist())
    return opened


def _set_aside(stage: str, folder: Path, codes: Collection[Code]) -> str:
    """SQL of the rows that open; parameters: the time, the time, the age in s."""
    if stage == "fetch":  # one source may have said no and another have had it
        by, unless = "key, source", f"AND key NOT IN (SELECT key FROM ({latest_sql(folder)}) WHERE code IS NULL)"
    else:
        by, unless = "key, input", ""
    named = ", ".join(quoted(code) for code in sorted(codes or set(Code) - FINAL_CODES))
    return f"""
    SELECT * REPLACE (0::INTEGER AS attempt, 0.0::DOUBLE AS seconds, ?::TIMESTAMPTZ AS finished_at)
    FROM ({latest_sql(folder, by)})
    WHERE code IN ({named}) AND {is_final_sql()} AND epoch(?::TIMESTAMPTZ) - epoch(finished_at) >= ? {unless}
    ORDER BY key"""
