"""`foundsound pack` and `foundsound verify`: a selection as WebDataset shards, and their re-reading."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.shards.pack import PackReport
from curation.shards.pack import pack as pack_shards
from curation.shards.verify import Verification
from curation.shards.verify import verify as verify_shards
from pipelines.progress import Progress


@dataclass(frozen=True, slots=True)
class PackResult:
    """A generation of shards."""

    report: PackReport

    def as_dict(self) -> dict[str, Any]:
        """Name, folder and counts."""
        index = self.report.index
        return {
            "generation": self.report.generation,
            "folder": str(self.report.folder),
            "shards": len(index.shards),
            "clips": index.clips,
            "existed": self.report.existed,
        }

    def __str__(self) -> str:
        index = self.report.index
        note = " (was there already, nothing to do)" if self.report.existed else ""
        return f"{self.report.folder}: {index.clips:,} clips in {len(index.shards):,} shards{note}"


def pack(
    dataset: Path, /, *, selection: str = "train", generation: str | None = None, clips_per_shard: int = 500
) -> PackResult:
    """Pack a selection into WebDataset shards; the same selection gives the same bytes.

    Args:
        dataset: Folder of the dataset.
        selection: Name of the selection.
        generation: Name of the generation of shards; the selection's when not given.
        clips_per_shard: Clips in a shard; 500 clips of 10 s with pictures are 0.5 to 1 GB.
    """
    opened = Dataset(dataset)
    shown: Progress | None = None

    def progress(done: int, total: int) -> None:
        nonlocal shown
        if shown is None:
            shown = Progress("pack", total=total, unit="shards")
            shown.__enter__()
        shown.advance()

    try:
        report = pack_shards(
            opened, selection, generation=generation, clips_per_shard=clips_per_shard, progress=progress
        )
    finally:
        if shown is not None:
            shown.__exit__(None, None, None)
    return PackResult(report)


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """Generations that were re-read and found whole."""

    verifications: list[Verification]

    def as_dict(self) -> dict[str, Any]:
        """Generation -> shards and clips that were read."""
        return {v.folder.name: {"shards": v.shards, "clips": v.clips, "problems": []} for v in self.verifications}

    def __str__(self) -> str:
        return "\n".join(
            f"{v.folder.name}: {v.shards:,} shards, {v.clips:,} clips, every sum, key and sound is right"
            for v in self.verifications
        )


def verify(dataset: Path, /, *, generation: str | None = None) -> VerifyResult:
    """Read shards again: sums, keys, offsets, and whether every sound decodes.

    Args:
        dataset: Folder of the dataset.
        generation: Name of the generation; all of them when not given.
    """
    opened = Dataset(dataset)
    found = sorted(path.parent for path in opened.folder("shards").glob("*/index.json"))
    folders = [opened.folder("shards") / generation] if generation else found
    if not folders:
        raise ArgumentError(f"{opened.path} has no shards; make some with `foundsound pack`")
    verifications = [verify_shards(folder) for folder in folders]
    problems = [f"{v.folder.name}/{problem}" for v in verifications for problem in v.problems]
    if problems:
        listed = "\n".join(problems[:20]) + (f"\n(and {len(problems) - 20} more)" if len(problems) > 20 else "")
        raise DatasetError(f"{len(problems)} problems; pack the selection into another generation:\n{listed}")
    return VerifyResult(verifications)
