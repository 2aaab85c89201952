"""Packing: a selection becomes shards.

A pure function of the parent generation, the selection and the settings (`curation/shards/plan.py` says which clip goes
where), so the same input gives the same bytes on any machine, by any number of workers, after any number of kills. A
shard is written under a temporary name, synced and renamed; its `.arrow` says what was packed, so that the next run
takes finished shards over. `index.json` is written last and is the only commit. A finished generation is changed by
nothing but `forget`.

Every byte is hashed once: the sum of each sound and picture is compared with its name while it is copied, and the sum
of the tar is made of these. Nothing is read back: that is `verify`'s.
"""

import errno
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError, StoppedError
from curation.keys import file_sha256
from curation.lock import writer_lock
from curation.media import MediaStore
from curation.names import plain_name
from curation.selections.selection import SelectionReport, read_report
from curation.shards.generation import INDEX_FILE, GenerationIndex, ShardInfo
from curation.shards.plan import GenerationPlan, plan_generation
from curation.shards.write import ShardPlan, pack_shard
from curation.storage import Root
from curation.tables import remove_leftovers
from curation.takedowns.deny import denied_ids

CLIPS_PER_SHARD = 500
"""Source: ours; with 10 s of 48 kHz stereo FLAC and a small picture a clip has 1.5 to 2 MB, so a shard about 1 GB."""

WORKERS = 2
"""Shards written at once. Source: ours; threads, since hashing and copying leave the interpreter's lock alone."""

