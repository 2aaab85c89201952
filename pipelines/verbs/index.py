"""`foundsound index`: build a search index over a selection, or bring one up to date."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.blobs import BlobReader, BlobRef
from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError, LockedError
from curation.keys import canonical
from curation.lock import is_held, writer_lock
from curation.names import plain_name
from curation.selections.selection import read_report, read_rows
from curation.tables import Row
from pipelines.verbs.embed import DEFAULT_EMBEDDER
from pipelines.wiring.embedders import embed_stage, embedder_source, knows_words, load_embedder, of_identity
from retrieval_index import change
from retrieval_index.embed import INPUT_OF_PICTURE
from retrieval_index.embedder import Of
from retrieval_index.index import Index
from retrieval_index.manifest import GATHERED, PLACED, ROWS, check_embedder, checked_file, repair, sum_of_vectors
from retrieval_index.manifest import read_rows as read_index_rows
from retrieval_index.recall import QUERIES
from retrieval_index.structure import KINDS, Kind, choose_kind

REBUILD_SHARE = 0.3
"""An index of which more than this share changes is built anew. Source: ours; cells are learned from what was there."""

_ROWS = f"""
SELECT chosen.clip_id, coalesce(chosen.captions[1], '') AS caption, cut.audio_sha256, embed.blob, embed.offset_bytes,
    embed.windows, embed.dimension, embed.starts_s, embed.ends_s
FROM chosen
JOIN cut ON cut.key = chosen.clip_id AND cut.state = 'done'
LEFT JOIN embed ON embed.key = chosen.clip_id AND embed.state = 'done' AND embed.label = ?
    AND embed.input IN (cut.audio_sha256, {INPUT_OF_PICTURE})
ORDER BY chosen.clip_id"""


@dataclass(frozen=True, slots=True)
class IndexResult:
    """An index that was built or brought up to date.

    Args:
        folder: Where it is.
        clips: Clips in it.
        windows: Windows of theirs.
        seconds: Time it took, s.
        manifest: Its manifest: kind, effort, what was measured.
        added: Clips that came since; None where it was built anew.
        removed: Clips that went since.
    """

    folder: Path
    clips: int
    windows: int
    seconds: float
    manifest: dict[str, Any]
    added: int | None = None
    removed: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Folder, counts, time, kind and what was measured."""
        return {
            "folder": str(self.folder),
            "clips": self.clips,
            "windows": self.windows,
            "seconds": self.seconds,
            "kind": self.manifest["factory"],
            "measured": self.manifest["measured"],
            "added": self.added,
            "removed": self.removed,
        }

    def __str__(self) -> str:
        measured = self.manifest["measured"]
        recall = ", ".join(f"{value:.3f} of {name}" for name, value in measured["recall_at_10"].items())
        quality = "exact search" if self.manifest["kind"] == "flat" else f"measured recall@10 {recall}"
        changed = "" if self.added is None else f", {self.added:,} clips added, {self.removed:,} removed"
        return (
            f"{self.folder}: {self.windows:,} windows of {self.clips:,} clips, {self.manifest['factory']}: {quality}, "
            f"{measured['one_query_ms']:.2f} ms a query{changed}, {self.seconds:.1f} s"
        )


def _found(dataset: Dataset, selection: str, label: str) -> pa.Table:
    """A selection's clips with the places of their vectors."""
    chosen = read_rows(dataset, selection, kept_only=True).select(["clip_id", "captions"])
    found = dataset.sql(_ROWS, [label], chosen=chosen)
    if not found.num_rows:
        raise ArgumentError(f"selection {selection!r} keeps no clip, so there is nothing to index")
    missing = found["blob"].null_count
    if missing:
        raise ArgumentError(
            f"{missing} of {found.num_rows} clips of selection {selection!r} have no vectors {label!r}; "
            f"run `foundsound embed {dataset.path}` first"
        )
    return found


def _gathered_from(dataset: Dataset, found: pa.Table) -> str | None:
    """A sum that is another one when an index would gather anything else, without reading a vector.

    It is of the clips, their captions and sounds, the places of their vectors, and the size and time of the blobs that
    these lie in, which nothing but a takedown writes over. None where files have no such time, or one is missing.
    """
    root = dataset.root("vectors")
    if not root.is_local:
        return None
    digest = hashlib.sha256()
    for blob in sorted(found["blob"].unique().to_pylist()):
        try:
            state = (root.path / blob).stat()
        except FileNotFoundError:
            return None
        digest.update(f"{blob} {state.st_size} {state.st_mtime_ns}\n".encode())
    for column in found.combine_chunks().itercolumns():
        with pa.BufferOutputStream() as sink:
            with pa.ipc.new_stream(sink, pa.schema([("column", column.type)])) as writer:
                writer.write_table(pa.table({"column": column}))
            digest.update(sink.getvalue())
    return digest.hexdigest()


