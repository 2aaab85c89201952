"""A search index on disk: vectors, what each row is, and the manifest that binds them to one embedder.

    indexes/<name>/vectors.faiss      FAISS index, inner product of unit vectors
    indexes/<name>/rows.parquet       row i: clip_id, start_s, end_s, caption, audio_sha256
    indexes/<name>/index.json         embedder identity, counts, sums; written last

An index that was made with another embedder, or whose parts do not fit together, is refused. Search is exact.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import ArgumentError, DatasetError
from curation.keys import canonical, file_sha256
from curation.schema import column, table
from curation.tables import TEMPORARY, sync_path, temporary_beside, write_bytes
from retrieval_index.embedder import Embedder, Vectors
from retrieval_index.windows import Wave, windows

MANIFEST_FILE, VECTORS_FILE, ROWS_FILE = "index.json", "vectors.faiss", "rows.parquet"
INDEX_VERSION = 1

ROWS = table(
    "One row a window, in the order of the vectors.",
    column("clip_id", pa.string(), "the clip"),
    column("start_s", pa.float64(), "start of the window in the clip, s"),
    column("end_s", pa.float64(), "end of the window in the clip, s"),
    column("caption", pa.string(), "the caption chosen for the clip, or empty"),
    column("audio_sha256", pa.string(), "sha256 of its .flac in the media store"),
)


def faiss_module() -> Any:
    """The installed FAISS.

    Raises:
        ArgumentError: There is none; the text has the install line.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ArgumentError(
            "searching needs FAISS: pip install 'foundsound[cpu]' (or [gpu] or [cuvs]; exactly one)"
        ) from error
    return faiss


@dataclass(frozen=True, slots=True)
class Hit:
    """A clip that was found, with the window that fits best.

    Args:
        clip_id: The clip.
        start_s: Start of the best window in it, s.
        end_s: End of that window, s.
        caption: The caption chosen for the clip, or empty.
        audio_sha256: Content of its sound file.
        score: Cosine, in [-1, 1].
    """

    clip_id: str
    start_s: float
    end_s: float
    caption: str
    audio_sha256: str
    score: float


