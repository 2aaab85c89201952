"""`foundsound status`: how far a dataset is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.dataset import Dataset
from curation.status import StageStatus
from curation.status import status as stage_status
from pipelines.verbs.result import status_line


@dataclass(frozen=True, slots=True)
class StatusResult:
    """The counts of every stage that has run."""

    stages: dict[str, StageStatus]

    def as_dict(self) -> dict[str, Any]:
        """Stage -> requested, done, set_aside by code, pending."""
        return {name: counts.as_dict() for name, counts in self.stages.items()}

    def __str__(self) -> str:
        return "\n".join(status_line(name, counts) for name, counts in self.stages.items())


def status(dataset: Path, /) -> StatusResult:
    """Show for every stage what was requested, done, set aside by code, and is pending.

    Args:
        dataset: Folder of the dataset.
    """
    return StatusResult(stage_status(Dataset(dataset)))
