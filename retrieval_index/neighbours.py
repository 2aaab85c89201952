"""The nearest clips of every caption, found once and stored: what a model that retrieves is trained and tested with.

    neighbours/<name>/neighbours.json          what was compared, sums; written last, and the only commit
    neighbours/<name>/neighbours-<sum>.parquet one row a caption
    neighbours/<name>/store-<sum>.parquet      the clips among which neighbours were looked for

Source: Yuan et al. 2023 (Re-AudioLDM), arXiv 2309.08051: the top 50 of every training and test sample, without the
sample itself; leaving out everything of the same video, and every clip outside of the training split, is ours. Captions
go by (clip_id, caption hash), so nothing slips when rows come or go. All are compared with all.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import ArgumentError, DatasetError
from curation.keys import file_sha256
from curation.schema import TEXTS, column, table
from curation.tables import TEMPORARY, publish, temporary_beside, write_bytes
from curation.text_arrays import text_hash
from retrieval_index.embedder import Vectors
from retrieval_index.manifest import faiss_module
from retrieval_index.structure import BATCH, unit

MANIFEST_FILE = "neighbours.json"
VERSION = 1

TOP = 50
"""Neighbours that are stored. Source: Re-AudioLDM, section 3.2; it uses at most the first ten."""

QUERIES_AT_ONCE = 4_096
"""Captions that are compared at a time, which bounds memory. Source: ours."""

SPARE_CLIPS = 6
"""Clips that are asked for beyond those wanted, since some are of the own video. Source: ours; lists of 10 s clips have
one to three of a video."""

NEIGHBOURS = table(
    "One row a caption: its nearest clips of the store, best first, without its own clip and video.",
    column("clip_id", pa.string(), "the clip that the caption is of"),
    column("caption_hash", pa.string(), "first 20 digits of the sha256 of the caption"),
    column("neighbours", TEXTS, "clip_ids"),
    column("captions", TEXTS, "hash of the neighbour's nearest caption; null where sounds were compared"),
    column("scores", pa.list_(pa.float32()), "cosines"),
)

STORE = table("One row a clip among which neighbours were looked for.", column("clip_id", pa.string(), "the clip"))


@dataclass(frozen=True, slots=True)
class Items:
    """Captions or windows of sounds, each of a clip of a video.

    Args:
        clip_ids: (N,) of each.
        videos: (N,) name of the video of each.
        hashes: (N,) caption hash of each; None for sounds.
        vectors_ND: Their vectors, any float type, any length.
    """

    clip_ids: npt.NDArray[np.str_]
    videos: npt.NDArray[np.str_]
    hashes: npt.NDArray[np.str_] | None
    vectors_ND: npt.NDArray[Any]

    def __post_init__(self) -> None:
        counts = {len(self.clip_ids), len(self.videos), len(self.vectors_ND)}
        if len(counts) != 1 or (self.hashes is not None and len(self.hashes) not in counts):
            raise ArgumentError(f"items of {sorted(counts)} clips, videos and vectors do not belong together")


class _Store:
    """Items by video and clip, so that what a query may not find lies together."""

    def __init__(self, items: Items) -> None:
        order = np.lexsort((items.clip_ids, items.videos))
        clip_ids, videos = items.clip_ids[order], items.videos[order]
        self.hashes = None if items.hashes is None else items.hashes[order]
        is_first = np.ones(len(order), bool)
        is_first[1:] = (clip_ids[1:] != clip_ids[:-1]) | (videos[1:] != videos[:-1])
        self.clip_of_item = np.cumsum(is_first) - 1
        self.clip_ids, self.videos = clip_ids[is_first], videos[is_first]
        self.items_a_clip = -(-len(order) // len(self.clip_ids))
        self.flat = faiss_module().IndexFlatIP(items.vectors_ND.shape[1])
        for begin in range(0, len(order), BATCH):
            self.flat.add(unit(items.vectors_ND[order[begin : begin + BATCH]]))


def find_neighbours(
    queries: Items, store: Items, k: int = TOP, advance: Callable[[int], object] = lambda _: None
) -> pa.Table:
    """The nearest clips of every query, each clip once, none of the query's own video.

    Args:
        queries: Captions.
        store: Captions or windows of the clips that may be found; at least one.
        k: How many.
        advance: Told how many queries were answered since the last call.

    Returns:
        Rows of `NEIGHBOURS`, in the order of the queries; equal scores by video and clip_id.

    Raises:
        ArgumentError: `k` is below 1, the store is empty, queries have no hashes, or a vector has no direction.
    """
    if k < 1 or not len(store.clip_ids) or queries.hashes is None:
        raise ArgumentError(f"neighbours need captions, a store and k of at least 1, not {k}")
    kept = _Store(store)
    parts = [NEIGHBOURS.empty_table()]
    for first in range(0, len(queries.clip_ids), QUERIES_AT_ONCE):
        rows = slice(first, first + QUERIES_AT_ONCE)
        queries_BD = unit(queries.vectors_ND[rows])
        query, item, score = _nearest(queries_BD, queries.videos[rows], kept, k)
        offsets = pa.array(np.searchsorted(query, np.arange(len(queries_BD) + 1)), pa.int32())
        found = pa.array(kept.clip_ids[kept.clip_of_item[item]], pa.string())
        parts.append(
            pa.table(
                {
                    "clip_id": pa.array(queries.clip_ids[rows], pa.string()),
                    "caption_hash": pa.array(queries.hashes[rows], pa.string()),
                    "neighbours": pa.ListArray.from_arrays(offsets, found),
                    "captions": pa.nulls(len(queries_BD), TEXTS)
                    if kept.hashes is None
                    else pa.ListArray.from_arrays(offsets, pa.array(kept.hashes[item], pa.string())),
                    "scores": pa.ListArray.from_arrays(offsets, pa.array(score, pa.float32())),
                }
            ).cast(NEIGHBOURS)
        )
        advance(len(queries_BD))
    return pa.concat_tables(parts)


def _nearest(queries_BD: Vectors, videos: npt.NDArray[np.str_], store: _Store, k: int) -> tuple[Any, Any, Any]:
    """(query, item, score) of the best `k` clips of each query, by query and then best first; of a clip its best item.

    More are asked for than wanted, since some are of the own video or of a clip that has a better item; where that is
    not enough, more again, up to all.
    """
    own_first, own_last = np.searchsorted(store.videos, videos), np.searchsorted(store.videos, videos, side="right")
    found: list[tuple[Any, Any, Any]] = []
    asked = np.arange(len(queries_BD))
    depth = min(store.flat.ntotal, (k + SPARE_CLIPS) * store.items_a_clip)
    while len(asked):
        scores, items = store.flat.search(queries_BD[asked], depth)
        order = np.lexsort((items, -scores))
        scores, items = (np.take_along_axis(values, order, axis=1).ravel() for values in (scores, items))
        query, clip = np.repeat(asked, depth), store.clip_of_item[items]
        other = np.flatnonzero((clip < own_first[query]) | (clip >= own_last[query]))
        _, firsts = np.unique(query[other] * len(store.clip_ids) + clip[other], return_index=True)
        places = other[np.sort(firsts)]
        whose = query[places]
        rank = np.arange(len(places)) - np.searchsorted(whose, whose)
        enough = np.isin(asked, whose[rank == k - 1]) | (depth == store.flat.ntotal)
        kept = places[(rank < k) & np.isin(whose, asked[enough])]
        found.append((query[kept], items[kept], scores[kept]))
        asked, depth = asked[~enough], min(store.flat.ntotal, 4 * depth)
    query, item, score = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(query, kind="stable")
    return query[order], item[order], score[order]


def write_neighbours(folder: Path, rows: pa.Table, store: Items, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write neighbours; those of the same name are there until the new ones are whole.

    Args:
        folder: `neighbours/<name>` of a dataset.
        rows: With the columns of `NEIGHBOURS`.
        store: Among which they were looked for.
        fields: What was compared; kept in the manifest.

    Returns:
        The manifest.
    """
    clips = pa.table({"clip_id": pa.array(np.unique(store.clip_ids), pa.string())}).cast(STORE)
    files = {}
    for part, content in (("neighbours", rows), ("store", clips)):
        temporary = temporary_beside(folder / f"{part}.parquet")
        pq.write_table(content, temporary, compression="zstd")
        sha256 = file_sha256(temporary)
        files[part] = {"name": f"{part}-{sha256[:16]}.parquet", "sha256": sha256}
        publish(temporary, folder / files[part]["name"])
    counts = {"captions": rows.num_rows, "store_clips": clips.num_rows}
    manifest = {"version": VERSION, **fields, **counts, "files": files}
    write_bytes(folder / MANIFEST_FILE, json.dumps(manifest, indent=2, ensure_ascii=False).encode())
    named = {MANIFEST_FILE, *(file["name"] for file in files.values())}
    for path in folder.iterdir():
        if path.name not in named and (path.suffix == ".parquet" or path.name.startswith(TEMPORARY)):
            path.unlink(missing_ok=True)
    return manifest


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One neighbour of a caption: its clip, the hash of its nearest caption (None for sounds), and the cosine."""

    clip_id: str
    caption_hash: str | None
    score: float


class Neighbours:
    """Stored neighbours, looked up by clip and caption.

    Args:
        folder: `neighbours/<name>` of a dataset.

    Raises:
        DatasetError: There are none, or a file was changed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.manifest = read_neighbours_manifest(folder)
        self._rows = read_neighbours(folder).combine_chunks()
        keys = zip(self._rows["clip_id"].to_pylist(), self._rows["caption_hash"].to_pylist(), strict=True)
        self._places = {key: place for place, key in enumerate(keys)}

    def __len__(self) -> int:
        """Number of captions."""
        return len(self._places)

    def of(self, clip_id: str, caption: str) -> list[Neighbour]:
        """The neighbours of a caption, best first.

        Raises:
            ArgumentError: It was not among those that were asked.
        """
        place = self._places.get((clip_id, text_hash(caption)))
        if place is None:
            raise ArgumentError(f"clip {clip_id!r} has no neighbours for the caption {caption!r}")
        row = self._rows.slice(place, 1).to_pylist()[0]
        hashes = row["captions"] or [None] * len(row["neighbours"])
        return [Neighbour(*one) for one in zip(row["neighbours"], hashes, row["scores"], strict=True)]

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """As `Neighbours(folder)`."""
        return cls(folder)


def read_neighbours(folder: str | Path) -> pa.Table:
    """The rows of stored neighbours, with the columns of `NEIGHBOURS`.

    Raises:
        DatasetError: There are none in the folder, or the file was changed.
    """
    file = read_neighbours_manifest(folder)["files"]["neighbours"]
    path = Path(folder) / file["name"]
    if not path.is_file() or file_sha256(path) != file["sha256"]:
        raise DatasetError(f"{path} is missing or was changed; run `foundsound neighbours` again")
    return pq.read_table(path)


def read_neighbours_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of stored neighbours.

    Raises:
        DatasetError: There are none in the folder, or another version wrote them.
    """
    file = Path(folder) / MANIFEST_FILE
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version = manifest["version"]
    except FileNotFoundError as error:
        raise DatasetError(f"{folder} holds no neighbours; find them with `foundsound neighbours DATASET`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{file} is damaged ({error!r}); run `foundsound neighbours` again") from error
    if version != VERSION:
        raise DatasetError(f"{file} has version {version!r}, this foundsound reads {VERSION}; run it again")
    return manifest
