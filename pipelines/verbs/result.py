"""What a verb that runs a stage gives back: what this run did, and how the stage stands now."""

from dataclasses import dataclass
from typing import Any

from curation.dataset import Dataset
from curation.status import StageStatus, status
from pipelines.runner import Tally


def codes_text(set_aside: dict[str, int]) -> str:
    """Counts by code in one line, most frequent first."""
    ordered = sorted(set_aside.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {code}" for code, count in ordered)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageResult:
    """A run of one stage.

    Args:
        stages: The counts after the run, of the stage and of those it brought along.
        tally: What this run did.
    """

    stages: dict[str, StageStatus]
    tally: Tally

    @classmethod
    def of(cls, dataset: Dataset, tally: Tally, *names: str) -> "StageResult":
        """The result with the present counts of the stages named."""
        counts = {name: of for name, of in status(dataset).items() if name.partition(":")[0] in names}
        return cls(stages=counts or {names[0]: StageStatus()}, tally=tally)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: the counts, as `status --json` prints them, and the seconds of this run."""
        return {**{name: counts.as_dict() for name, counts in self.stages.items()}, "seconds": self.tally.seconds}

    def __str__(self) -> str:
        lines = [status_line(name, counts) for name, counts in self.stages.items()]
        return "\n".join([*lines, f"this run: {self.tally.seconds:.1f} s"])


def status_line(name: str, counts: StageStatus) -> str:
    """One stage in one line."""
    aside = sum(counts.set_aside.values())
    codes = f" ({codes_text(dict(counts.set_aside))})" if aside else ""
    parts = f"{counts.done} done + {aside} set aside{codes} + {counts.pending} pending"
    return f"{name:<16} {counts.requested:>8} requested = {parts}"
