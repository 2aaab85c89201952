"""Making an index and changing it in place: add, remove, compact. Nothing that was learned is learned again.

Each writes new files beside the old and then swaps the manifest (`manifest.py`). Recall is measured anew after every
change, and the effort of a search grows where it has to. Not for two processes at once on one index: the caller holds
the lock.
"""

import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curation.errors import ArgumentError, DatasetError
from retrieval_index.embedder import Vectors
from retrieval_index.gpu import graph_on_gpu, has_cagra
from retrieval_index.manifest import (
    GATHERED,
    MANIFEST_FILE,
    PLACED,
    ROWS,
    checked_file,
    clean,
    commit,
    faiss_module,
    read_manifest,
    read_rows,
    repair,
)
from retrieval_index.recall import QUERIES, Questions, Tuned, latency, tune
from retrieval_index.structure import BATCH, KINDS, Effort, Kind, Structure, choose_kind, unit, wrong_rows

HELD_BACK_SHARE = 0.1
"""At most so many clips are kept back while an index is tuned. Source: ours."""

COMPACT_SHARE = 0.2
"""From this share of empty slots on, removing compacts as well. Source: ours."""

NO_LIMIT = 1 << 62
"""Memory of a machine of which nothing is known, bytes."""

SUM = "vectors_sha256"

Array = npt.NDArray[Any]


def build(
    folder: Path,
    vectors: Array,
    rows: pa.Table,
    identity: Mapping[str, Any],
    source: Mapping[str, Any],
    *,
    kind: Kind | None = None,
    memory_limit_bytes: int = NO_LIMIT,
    texts_BD: Vectors | None = None,
) -> Path:
    """Write an index; one of the same name answers until the new one takes its place.

    Args:
        folder: Where; `indexes/<name>` of a dataset.
        vectors: (N, D) vectors, N >= 1, of any float type.
        rows: N rows with the columns of `ROWS`.
        identity: The embedder's identity.
        source: What the rows are (dataset, selection) and how the embedder is loaded; kept in the manifest.
        kind: How vectors are held; None chooses by number and memory.
        memory_limit_bytes: Memory of the machine, bytes.
        texts_BD: Unit vectors of captions, at least two, by which recall is measured beside that of sounds.

    Returns:
        The folder.

    Raises:
        ArgumentError: Nothing to index, counts that differ, an unknown kind, or a vector that has no direction.
    """
    if vectors.ndim != 2 or len(vectors) != rows.num_rows or not len(vectors):
        raise ArgumentError(f"vectors of shape {vectors.shape} and {rows.num_rows} rows do not make an index")
    if kind is not None and kind not in KINDS:
        raise ArgumentError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    _check_directions(vectors, rows)
    count, dimension = vectors.shape
    wanted = kind or choose_kind(count, dimension, memory_limit_bytes)
    fields = {"embedder": dict(identity), "dimension": dimension, "source": dict(source)}
    if wanted != "flat":
        structure, order, tuned = _tuned(wanted, vectors, rows, texts_BD)
        if tuned.is_enough:  # otherwise it is exact, and `wanted` in the manifest says what it was to be
            fields |= _described(structure, tuned.effort, {"of": "windows kept back", **tuned.measured})
            commit(folder, fields, placed(rows.take(pa.array(order)), 0), structure.index)
            return folder
    structure = Structure.empty("flat", count, unit(vectors[:1]))
    for unit_ND in _units(vectors, np.arange(count)):
        structure.add(unit_ND)
    commit(folder, fields | {"wanted": wanted} | _exact(structure), placed(rows, 0), structure.index)
    return folder