def _place(row: Row) -> BlobRef:
    return BlobRef(
        blob=row["blob"], offset_bytes=row["offset_bytes"], shape=(row["windows"], row["dimension"]), dtype="<f2"
    )


def _gather(dataset: Dataset, found: list[Row]) -> tuple[np.ndarray, pa.Table]:
    """The vectors of clips, and what each row is."""
    vectors = BlobReader(dataset.root("vectors")).gather([_place(row) for row in found])
    ends = np.cumsum([row["windows"] for row in found])
    pieces = np.split(vectors, ends[:-1])
    rows = [
        {
            **{name: row[name] for name in ("clip_id", "caption", "audio_sha256")},
            "start_s": start_s,
            "end_s": end_s,
            change.SUM: sum_,
        }
        for row, sum_ in zip(found, map(sum_of_vectors, pieces), strict=True)
        for start_s, end_s in zip(row["starts_s"], row["ends_s"], strict=True)
    ]
    schema = pa.schema([*ROWS, PLACED.field(change.SUM)])
    return vectors, pa.Table.from_pylist(rows, schema=schema)


def index(
    dataset: Path,
    /,
    *,
    selection: str = "train",
    name: str | None = None,
    embedder: str = DEFAULT_EMBEDDER,
    vectors: str = "clap",
    revision: str | None = None,
    kind: Kind | None = None,
    check: bool = False,
) -> IndexResult:
    """Build a search index over the clips of a selection; one that is there takes in only what changed.

    Args:
        dataset: Folder of the dataset.
        selection: Name of the selection.
        name: Name of the index; the selection's when not given.
        embedder: The CLAP that made the vectors; queries go through it.
        vectors: Name of the vectors, as given to `embed --name`.
        revision: Commit or tag on the Hub.
        kind: How vectors are held: flat (exact), hnsw or ivfpq; chosen by number and memory when not given.
        check: Change nothing; compare the whole index with its embedder, selection, files, sounds and vectors.
    """
    begun = time.perf_counter()
    if kind is not None and kind not in KINDS:
        raise ArgumentError(f"--kind {kind!r} is none of {', '.join(KINDS)}")
    opened = Dataset(dataset)
    called = plain_name(name or selection, "index")
    stage = embed_stage(opened, embedder, called=vectors, revision=revision)
    wanted = opened.folder("facts") / stage.NAME / stage.folder_name
    if opened.current_facts(stage.NAME).get(vectors) != wanted:
        raise ArgumentError(
            f"{opened.path} has no vectors {vectors!r} made with {embedder!r}; "
            f"run `foundsound embed {dataset} --embedder {embedder} --name {vectors}` first"
        )
    folder = opened.folder("indexes") / called
    source = {
        "dataset": str(opened.path),
        "selection": selection,
        "selection_sha256": read_report(opened, selection).sha256,
        "vectors": vectors,
        "embedder": embedder_source(embedder, opened.path, folder),
        "given": embedder,
        "revision": revision,
    }
    lock, what = opened.folder("locks") / f"index-{called}.lock", f"index {called!r} of {opened.path}"
    with _unwritten(lock, what) if check else writer_lock(lock, what):
        found = _found(opened, selection, vectors)
        source[GATHERED] = _gathered_from(opened, found)
        identity = dict(stage.embedder)
        changed = None
        if check:
            _check(opened, folder, found.to_pylist(), identity)
        elif (changed := _bring_up_to_date(opened, folder, found, identity, source, kind)) is None:
            _build(opened, folder, found.to_pylist(), identity, source, kind)
    manifest = Index.read_manifest(folder)
    return IndexResult(
        folder, manifest["clips"], manifest["windows"], time.perf_counter() - begun, manifest, *(changed or ())
    )


@contextmanager
def _unwritten(lock: Path, what: str) -> Iterator[None]:
    """Read what a writer's lock guards, where nothing may be written, as on a read-only disk.

    Raises:
        LockedError: It is being written now.
    """
    if is_held(lock):
        raise LockedError(f"{what} is being written now; look again when that is done")
    yield


