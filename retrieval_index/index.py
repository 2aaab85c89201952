"""A search index that is open: clips that fit texts, sounds, other clips, or sums and differences of those.

What lies on the disk is in `manifest.py`, how vectors are held in `structure.py`, how an index is made and changed in
`change.py`. An index that another embedder made, or whose parts do not fit together, is refused.
"""

import gc
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby, pairwise, repeat
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curation.errors import ArgumentError, DatasetError
from retrieval_index import change
from retrieval_index.embedder import Embedder, Vectors
from retrieval_index.gpu import exact_on_gpu, fits
from retrieval_index.manifest import (
    NUMBER,
    check_embedder,
    checked_file,
    faiss_module,
    read_manifest,
    read_rows,
    repair,
)
from retrieval_index.structure import EXACT_WINDOWS, Effort, Structure
from retrieval_index.windows import Wave, windows

DEEPEST = 4_096
"""A search that wants more windows than this compares with everything. Source: ours; a graph or cells would look at
most of them anyway."""

SOUNDS_AT_ONCE = 8
"""Windows of a query that go through the network together. Source: ours; ten seconds each fill two cores long before
that."""

KEPT_FILTERS = 4
"""Of the last so many collections of allowed clips the slots are kept, a byte a slot each. Source: ours."""

GPU_DEPTH = 2_048
"""The most that FAISS finds at once on a GPU."""


class _Allowed(NamedTuple):
    """Clips that may be found as slots that may be, and how many of those there are."""

    among: Collection[str]
    slots: npt.NDArray[np.bool_]
    windows: int


class Hit(NamedTuple):
    """A clip that was found, with the window that fits best. A tuple, since thousands are made a second.

    Args:
        clip_id: The clip.
        start_s: Start of the best window in it, s.
        end_s: End of that window, s.
        caption: The caption chosen for the clip, or empty.
        audio_sha256: Content of its sound file.
        score: Cosine, in [-1, 1].
        window: Number of that window in the clip, from 0.
    """

    clip_id: str
    start_s: float
    end_s: float
    caption: str
    audio_sha256: str
    score: float
    window: int = 0


NO_CLIP = -1
"""Number of the clip of an empty slot."""

_TEXTS = ("clip_id", "caption", "audio_sha256")
_NUMBERS = np.dtype([("start_s", np.float64), ("end_s", np.float64), ("window", np.int32)])
_WHOLE = f"V{_NUMBERS.itemsize}"


