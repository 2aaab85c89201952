"""`foundsound pack`, `extend` and `verify`: a selection as WebDataset shards, more clips beside them, re-reading."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.names import plain_name
from curation.shards.generation import INDEX_FILE
from curation.shards.pack import WORKERS, PackReport
from curation.shards.pack import pack as pack_shards
from curation.shards.verify import Verification
from curation.shards.verify import verify as verify_shards
from curation.takedowns.deny import denied_ids
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
            "folder": str(self.report.root),
            "shards": len(index.shards),
            "shards_taken_over": self.report.taken_over,
            "clips": index.clips,
            "existed": self.report.existed,
        }

    def __str__(self) -> str:
        index, taken_over = self.report.index, self.report.taken_over
        note = " (was there already, nothing to do)" if self.report.existed else ""
        of = f", {taken_over:,} of them those of earlier generations" if taken_over else ""
        return f"{self.report.root}: {index.clips:,} clips in {len(index.shards):,} shards{of}{note}"


@contextmanager
def _shown(what: str) -> Iterator[Callable[[int, int], None]]:
    """Progress in shards, from the first one that is done."""
    shown: Progress | None = None
    before = 0

    def progress(done: int, total: int) -> None:
        nonlocal shown, before
        if shown is None:
            shown = Progress(what, total=total, unit="shards")
            shown.__enter__()
        shown.advance(done - before)
        before = done

    try:
        yield progress
    finally:
        if shown is not None:
            shown.__exit__(None, None, None)


def pack(
    dataset: Path,
    /,
    *,
    selection: str = "train",
    generation: str | None = None,
    clips_per_shard: int = 500,
    workers: int = WORKERS,
) -> PackResult:
    """Pack a selection into WebDataset shards; the same selection gives the same bytes.

    Args:
        dataset: Folder of the dataset.
        selection: Name of the selection.
        generation: Name of the generation of shards; the selection's when not given.
        clips_per_shard: Clips in a shard; 500 clips of 10 s with pictures are 0.5 to 1 GB.
        workers: Shards written at once.
    """
    with _shown("pack") as progress:
        report = pack_shards(
            Dataset(dataset),
            selection,
            generation=generation,
            clips_per_shard=clips_per_shard,
            workers=workers,
            progress=progress,
        )
    return PackResult(report)


def extend(
    dataset: Path,
    /,
    *,
    parent: Annotated[str, Parameter(name="--from")],
    selection: str = "train",
    name: str,
    clips_per_shard: int | None = None,
    workers: int = WORKERS,
) -> PackResult:
    """Pack a selection beside an earlier generation: shards whose clips are unchanged are named there, not copied.

    Args:
        dataset: Folder of the dataset.
        parent: Name of the earlier generation.
        selection: Name of the selection: all clips that the new generation is to have, old and new.
        name: Name of the new generation.
        clips_per_shard: Clips in a new shard; as many as in the earlier generation when not given.
        workers: Shards written at once.
    """
    with _shown("extend") as progress:
        report = pack_shards(
            Dataset(dataset),
            selection,
            generation=name,
            clips_per_shard=clips_per_shard,
            parent=parent,
            workers=workers,
            progress=progress,
        )
    return PackResult(report)


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """Generations that were re-read and found whole."""

    verifications: list[Verification]

    def as_dict(self) -> dict[str, Any]:
        """Generation -> shards and clips that were read."""
        return {v.root.name: {"shards": v.shards, "clips": v.clips, "problems": []} for v in self.verifications}

    def __str__(self) -> str:
        return "\n".join(
            f"{v.root.name}: {v.shards:,} shards, {v.clips:,} clips, every sum, key and sound is right"
            for v in self.verifications
        )


def verify(dataset: Path, /, *, generation: str | None = None, workers: int = 1) -> VerifyResult:
    """Read shards again: sums, keys, offsets, whether every sound decodes, and that nothing is there that was denied.

    Args:
        dataset: Folder of the dataset.
        generation: Name of the generation; all of them when not given.
        workers: Shards read at once.
    """
    opened = Dataset(dataset)
    shards = opened.root("shards")
    if workers < 1:
        raise ArgumentError(f"at least 1 worker reads, not {workers}")
    names = [plain_name(generation, "generation")] if generation else shards.names()
    names = [name for name in names if generation or shards.exists(f"{name}/{INDEX_FILE}")]
    if not names:
        raise ArgumentError(f"{opened.path} has no shards; make some with `foundsound pack`")
    denied = denied_ids(opened.path)
    verifications = []
    for name in names:
        with _shown("verify") as progress:
            verifications.append(verify_shards(shards / name, denied=denied, workers=workers, progress=progress))
    problems = [f"{v.root.name}/{problem}" for v in verifications for problem in v.problems]
    if problems:
        listed = "\n".join(problems[:20]) + (f"\n(and {len(problems) - 20} more)" if len(problems) > 20 else "")
        raise DatasetError(f"{len(problems)} problems; pack the selection into another generation:\n{listed}")
    return VerifyResult(verifications)