class Index:
    """An index that is open for searching. Written by `Index.build`, opened by `Index.open`."""

    def __init__(
        self, folder: Path, embedder: Embedder, manifest: dict[str, Any], vectors: Any, rows: pa.Table
    ) -> None:
        self.folder, self.embedder, self.manifest = folder, embedder, manifest
        self._vectors, self._rows = vectors, rows.combine_chunks()
        clips = self._rows["clip_id"].combine_chunks().dictionary_encode()
        self._clip_of_row: npt.NDArray[np.int32] = clips.indices.to_numpy()
        self._windows_a_clip = -(-len(self) // len(clips.dictionary))

    def __len__(self) -> int:
        """Number of windows."""
        return int(self.manifest["rows"])

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(self.manifest["dimension"])

    @staticmethod
    def build(
        folder: Path, vectors: npt.NDArray[Any], rows: pa.Table, identity: dict[str, Any], source: dict[str, Any]
    ) -> Path:
        """Write an exact index; one of the same name is there until the new one takes its place.

        Not for two processes at once on one folder: the caller holds the lock.

        Args:
            folder: Where; `indexes/<name>` of a dataset.
            vectors: (N, D) vectors, N >= 1; brought to length 1 here, since rounding to float16 changes it.
            rows: N rows with the columns of `ROWS`.
            identity: The embedder's identity.
            source: What the rows are (dataset, selection) and how the embedder is loaded; kept in the manifest.

        Returns:
            The folder.

        Raises:
            ArgumentError: Nothing to index, counts that differ, or a vector that has no direction.
        """
        if vectors.ndim != 2 or len(vectors) != rows.num_rows or not len(vectors):
            raise ArgumentError(f"vectors of shape {vectors.shape} and {rows.num_rows} rows do not make an index")
        flat = faiss_module().IndexFlatIP(vectors.shape[1])
        flat.add(_unit(vectors, rows))
        for leftover in folder.parent.glob(f"{TEMPORARY}{'?' * 12}-{escape(folder.name)}"):
            shutil.rmtree(leftover, ignore_errors=True)
        writing = temporary_beside(folder)
        try:
            _write_parts(writing, flat, rows.select(ROWS.names).cast(ROWS), identity, source)
            _put_in_place(writing, folder)
        finally:
            shutil.rmtree(writing, ignore_errors=True)
        return folder

    @staticmethod
    def read_manifest(folder: str | Path) -> dict[str, Any]:
        """The manifest of an index.

        Raises:
            DatasetError: There is no whole index in the folder, or another version wrote it.
        """
        file = Path(folder) / MANIFEST_FILE
        if not file.is_file():
            raise DatasetError(f"{folder} holds no index; make one with `foundsound index DATASET`")
        try:
            manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            version = manifest["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{file} is damaged ({error!r}); run `foundsound index` again") from error
        if version != INDEX_VERSION:
            raise DatasetError(
                f"{folder} has index version {version!r}, this foundsound reads {INDEX_VERSION}; "
                "update foundsound or run `foundsound index` again"
            )
        return manifest

    @classmethod
    def open(cls, folder: str | Path, *, embedder: Embedder) -> Self:
        """Open an index for searching.

        Args:
            folder: `indexes/<name>` of a dataset.
            embedder: The embedder whose vectors are in it; queries go through it.

        Raises:
            DatasetError: Another embedder made it, its parts differ in number, or a file was changed.
        """
        place = Path(folder)
        manifest = cls.read_manifest(place)
        _check_embedder(place, manifest["embedder"], embedder.identity())
        for name in (VECTORS_FILE, ROWS_FILE):
            if not (place / name).is_file() or file_sha256(place / name) != manifest["sha256"][name]:
                raise DatasetError(f"{place / name} is missing or was changed; run `foundsound index` again")
        vectors = faiss_module().read_index(str(place / VECTORS_FILE))
        rows = pq.read_table(place / ROWS_FILE)
        if not vectors.ntotal == rows.num_rows == manifest["rows"]:
            raise DatasetError(
                f"{place} has {vectors.ntotal} vectors, {rows.num_rows} rows and {manifest['rows']} in its manifest; "
                "run `foundsound index` again"
            )
        return cls(place, embedder, manifest, vectors, rows)

    def search(self, queries: Vectors, k: int = 10) -> list[list[Hit]]:
        """The best clips for each query, each clip once, with its best window.

        Args:
            queries: (B, D) unit vectors.
            k: Clips wanted, at least 1.

        Returns:
            For each query at most `k` hits, best first; windows of equal score in the order of the rows.

        Raises:
            ArgumentError: `k` or the shape is wrong, or a query is not finite.
        """
        if k < 1:
            raise ArgumentError(f"k must be at least 1, not {k}")
        if queries.ndim != 2 or queries.shape[1] != self.dimension or not np.isfinite(queries).all():
            raise ArgumentError(f"queries of shape {queries.shape} must be finite and of shape (n, {self.dimension})")
        answers: list[list[Hit]] = [[] for _ in queries]
        unanswered = np.arange(len(queries))
        depth = min(len(self), k * self._windows_a_clip)
        while len(unanswered):
            scores, found = self._vectors.search(np.ascontiguousarray(queries[unanswered], np.float32), depth)
            for query, query_scores, rows in zip(unanswered, scores, found, strict=True):
                answers[query] = self._hits(np.clip(query_scores, -1.0, 1.0), rows, k)
            if depth == len(self):
                break
            # Several windows of one clip took the places of others: look deeper, for those queries only.
            unanswered = np.array([query for query in unanswered if len(answers[query]) < k], dtype=np.intp)
            depth = min(len(self), 4 * depth)
        return answers

    def _hits(self, scores: Vectors, rows: npt.NDArray[np.int64], k: int) -> list[Hit]:
        """The first `k` clips among the rows found for one query, each with its best row."""
        order = np.lexsort((rows, -scores))
        _, firsts = np.unique(self._clip_of_row[rows[order]], return_index=True)
        best = order[np.sort(firsts)[:k]]
        described = self._rows.take(rows[best]).to_pylist()
        return [Hit(**row, score=score) for row, score in zip(described, scores[best].tolist(), strict=True)]

    def query_text(self, texts: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """For each text the clips whose sound fits it best.

        Raises:
            ArgumentError: There is no text, or an empty one.
        """
        if not texts or not all(text.strip() for text in texts):
            raise ArgumentError("a query is empty; give some words")
        return self.search(self.embedder.embed_text(list(texts)), k)

    def query_sound(self, wave_T: Wave, k: int = 10) -> list[Hit]:
        """The clips that sound most like some part of a sound.

        Args:
            wave_T: Mono at the embedder's rate, float32 in [-1, 1], of any length; each of its windows is asked.
            k: Clips wanted, at least 1.

        Raises:
            ArgumentError: The sound has no samples, or some that are not finite.
        """
        if not len(wave_T) or not np.isfinite(wave_T).all():
            raise ArgumentError("the sound of the query has no samples, or some that are not finite numbers")
        pieces = windows(wave_T, self.embedder.sample_rate_hz, self.embedder.window_s)
        queries = np.concatenate([self.embedder.embed_sound(piece_T[None]) for _, piece_T in pieces])
        best: dict[str, Hit] = {}
        for hit in sorted((hit for hits in self.search(queries, k) for hit in hits), key=lambda hit: -hit.score):
            best.setdefault(hit.clip_id, hit)
        return list(best.values())[:k]


def _unit(vectors: npt.NDArray[Any], rows: pa.Table) -> Vectors:
    """The vectors with length 1, float32."""
    unit_ND = np.array(vectors, dtype=np.float32, order="C")
    norm_N1 = np.linalg.norm(unit_ND, axis=1, keepdims=True)
    wrong = np.flatnonzero(~(np.isfinite(norm_N1[:, 0]) & (norm_N1[:, 0] > 0)))
    if len(wrong):
        first = rows.slice(int(wrong[0]), 1).to_pylist()[0]
        raise ArgumentError(
            f"{len(wrong)} vectors are zero or not finite, the first is of clip {first['clip_id']} at "
            f"{first['start_s']:g} s; embed the clips again"
        )
    unit_ND /= norm_N1
    return unit_ND


def _write_parts(folder: Path, flat: Any, rows: pa.Table, identity: dict[str, Any], source: dict[str, Any]) -> None:
    """Write the three files of an index into a new folder, the manifest last."""
    folder.mkdir()
    faiss_module().write_index(flat, str(folder / VECTORS_FILE))
    pq.write_table(rows, folder / ROWS_FILE, compression="zstd")
    for name in (VECTORS_FILE, ROWS_FILE):
        sync_path(folder / name)
    manifest = {
        "version": INDEX_VERSION,
        "embedder": identity,
        "kind": "Flat, inner product",
        "rows": rows.num_rows,
        "dimension": flat.d,
        "sha256": {name: file_sha256(folder / name) for name in (VECTORS_FILE, ROWS_FILE)},
        "source": source,
    }
    write_bytes(folder / MANIFEST_FILE, json.dumps(manifest, indent=2, ensure_ascii=False).encode())


def _put_in_place(writing: Path, folder: Path) -> None:
    """Rename the finished folder to its name; one that has the name is moved aside first and deleted after."""
    aside = temporary_beside(folder)
    if folder.exists():
        folder.rename(aside)
    writing.rename(folder)
    sync_path(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _check_embedder(place: Path, made_with: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse an embedder that did not make the index, and say in what it differs."""
    if canonical(made_with) == canonical(given):
        return
    differing = ", ".join(
        f"{key}: {made_with.get(key)!r} there, {given.get(key)!r} here"
        for key in sorted({*made_with, *given})
        if made_with.get(key) != given.get(key)
    )
    raise DatasetError(
        f"{place} was made with another embedder ({differing}); open it with that one, or run `foundsound index` again"
    )