def add(folder: Path, vectors: Array, rows: pa.Table, source: Mapping[str, Any] | None = None) -> None:
    """Add windows of clips that are not in the index.

    Args:
        folder: The index.
        vectors: (n, D) vectors.
        rows: n rows with the columns of `ROWS`.
        source: Fields of the manifest's `source` that change.

    Raises:
        ArgumentError: A clip is in it already, counts differ, or a vector has no direction.
        DatasetError: There is no whole index.
    """
    manifest, structure, before = _load(folder)
    if vectors.ndim != 2 or vectors.shape[1] != structure.stored.d or len(vectors) != rows.num_rows:
        raise ArgumentError(f"vectors of shape {vectors.shape} and {rows.num_rows} rows do not fit the index {folder}")
    _check_directions(vectors, rows)
    coming = rows["clip_id"].cast(pa.large_string())
    known = rows.filter(pc.is_in(coming, value_set=before["clip_id"].combine_chunks()))
    if known.num_rows:
        raise ArgumentError(f"clip {known['clip_id'][0]} is in the index {folder} already; remove it first")
    first = structure.slots
    for unit_ND in _units(vectors, np.arange(len(vectors))):
        structure.add(unit_ND)
    _commit_changed(folder, manifest, structure, pa.concat_tables([before, placed(rows, first)]), source)


def remove(folder: Path, clip_ids: Collection[str], source: Mapping[str, Any] | None = None) -> int:
    """Drop clips from an index, their vectors included; an index of which nothing is left is deleted.

    Args:
        folder: The index.
        clip_ids: Clips; those that are not in it are passed over.
        source: Fields of the manifest's `source` that change.

    Returns:
        Number of windows that were dropped.

    Raises:
        DatasetError: There is no whole index.
    """
    manifest, structure, before = _load(folder)
    goes = pc.is_in(before["clip_id"], value_set=pa.array(sorted(clip_ids), pa.large_string()))
    left, dropped = before.filter(pc.invert(goes)), before.filter(goes)
    if not dropped.num_rows:
        clean(folder)  # a kill may have left files that still have them
        if source:
            _commit_rows(folder, manifest, before, source)
        return 0
    if not left.num_rows:
        delete(folder)
        return int(dropped.num_rows)
    if structure.kind == "flat" or left.num_rows < (1 - COMPACT_SHARE) * structure.slots:
        structure, left = _compacted(structure, left)
    else:
        structure.erase(dropped["slot"].to_numpy())
    _commit_changed(folder, manifest, structure, left, source)
    return int(dropped.num_rows)


def drop(folder: Path, clip_ids: Collection[str]) -> bool:
    """Drop clips for a takedown: their slots too, and what cannot be read any more is deleted as a whole.

    Running it again after a kill ends what was begun.

    Returns:
        Whether there still is an index; otherwise it has to be made again.
    """
    try:
        remove(folder, clip_ids)
        if folder.exists():  # it goes with its last clip
            compact(folder)
    except DatasetError:
        delete(folder)
    return folder.exists()


def delete(folder: Path) -> None:
    """Delete an index, its manifest first: what is left after a kill is no index."""
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder)


def compact(folder: Path) -> int:
    """Give the slots of removed windows back; the number of slots that went.

    Raises:
        DatasetError: There is no whole index.
    """
    manifest, structure, rows = _load(folder)
    empty = int(structure.slots - rows.num_rows)
    if empty:
        structure, rows = _compacted(structure, rows)
        _commit_changed(folder, manifest, structure, rows, None)
    else:
        clean(folder)  # of what a killed compaction left
    return empty


def describe(folder: Path, captions: Mapping[str, str], source: Mapping[str, Any] | None = None) -> None:
    """Write captions anew; vectors stay as they are.

    Args:
        folder: The index.
        captions: clip_id -> caption; clips that are not named keep theirs.
        source: Fields of the manifest's `source` that change.
    """
    manifest = read_manifest(folder)
    rows = read_rows(folder, manifest).select(PLACED.names)
    pairs = zip(rows["clip_id"].to_pylist(), rows["caption"].to_pylist(), strict=True)
    texts = pa.array([captions.get(clip, text) for clip, text in pairs], pa.large_string())
    at = rows.schema.get_field_index("caption")
    _commit_rows(folder, manifest, rows.set_column(at, PLACED.field("caption"), texts), source or {})