class Index:
    """An index that is open for searching. Written by `Index.build`, opened by `Index.open`."""

    build = staticmethod(change.build)
    add = staticmethod(change.add)
    remove = staticmethod(change.remove)
    compact = staticmethod(change.compact)
    read_manifest = staticmethod(read_manifest)

    def __init__(
        self, folder: Path, embedder: Embedder, manifest: dict[str, Any], structure: Structure, rows: pa.Table
    ) -> None:
        self.folder, self.embedder, self.manifest = folder, embedder, manifest
        self._structure, self._effort, self._on_gpu = structure, Effort(**manifest["effort"]), None
        # What a search costs beside FAISS is fetching a few rows from all over memory: so no tables here.
        self._texts = {name: _in_one_piece(rows[name]) for name in _TEXTS}
        self._numbers = np.empty(rows.num_rows, _NUMBERS)
        for name in ("start_s", "end_s", "window"):
            self._numbers[name] = rows[name].to_numpy()
        self._slots, self._clip_of_row = rows["slot"].to_numpy(), rows[NUMBER.name].to_numpy()
        self._row_of_slot: npt.NDArray[np.int64] | None = None  # equal, where no slot is empty
        self._clip_of_slot: npt.NDArray[np.int32] = self._clip_of_row
        if len(self._slots) < structure.slots:
            self._row_of_slot = np.full(structure.slots, -1, np.int64)
            self._row_of_slot[self._slots] = np.arange(len(self._slots))
            self._clip_of_slot = np.full(structure.slots, NO_CLIP, np.int32)
            self._clip_of_slot[self._slots] = self._clip_of_row
        self._live = change.live_slots(structure.slots, rows)
        self._kept: deque[_Allowed] = deque(maxlen=KEPT_FILTERS)
        self._windows_a_clip = -(-len(self) // int(manifest["clips"]))
        self._has_one_window_each = len(self) == manifest["clips"]

    def __len__(self) -> int:
        """Number of windows."""
        return int(self.manifest["windows"])

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(self.manifest["dimension"])

    @classmethod
    def open(cls, folder: str | Path, *, embedder: Embedder, wholly: bool = False, gpu: bool = True) -> Self:
        """Open an index for searching; its vectors are mapped into memory, not read.

        Args:
            folder: `indexes/<name>` of a dataset.
            embedder: The embedder whose vectors are in it; queries go through it.
            wholly: Compare the sums of files above `manifest.CHECKED_BYTES` too.
            gpu: Hold the vectors on a GPU and search exactly there, where FAISS has one and they fit.

        Raises:
            DatasetError: Another embedder made it, its parts differ in number, or a file was changed.
        """
        place = Path(folder)
        manifest = read_manifest(place)
        check_embedder(place, manifest, embedder.identity())
        try:
            opened = cls._of_files(place, embedder, manifest, wholly)
        except DatasetError:
            newer = read_manifest(place)  # a change may have replaced the files since the manifest was read
            if newer["files"] == manifest["files"]:
                raise
            opened = cls._of_files(place, embedder, newer, wholly)
        if gpu and fits(opened._structure):
            opened._on_gpu = exact_on_gpu(opened._structure)
        return opened

    @classmethod
    def _of_files(cls, place: Path, embedder: Embedder, manifest: dict[str, Any], wholly: bool) -> Self:
        faiss = faiss_module()
        file = checked_file(place, manifest, "vectors", wholly=wholly)
        rows = read_rows(place, manifest)
        structure = Structure(manifest["kind"], faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC))
        if structure.slots != manifest["slots"] or rows.num_rows != manifest["windows"]:
            raise DatasetError(
                f"{place} has {structure.slots} vectors, {rows.num_rows} rows and {manifest['windows']} in its "
                f"manifest; run `{repair(place, manifest)}` again"
            )
        return cls(place, embedder, manifest, structure, rows)

    def search(self, queries: Vectors, k: int = 10, *, among: Collection[str] | None = None) -> list[list[Hit]]:
        """The best clips for each query, each clip once, with its best window.

        Args:
            queries: (B, D) unit vectors.
            k: Clips wanted, at least 1.
            among: clip_ids that may be found; None: all. Up to `EXACT_WINDOWS` windows of theirs are searched exactly.
                A tuple or frozenset that was asked for a moment ago is known again, and quicker by far.

        Returns:
            For each query at most `k` hits, best first; windows of equal score in the order of the rows.

        Raises:
            ArgumentError: `k` or the shape is wrong, or a query is not finite.
        """
        if k < 1:
            raise ArgumentError(f"k must be at least 1, not {k}")
        if queries.ndim != 2 or queries.shape[1] != self.dimension or not np.isfinite(queries).all():
            raise ArgumentError(f"queries of shape {queries.shape} must be finite and of shape (n, {self.dimension})")
        allowed, count, effort = self._allowed(among)
        answers: list[list[Hit]] = [[] for _ in queries]
        unanswered = np.arange(len(queries)) if count else np.arange(0)
        depth = min(count, k * self._windows_a_clip)
        while len(unanswered):
            asked = np.ascontiguousarray(queries[unanswered], np.float32)
            if self._on_gpu is not None and allowed is None and depth <= GPU_DEPTH:
                scores, slots = self._on_gpu.search(asked, depth)
            elif depth > DEEPEST or (among is not None and count <= EXACT_WINDOWS):
                scores, slots = self._structure.exact(asked, depth, allowed)
            else:
                scores, slots = self._structure.search(asked, depth, effort, allowed)
            for query, hits in zip(unanswered, self._hits(np.clip(scores, -1.0, 1.0), slots, k), strict=True):
                answers[query] = hits
            if depth == count:
                break
            # Several windows of one clip took the places of others: look deeper, for those queries only.
            unanswered = np.array([query for query in unanswered if len(answers[query]) < k], dtype=np.intp)
            depth = min(count, 4 * depth)
        return answers

    def _allowed(self, among: Collection[str] | None) -> tuple[npt.NDArray[np.bool_] | None, int, Effort]:
        """Which slots may be found, how many they are, and how far to look for them."""
        if among is None:
            return self._live, len(self), self._effort
        allowed = next((kept for kept in tuple(self._kept) if kept.among is among), None)
        if allowed is None:
            allowed = self._slots_of(among)
            if isinstance(among, tuple | frozenset):  # what cannot change is what it was
                self._kept.append(allowed)
        return allowed.slots, allowed.windows, self._effort.times(len(self) / max(allowed.windows, 1))

    def _slots_of(self, among: Collection[str]) -> _Allowed:
        """The slots of some clips."""
        wanted = pc.is_in(self._clips, value_set=pa.array(list(among), pa.large_string())).to_numpy(
            zero_copy_only=False
        )
        slots = np.append(wanted, False)[self._clip_of_slot]  # an empty slot is clip -1, the last
        return _Allowed(among, slots, int(slots.sum()))

    def _hits(self, scores: Vectors, slots: npt.NDArray[np.int64], k: int) -> list[list[Hit]]:
        """The first `k` clips among the windows found for each query, each with its best window."""
        if not (scores[:, 1:] < scores[:, :-1]).all():
            order = np.lexsort((slots, -scores))
            scores, slots = np.take_along_axis(scores, order, axis=1), np.take_along_axis(slots, order, axis=1)
        if self._has_one_window_each and slots.min() >= 0:  # no clip comes twice
            width = min(k, slots.shape[1])
            scores, slots = scores[:, :width].ravel(), slots[:, :width].ravel()
            ends: Sequence[int] = range(0, len(slots) + 1, width)
        else:
            picked, ends = self._firsts(slots, k)
            scores, slots = scores.ravel()[picked], slots.ravel()[picked]
        rows = slots if self._row_of_slot is None else self._row_of_slot[slots]
        with _no_collection():
            places = pa.array(rows)
            clip_ids, captions, sums = (self._texts[name].take(places).to_pylist() for name in _TEXTS)
            numbers = self._numbers.view(_WHOLE)[rows].view(_NUMBERS)  # five times as fast as field by field
            starts_s, ends_s, window = (numbers[name].tolist() for name in ("start_s", "end_s", "window"))
            fields = zip(clip_ids, starts_s, ends_s, captions, sums, scores.tolist(), window, strict=True)
            hits = list(map(tuple.__new__, repeat(Hit), fields))  # two thirds of the time of Hit._make
            return [hits[begin:end] for begin, end in pairwise(ends)]

    def _firsts(self, slots: npt.NDArray[np.int64], k: int) -> tuple[list[int], list[int]]:
        """Where the first `k` different clips of each query are in the flat `slots`, and where each query's end."""
        clips = self._clip_of_slot[slots]
        clips[slots < 0] = NO_CLIP
        picked: list[int] = []
        ends = [0]
        for begin, row in zip(range(0, slots.size, slots.shape[1]), clips.tolist(), strict=True):
            seen = {NO_CLIP}
            for place, clip in enumerate(row, begin):
                if clip not in seen:
                    seen.add(clip)
                    picked.append(place)
                    if len(seen) > k:
                        break
            ends.append(len(picked))
        return picked, ends

    def query_text(self, texts: Sequence[str], k: int = 10, *, among: Collection[str] | None = None) -> list[list[Hit]]:
        """For each text the clips whose sound fits it best.

        Raises:
            ArgumentError: There is no text, or an empty one.
        """
        return self.search(self.text_vectors(texts), k, among=among)

    def text_vectors(self, texts: Sequence[str]) -> Vectors:
        """Texts as unit vectors, (B, D).

        Raises:
            ArgumentError: There is no text, or an empty one.
        """
        if not texts or not all(text.strip() for text in texts):
            raise ArgumentError("a query is empty; give some words")
        return self.embedder.embed_text(list(texts))

    def query_sound(self, wave_T: Wave, k: int = 10, *, among: Collection[str] | None = None) -> list[Hit]:
        """The clips that sound most like some part of a sound.

        Args:
            wave_T: Mono at the embedder's rate, float32 in [-1, 1], of any length; each of its windows is asked.
            k: Clips wanted, at least 1.
            among: clip_ids that may be found; None: all.

        Raises:
            ArgumentError: The sound has no samples, or some that are not finite.
        """
        return self.query_windows(self.sound_vectors(wave_T), k, among=among)

    def sound_vectors(self, wave_T: Wave) -> Vectors:
        """The windows of a sound as unit vectors, (W, D).

        Raises:
            ArgumentError: The sound has no samples, or some that are not finite.
        """
        if not len(wave_T) or not np.isfinite(wave_T).all():
            raise ArgumentError("the sound of the query has no samples, or some that are not finite numbers")
        pieces = [piece_T for _, piece_T in windows(wave_T, self.embedder.sample_rate_hz, self.embedder.window_s)]
        vectors = []
        for _, grouped in groupby(pieces, key=len):  # the last may be shorter
            alike = list(grouped)
            for first in range(0, len(alike), SOUNDS_AT_ONCE):
                vectors.append(self.embedder.embed_sound(np.stack(alike[first : first + SOUNDS_AT_ONCE])))
        return np.concatenate(vectors)

    def query_windows(self, queries: Vectors, k: int = 10, *, among: Collection[str] | None = None) -> list[Hit]:
        """The clips that are nearest to any of several vectors, (W, D), each clip with its best."""
        best: dict[str, Hit] = {}
        found = self.search(queries, k, among=among)
        for hit in sorted((hit for hits in found for hit in hits), key=lambda hit: -hit.score):
            best.setdefault(hit.clip_id, hit)
        return list(best.values())[:k]

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._number_of_clip

    def clip_vectors(self, clip_id: str) -> Vectors:
        """The vectors of a clip of the index, (W, D), in the order of its windows.

        Raises:
            ArgumentError: It is not in the index.
        """
        if clip_id not in self:
            raise ArgumentError(f"clip {clip_id!r} is not in the index {self.folder}")
        order, begins = self._by_clip
        number = self._number_of_clip[clip_id]
        rows = order[begins[number] : begins[number + 1]]
        return self._structure.vectors(self._slots[rows])

    def fold(
        self, hits: Sequence[Hit], min_cosine: float | None = None, groups: Mapping[str, str] | None = None
    ) -> Iterator[tuple[Hit, list[str]]]:
        """Hits without near-duplicates of better ones: each with the clip_ids that were folded into it.

        Args:
            hits: Best first.
            min_cosine: Best windows that are at least so near are of one sound; None: none are. There is no default: it
                differs from embedder to embedder.
            groups: clip_id -> name of its group of duplicates; clips of one group are folded too.
        """
        named = groups or {}
        is_near = min_cosine is not None
        vectors = [self.clip_vectors(hit.clip_id)[hit.window] for hit in hits] if is_near else []
        heads: list[int] = []
        folded: dict[int, list[str]] = {}
        for number, hit in enumerate(hits):
            group = named.get(hit.clip_id)
            for head in heads:
                is_same = group is not None and named.get(hits[head].clip_id) == group
                if is_same or (min_cosine is not None and float(vectors[head] @ vectors[number]) >= min_cosine):
                    folded[head].append(hit.clip_id)
                    break
            else:
                heads.append(number)
                folded[number] = []
        yield from ((hits[head], folded[head]) for head in heads)

    @cached_property
    def _clips(self) -> pa.Array:
        """clip_ids by number."""
        _, firsts = np.unique(self._clip_of_row, return_index=True)
        return self._texts["clip_id"].take(pa.array(firsts))

    @cached_property
    def _number_of_clip(self) -> dict[str, int]:
        return {clip_id: number for number, clip_id in enumerate(self._clips.to_pylist())}

    @cached_property
    def _by_clip(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Rows by clip and window, and where each clip begins among them."""
        order = np.lexsort((self._numbers["window"], self._clip_of_row))
        return order, np.searchsorted(self._clip_of_row[order], np.arange(int(self.manifest["clips"]) + 1))


@contextmanager
def _no_collection() -> Iterator[None]:
    """No search for unreachable objects meanwhile: among thousands of new tuples it takes as long as making them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    """As `combine_chunks`, which copies even what is in one piece and mapped."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
