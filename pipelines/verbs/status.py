"""`foundsound status`: how far a dataset is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.dataset import Dataset
from curation.download.pace import fetch_pace
from curation.status import StageStatus
from curation.status import status as stage_status
from pipelines.progress import duration_text
from pipelines.verbs.result import status_line

SHOWN = 10
"""Pauses that are shown; `--json` has all of them."""


@dataclass(frozen=True, slots=True)
class StatusResult:
    """The counts of every stage that has run."""

    stages: dict[str, StageStatus]
    pace: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Stage -> requested, done, set_aside by code, pending; and `pace` while something is left to fetch."""
        stages = {name: counts.as_dict() for name, counts in self.stages.items()}
        return stages if self.pace is None else {**stages, "pace": self.pace}

    def __str__(self) -> str:
        lines = [status_line(name, counts) for name, counts in self.stages.items()]
        return "\n".join(lines if self.pace is None else [*lines, *pace_lines(self.pace)])


def pace_lines(pace: dict[str, Any]) -> list[str]:
    """How fast is being fetched, how long the rest takes, and who pauses."""
    rate, left_s = pace["videos_per_hour"], pace["seconds_left"]
    lines = [] if rate is None else [f"fetching {rate:,.0f} an hour, {duration_text(left_s)} left at this rate"]
    for pause in pace["paused"][:SHOWN]:
        lines.append(f"{pause['source']} through {pause['egress']} pauses until {pause['until']}: {pause['code']}")
    more = len(pace["paused"]) - SHOWN
    return [*lines, f"and {more:,} more pause; --json has all"] if more > 0 else lines


def status(dataset: Path, /) -> StatusResult:
    """Show for every stage what was requested, done, set aside by code, and is pending.

    Args:
        dataset: Folder of the dataset.
    """
    opened = Dataset(dataset)
    stages = stage_status(opened)
    pending = stages["fetch"].pending if "fetch" in stages else 0
    return StatusResult(stages, fetch_pace(opened, pending) if pending else None)