def placed(rows: pa.Table, first_slot: int) -> pa.Table:
    """Rows with the columns of `PLACED`: slots in their order, windows of a clip numbered by their start.

    Rows may bring `vectors_sha256`; otherwise it is null.
    """
    bare = rows.select(ROWS.names).cast(ROWS).combine_chunks()
    clips = bare["clip_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort((bare["start_s"].to_numpy(), clips))
    firsts = np.flatnonzero(np.diff(clips[order], prepend=-1))
    window = np.empty(len(order), np.int32)
    window[order] = np.arange(len(order)) - np.repeat(firsts, np.diff(firsts, append=len(order)))
    slots = np.arange(first_slot, first_slot + bare.num_rows)
    sums = rows[SUM] if SUM in rows.column_names else pa.nulls(rows.num_rows, pa.large_string())
    return (
        bare.append_column(PLACED.field("window"), pa.array(window))
        .append_column(PLACED.field("slot"), pa.array(slots, pa.int64()))
        .append_column(PLACED.field(SUM), sums)
        .cast(PLACED)
    )


def _load(folder: Path) -> tuple[dict[str, Any], Structure, pa.Table]:
    """An index in memory, to be changed."""
    manifest = read_manifest(folder)
    file = checked_file(folder, manifest, "vectors", wholly=True)
    structure = Structure(manifest["kind"], faiss_module().read_index(str(file)))
    rows = read_rows(folder, manifest).select(PLACED.names)
    if structure.slots != manifest["slots"] or rows.num_rows != manifest["windows"]:
        raise DatasetError(f"{folder} has parts that do not fit together; run `{repair(folder, manifest)}` again")
    return manifest, structure, rows


def _commit_rows(folder: Path, manifest: Mapping[str, Any], rows: pa.Table, source: Mapping[str, Any]) -> None:
    commit(folder, {**manifest, "source": {**manifest["source"], **source}}, rows, None)


def _commit_changed(
    folder: Path, manifest: Mapping[str, Any], structure: Structure, rows: pa.Table, source: Mapping[str, Any] | None
) -> None:
    """Measure a changed index and make it count."""
    kept = {name: value for name, value in manifest["source"].items() if name != GATHERED}
    fields = {**manifest, "source": {**kept, **(source or {})}}
    if structure.kind == "flat":
        fields |= _exact(structure)
    else:
        allowed = live_slots(structure.slots, rows)
        asked = _own_questions(structure, rows, allowed)
        tuned = tune(structure, {"sounds": asked}, allowed, begin=Effort(**manifest["effort"]))
        kind = "windows of the index, their own clip left out"
        fields |= _described(structure, tuned.effort, {"of": kind, **tuned.measured})
    commit(folder, fields, rows, structure.index)


def live_slots(slots: int, rows: pa.Table) -> npt.NDArray[np.bool_] | None:
    """(slots,) whether a slot holds a vector; None when all do."""
    if rows.num_rows == slots:
        return None
    live = np.zeros(slots, bool)
    live[rows["slot"].to_numpy()] = True
    return live


def _compacted(structure: Structure, rows: pa.Table) -> tuple[Structure, pa.Table]:
    fresh = structure.compacted(rows["slot"].to_numpy())
    at = rows.schema.get_field_index("slot")
    return fresh, rows.set_column(at, PLACED.field("slot"), pa.array(np.arange(rows.num_rows), pa.int64()))


def _tuned(
    kind: Kind, vectors: Array, rows: pa.Table, texts_BD: Vectors | None
) -> tuple[Structure, npt.NDArray[np.int64], Tuned]:
    """A structure of all vectors that was tuned while some were kept back; the row of each slot; what was measured."""
    count = len(vectors)
    clips = rows["clip_id"].combine_chunks().dictionary_encode()
    number = clips.indices.to_numpy()
    draw = np.random.default_rng([count, len(clips.dictionary)])
    few = max(2, min(QUERIES, int(HELD_BACK_SHARE * len(clips.dictionary))))
    chosen = np.sort(draw.choice(len(clips.dictionary), min(few, len(clips.dictionary)), replace=False))
    is_back = np.isin(number, chosen)
    inside, back = np.flatnonzero(~is_back), np.flatnonzero(is_back)
    if len(inside) < 2:
        raise ArgumentError(
            f"{count} windows of {len(clips.dictionary)} clips are too few for kind {kind!r}; take flat"
        )
    learned = min(len(inside), Structure.samples_wanted(kind, count))
    sample = np.sort(draw.choice(inside, learned, replace=False))
    if kind == "hnsw" and has_cagra():
        structure = graph_on_gpu(unit(vectors[inside]))
    else:
        structure = Structure.empty(kind, count, unit(vectors[sample]))
        for unit_ND in _units(vectors, inside):
            structure.add(unit_ND)
    _, first_of_clip = np.unique(number[back], return_index=True)
    asked = {"sounds": Questions.of(structure, unit(vectors[back[first_of_clip]]), None)}
    if texts_BD is not None and len(texts_BD) > 1:
        asked["texts"] = Questions.of(structure, texts_BD, None)
    tuned = tune(structure, asked)
    for unit_ND in _units(vectors, back):
        structure.add(unit_ND)
    return structure, np.concatenate([inside, back]), tuned


def _own_questions(structure: Structure, rows: pa.Table, allowed: npt.NDArray[np.bool_] | None) -> Questions:
    """Windows of clips that are in the index as queries, one a clip, their own clip hidden."""
    clips = rows["clip_id"].combine_chunks().dictionary_encode()
    number, slots = clips.indices.to_numpy(), rows["slot"].to_numpy()
    draw = np.random.default_rng([rows.num_rows, len(clips.dictionary)])
    chosen = draw.choice(len(clips.dictionary), min(QUERIES, len(clips.dictionary)), replace=False)
    own = [slots[number == clip] for clip in chosen] if len(chosen) < 2 else _slots_of(number, slots, chosen)
    hidden = np.full((len(own), max(map(len, own))), -1, np.int64)
    for place, mine in zip(hidden, own, strict=True):
        place[: len(mine)] = mine
    return Questions.of(structure, structure.vectors(hidden[:, 0]), allowed, hidden)


def _slots_of(number: Array, slots: Array, chosen: Array) -> list[Array]:
    """The slots of each chosen clip."""
    order = np.argsort(number, kind="stable")
    begins = np.searchsorted(number[order], chosen)
    ends = np.searchsorted(number[order], chosen, side="right")
    return [slots[order[begin:end]] for begin, end in zip(begins, ends, strict=True)]


def _described(structure: Structure, effort: Effort, measured: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": structure.kind,
        "factory": structure.factory,
        "slots": structure.slots,
        "effort": asdict(effort),
        "measured": dict(measured),
    }


def _exact(structure: Structure) -> dict[str, Any]:
    """Fields of an index that compares with everything."""
    few = structure.vectors(np.arange(min(16, structure.slots)))
    measured = {"of": "exact", "recall_at_10": {"sounds": 1.0}, **latency(structure, few, Effort())}
    return _described(structure, Effort(), measured)


def _units(vectors: Array, order: npt.NDArray[np.int64]) -> Iterator[Vectors]:
    """Vectors in this order with length 1, some at a time."""
    for begin in range(0, len(order), BATCH):
        yield unit(vectors[order[begin : begin + BATCH]])


def _check_directions(vectors: Array, rows: pa.Table) -> None:
    """Refuse vectors that are zero or not finite, before anything is written."""
    found: list[int] = []
    for begin in range(0, len(vectors), BATCH):
        norm_N = np.linalg.norm(np.asarray(vectors[begin : begin + BATCH], np.float32), axis=1)
        found.extend((begin + wrong_rows(norm_N)).tolist())
    if found:
        first = rows.slice(found[0], 1).to_pylist()[0]
        raise ArgumentError(
            f"{len(found)} vectors are zero or not finite, the first is of clip {first['clip_id']} at "
            f"{first['start_s']:g} s; embed the clips again"
        )