def _build(dataset: Dataset, folder: Path, found: list[Row], identity: Row, source: Row, kind: Kind | None) -> None:
    windows = sum(row["windows"] for row in found)
    chosen = kind or choose_kind(windows, found[0]["dimension"], machine_memory_bytes())
    texts = None if chosen == "flat" else _captions(found, source["given"], source["revision"], of_identity(identity))
    gathered, rows = _gather(dataset, found)
    change.build(folder, gathered, rows, identity, source, kind=chosen, texts_BD=texts)


def _bring_up_to_date(
    dataset: Dataset, folder: Path, table: pa.Table, identity: Row, source: Row, kind: Kind | None
) -> tuple[int, int] | None:
    """Add and remove what the selection gained and lost; None where the index must be built anew.

    Returns:
        Clips that were added and removed.
    """
    try:
        manifest = Index.read_manifest(folder)
        is_same = source[GATHERED] is not None and manifest["source"].get(GATHERED) == source[GATHERED]
        before = _contents(folder, manifest, only_files=is_same)  # and --check's advice to run this mends its files
    except DatasetError:
        return None
    chosen = kind or choose_kind(
        pc.sum(table["windows"]).as_py(), table["dimension"][0].as_py(), machine_memory_bytes()
    )
    if manifest.get("wanted", manifest["kind"]) != chosen or canonical(manifest["embedder"]) != canonical(identity):
        return None
    if is_same:
        if manifest["source"] != source:
            change.describe(folder, {}, source)
        return 0, 0
    found = table.to_pylist()
    now = _now(dataset, found)
    gone = {clip for clip, bound in before.items() if now.get(clip) != bound}
    new = [row for row in found if row["clip_id"] not in before or row["clip_id"] in gone]
    if len(gone) + len(new) > REBUILD_SHARE * len(before):
        return None
    if gone:
        change.remove(folder, gone)
    if new:
        change.add(folder, *_gather(dataset, new))
    change.describe(folder, {row["clip_id"]: row["caption"] for row in found}, source)
    return len(new), len(gone)


def _contents(folder: Path, manifest: Row, *, only_files: bool = False) -> dict[str, tuple[str, str | None]]:
    """clip_id -> the sums of its sound and vectors with which it is in an index; nothing where only files are checked.

    Raises:
        DatasetError: A file is missing or was changed.
    """
    checked_file(folder, manifest, "vectors", wholly=True)
    rows = read_index_rows(folder, manifest)
    if only_files:
        return {}
    bound = zip(rows["audio_sha256"].to_pylist(), rows[change.SUM].to_pylist(), strict=True)
    return dict(zip(rows["clip_id"].to_pylist(), bound, strict=True))


def _now(dataset: Dataset, found: list[Row]) -> dict[str, tuple[str, str | None]]:
    """The same of the clips as they are in the dataset."""
    reader = BlobReader(dataset.root("vectors"))
    return {row["clip_id"]: (row["audio_sha256"], sum_of_vectors(reader.read(_place(row)))) for row in found}


def _check(dataset: Dataset, folder: Path, found: list[Row], identity: Row) -> None:
    """Refuse an index that is not wholly of what it says it was made of.

    Raises:
        DatasetError: Its embedder, its selection, a file, a sound or a vector is another; the text has the command that
            repairs it.
    """
    manifest = Index.read_manifest(folder)
    check_embedder(folder, manifest, identity)
    before, now = _contents(folder, manifest), _now(dataset, found)
    differing = sorted(clip for clip in before.keys() | now.keys() if before.get(clip) != now.get(clip))
    report = read_report(dataset, manifest["source"]["selection"])
    wrong = f"{len(differing)} clips differ in their sound or vectors, as {differing[0]}" if differing else ""
    if manifest["source"]["selection_sha256"] not in (report.sha256, *report.settings.get("before_forget", ())):
        wrong = f"selection {report.name!r} was made anew since"
    if wrong:
        raise DatasetError(f"{folder} is not of what the dataset holds: {wrong}; run `{repair(folder, manifest)}`")


def machine_memory_bytes() -> int:
    """Memory of this machine, bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _captions(found: list[Row], embedder: str, revision: str | None, of: Of) -> np.ndarray | None:
    """Vectors of some captions, evenly taken, by which the index is tuned; None where there are hardly any."""
    captions = sorted({row["caption"] for row in found if row["caption"].strip()})
    few = captions[:: max(1, len(captions) // QUERIES)][:QUERIES]
    if len(few) < 2 or not knows_words(embedder):
        return None
    return load_embedder(embedder, revision, of).embed_text(few)