Progress = Callable[[int, int], None]
"""Called with (shards done, shards in all)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackReport:
    """What packing came to.

    Args:
        generation: Name of the generation.
        root: Where it is.
        index: What its `index.json` says.
        existed: It was there already, with the same plan, and nothing was done.
    """

    generation: str
    root: Root
    index: GenerationIndex
    existed: bool

    @property
    def folder(self) -> Path:
        """Its folder, where shards lie in one."""
        return self.root.path

    @property
    def taken_over(self) -> int:
        """Shards of other generations that it names."""
        return sum(shard.generation is not None for shard in self.index.shards)


def pack(
    dataset: Dataset,
    selection: str,
    *,
    generation: str | None = None,
    clips_per_shard: int | None = None,
    parent: str | None = None,
    workers: int = WORKERS,
    progress: Progress | None = None,
) -> PackReport:
    """Pack a selection into a new generation; run again after a kill, it goes on where it was.

    Args:
        dataset: The dataset.
        selection: Name of the selection.
        generation: Name of the generation; None: that of the selection.
        clips_per_shard: Clips a shard, >= 1; None: as many as the parent has, or `CLIPS_PER_SHARD`.
        parent: The generation that is extended: its shards whose clips are unchanged are named, not copied.
        workers: Shards written at once, >= 1; changes no byte.
        progress: Told after every shard.

    Raises:
        ArgumentError: The selection does not exist or keeps nothing, or the generation exists with another content.
        DatasetError: A media file is missing or damaged, or the parent is.
        LockedError: Another process packs this generation.
        StoppedError: The disk is full.
    """
    name = plain_name(generation or selection, "generation")
    shards = dataset.root("shards")
    report = read_report(dataset, selection)
    planned = _planned(report, shards, name, clips_per_shard, parent)
    if workers < 1:
        raise ArgumentError(f"at least 1 worker packs, not {workers}")
    root = shards / name
    with writer_lock(dataset.folder("locks") / f"pack-{name}.lock", f"generation {name!r} of {dataset.path}"):
        if shards.exists(f"{name}/{INDEX_FILE}"):
            return _existing(name, root, planned)
        if root.is_local:
            root.path.mkdir(parents=True, exist_ok=True)
            remove_leftovers(root.path, older_than_s=-1.0)  # under the lock, so all of them are a dead process's
        plan = plan_generation(
            report.path,
            clips_per_shard=planned.settings["clips_per_shard"],
            shards=shards,
            parent=parent,
            denied=denied_ids(dataset.path),
        )
        with stopped_when_full(root), plan as the_plan:
            index = replace(planned, shards=_write_all(the_plan, root, dataset.media, workers, progress))
            if file_sha256(report.path) != report.sha256:
                raise DatasetError(f"selection {selection!r} was replaced meanwhile; run the same command again")
            _remove_others(root, {shard.name for shard in index.shards})
            root.write(INDEX_FILE, index.to_bytes())
    return PackReport(generation=name, root=root, index=index, existed=False)


def _planned(
    report: SelectionReport, shards: Root, name: str, clips_per_shard: int | None, parent: str | None
) -> GenerationIndex:
    """The index that is to be, without its shards."""
    if clips_per_shard is not None and clips_per_shard < 1:
        raise ArgumentError(f"a shard holds at least 1 clip, not {clips_per_shard}")
    if report.kept_clips == 0:
        refused = ", ".join(f"{reason}: {count}" for reason, count in report.refused.items()) or "the dataset is empty"
        raise ArgumentError(f"selection {report.name!r} keeps no clip ({refused}); change its conditions")
    if parent is None:
        inherited = CLIPS_PER_SHARD
    elif parent == name:
        raise ArgumentError(f"a generation cannot extend itself; give {name!r} another name")
    elif not shards.exists(f"{plain_name(parent, 'generation')}/{INDEX_FILE}"):
        raise ArgumentError(f"there is no generation {parent!r} in {shards}; make it with `foundsound pack`")
    else:
        inherited = GenerationIndex.read(shards / parent).settings["clips_per_shard"]
    return GenerationIndex(
        selection=report.name,
        selection_sha256=report.sha256,
        settings={"clips_per_shard": inherited if clips_per_shard is None else clips_per_shard},
        parent=parent,
        shards=(),
    )


def _write_all(
    plan: GenerationPlan, root: Root, media: MediaStore, workers: int, progress: Progress | None
) -> tuple[ShardInfo, ...]:
    """Write what is to be written, so many shards at once; all shards of the generation, in order."""
    finished = {shard.name: shard.taken_over for shard in plan.shards if shard.taken_over}
    running: deque[tuple[str, Future[ShardInfo]]] = deque()
    stop = threading.Event()

    def take(at_most: int) -> None:
        while len(running) > at_most:
            name, future = running.popleft()
            finished[name] = future.result()
            if progress:
                progress(len(finished), len(plan.shards))

    with ThreadPoolExecutor(workers, thread_name_prefix="pack") as threads:
        try:
            for shard, rows in plan.written():
                one = ShardPlan(root=root, name=shard.name, media=media, clips=rows)
                running.append((shard.name, threads.submit(pack_shard, one, stop)))
                take(2 * workers - 1)
            take(0)
        finally:
            stop.set()  # after an error or Ctrl-C the others end at their next clip and leave nothing
            for _, future in running:
                future.cancel()
    return tuple(finished[shard.name] for shard in plan.shards)


def _existing(name: str, root: Root, planned: GenerationIndex) -> PackReport:
    """The report for a generation that is finished already.

    Raises:
        ArgumentError: It holds something else.
    """
    index = GenerationIndex.read(root)
    if index.plan != planned.plan:
        raise ArgumentError(
            f"generation {name!r} is finished, from selection {index.selection!r} {dict(index.settings)}, and is never "
            f"changed; give another --name for selection {planned.selection!r} {dict(planned.settings)}"
        )
    return PackReport(generation=name, root=root, index=index, existed=True)


def _remove_others(root: Root, names: set[str]) -> None:
    """Delete shards that an interrupted pack of something else left."""
    for file in root.names():
        stem, _, suffix = file.rpartition(".")
        if suffix in ("tar", "arrow") and stem not in names:
            root.remove(file)


@contextmanager
def stopped_when_full(place: object) -> Iterator[None]:
    """Turn the error of a full disk into a `StoppedError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoppedError(f"the disk of {place} is full; free some space and run the same command again") from error
