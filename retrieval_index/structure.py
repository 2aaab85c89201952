"""The three ways in which an index holds vectors, all inner products of unit vectors, and the choice between them.

    flat     float32, compared one by one: exact
    hnsw     a graph over float16 vectors (Malkov, Yashunin 2016, arXiv 1603.09320)
    ivfpq    cells of 4-bit product codes (Jegou, Douze, Schmid 2011; fast scan: Andre, Kermarrec, Le Scouarnec 2017),
             whose best are compared again with the float16 vectors

How far a search of the latter two looks is its effort, which `recall.py` sets by measuring. Each can also be searched
exactly, through the vectors that it stores. Nothing here touches the disk.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from curation.errors import ArgumentError
from retrieval_index.embedder import Vectors
from retrieval_index.exact import nearest
from retrieval_index.manifest import faiss_module

Kind = Literal["flat", "hnsw", "ivfpq"]
KINDS: tuple[Kind, ...] = ("flat", "hnsw", "ivfpq")

EXACT_WINDOWS = 200_000
"""Up to so many windows are compared one by one. Source: ours; half of it takes 43 ms a query of 512 numbers."""

GRAPH_WINDOWS = 1_000_000
"""Up to so many a graph is built where memory allows. Source: ours, on made clusters at a million x 512 and two cores
(benchmarks/index.py): a graph of recall 0.97 answers one query in 0.11 ms and is built in 210 s, cells of recall 0.98
in 0.18 ms and 99 s, with a tenth of the memory; above, building decides."""

LINKS = 32
"""Links of a node of the graph. Source: Malkov and Yashunin recommend 5 to 48, more for many dimensions."""

BUILD_EFFORT = 80
"""Nodes that are looked at when a node is linked. Source: ours; FAISS's 40 misses neighbours in clustered data."""

POINTS_A_CELL = 48
"""Vectors a cell from which cells and codes are learned. Source: FAISS warns below 39."""

COARSE_GRAPH_CELLS = 16_384
"""From so many cells on a graph finds the nearest ones. Source: ours; below, comparing with all takes under 1 ms."""

BATCH = 65_536
"""Vectors that are converted at a time."""

QUERIES_IN_BLOCKS = 16
"""From so many queries on, vectors are compared as a matrix product rather than one by one. Source: ours; to gather and
convert one of 512 numbers takes as long as comparing it with 10 to 30 queries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How far a search looks.

    Args:
        nodes: Of a graph: candidates that are kept on the way (efSearch), at least 1.
        cells: Of cells: how many are searched (nprobe), at least 1.
        refine: Of cells: times as many candidates as asked for are compared again, at least 1.
    """

    nodes: int = 64
    cells: int = 8
    refine: int = 8

    def __post_init__(self) -> None:
        if min(self.nodes, self.cells, self.refine) < 1:
            raise ValueError(f"each part of an effort must be at least 1, not {self}")

    def times(self, factor: float) -> "Effort":
        """An effort by which so many times as many are looked at."""
        return replace(self, nodes=int(np.ceil(self.nodes * factor)), cells=int(np.ceil(self.cells * factor)))


def memory_bytes(kind: Kind, windows: int, dimension: int) -> int:
    """What an index holds in memory while it is searched, bytes; the vectors of `ivfpq` stay on the disk, mapped."""
    links = 4 * (2 * LINKS + LINKS // 16 + 2)
    each = {"flat": 4 * dimension, "hnsw": 2 * dimension + links, "ivfpq": _codes(dimension) // 2 + 8}
    return windows * each[kind]


def choose_kind(windows: int, dimension: int, memory_limit_bytes: int) -> Kind:
    """Exact for few windows; a graph where it fits into half of the memory; else cells.

    Args:
        windows: How many there are.
        dimension: Length of a vector.
        memory_limit_bytes: Memory of the machine, bytes.
    """
    if windows <= EXACT_WINDOWS:
        return "flat"
    if windows <= GRAPH_WINDOWS and memory_bytes("hnsw", windows, dimension) <= memory_limit_bytes // 2:
        return "hnsw"
    return "ivfpq"


def _codes(dimension: int) -> int:
    """Parts into which a vector is cut, of 4 bits each: two numbers a part."""
    return dimension // 2 if dimension % 2 == 0 else dimension


def _cells(windows: int) -> int:
    """A power of two near 4 sqrt(N). Source: FAISS's guidelines, 4 to 16 sqrt(N)."""
    return max(1, min(1 << round(math.log2(4 * math.sqrt(windows))), windows // POINTS_A_CELL))


class Structure:
    """Vectors as FAISS holds them. A vector's place is its slot; slots are given in order and never twice.

    Args:
        kind: Which of the three.
        index: The FAISS index; `IndexRefine` for cells.
    """

    def __init__(self, kind: Kind, index: Any) -> None:
        faiss = faiss_module()
        self.kind, self._keep = kind, index  # a downcast object does not keep the whole alive
        self._asked: dict[tuple[Effort, int], Any] = {}
        self.index = faiss.downcast_index(index)
        self.stored, self.base = self.index, self.index
        if kind == "hnsw":
            self.stored = faiss.downcast_index(self.index.storage)
        elif kind == "ivfpq":
            self.base = faiss.downcast_index(self.index.base_index)
            self.stored = faiss.downcast_index(self.index.refine_index)

    @classmethod
    def empty(cls, kind: Kind, windows: int, learn_ND: Vectors) -> Self:
        """A structure without vectors.

        Args:
            kind: Which of the three.
            windows: How many it will hold, about.
            learn_ND: Unit vectors from which cells and codes are learned; as many as `samples_wanted` says.
        """
        faiss = faiss_module()
        dimension, product = learn_ND.shape[1], faiss.METRIC_INNER_PRODUCT
        if kind == "flat":
            return cls(kind, faiss.IndexFlatIP(dimension))
        half = faiss.ScalarQuantizer.QT_fp16
        if kind == "hnsw":
            graph = faiss.IndexHNSWSQ(dimension, half, LINKS, product)
            graph.hnsw.efConstruction = BUILD_EFFORT
            graph.train(learn_ND)
            return cls(kind, graph)
        cells = _cells(windows)
        coarse = f"IVF{cells}_HNSW{LINKS}" if cells >= COARSE_GRAPH_CELLS else f"IVF{cells}"
        base = faiss.index_factory(dimension, f"{coarse},PQ{_codes(dimension)}x4fsr", product)
        base.train(learn_ND)
        stored = faiss.IndexScalarQuantizer(dimension, half, product)
        stored.train(learn_ND[:1])
        return cls(kind, _refined(base, stored))

    @staticmethod
    def samples_wanted(kind: Kind, windows: int) -> int:
        """Vectors from which `empty` learns, at most."""
        return min(windows, POINTS_A_CELL * _cells(windows)) if kind == "ivfpq" else 1

    @property
    def slots(self) -> int:
        """Slots that were given, those of removed vectors included."""
        return int(self.stored.ntotal)

    @property
    def factory(self) -> str:
        """What FAISS calls it."""
        if self.kind == "flat":
            return "Flat"
        if self.kind == "hnsw":
            return f"HNSW{LINKS},SQfp16"
        return f"IVF{self.base.nlist},PQ{self.base.pq.M}x4fsr,Refine(SQfp16)"

    def add(self, unit_ND: Vectors) -> None:
        """Give the next slots to these unit vectors, float32."""
        if self.kind != "ivfpq":
            self.index.add(unit_ND)
            return
        first = self.slots
        self.base.add_with_ids(unit_ND, np.arange(first, first + len(unit_ND), dtype=np.int64))
        self.stored.add(unit_ND)
        self.index.ntotal = self.stored.ntotal

    def search(
        self, queries_BD: Vectors, k: int, effort: Effort, allowed: npt.NDArray[np.bool_] | None = None
    ) -> tuple[Vectors, npt.NDArray[np.int64]]:
        """The best slots of each query, as far as the effort reaches; all of them for `flat`.

        Args:
            queries_BD: (B, D) float32.
            k: How many.
            effort: How far to look.
            allowed: (slots,) which slots count; None: all.

        Returns:
            Scores and slots, (B, k), best first; slot -1 where there is no more.
        """
        if self.kind == "flat":
            return self.exact(queries_BD, k, allowed)
        selector, bits = _selector(allowed)
        if selector is not None:
            asked = self._parameters(effort, k, selector)
        elif (asked := self._asked.get((effort, k))) is None:
            asked = self._asked[effort, k] = self._parameters(effort, k, None)
        scores, slots = self.index.search(queries_BD, k, params=asked)
        del bits
        return scores, slots

    def _parameters(self, effort: Effort, k: int, selector: Any) -> Any:
        """An effort as FAISS takes it."""
        faiss = faiss_module()
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=max(effort.nodes, k), sel=selector)
        inner = faiss.SearchParametersIVF(nprobe=min(effort.cells, self.base.nlist), sel=selector)
        return faiss.IndexRefineSearchParameters(k_factor=float(effort.refine), base_index_params=inner)

    def exact(
        self, queries_BD: Vectors, k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> tuple[Vectors, npt.NDArray[np.int64]]:
        """As `search`, by comparing with every stored vector that is allowed."""
        if len(queries_BD) >= QUERIES_IN_BLOCKS:
            return nearest(queries_BD, self._blocks(allowed), k)
        if allowed is None:
            found: tuple[Vectors, npt.NDArray[np.int64]] = self.stored.search(queries_BD, k)
            return found
        selector, bits = _selector(allowed)
        found = self.stored.search(queries_BD, k, params=faiss_module().SearchParameters(sel=selector))
        del bits
        return found

    def _blocks(self, allowed: npt.NDArray[np.bool_] | None) -> Iterator[tuple[npt.NDArray[np.int64], Vectors]]:
        """Slots that are allowed and copies of their vectors, some at a time.

        A mapped file cannot be multiplied as it lies: its vectors begin at odd bytes.
        """
        slots = np.arange(self.slots) if allowed is None else allowed.nonzero()[0]
        for begin in range(0, len(slots), BATCH):
            some = slots[begin : begin + BATCH]
            yield some, self.vectors(some)

    def vectors(self, slots: npt.NDArray[np.int64]) -> Vectors:
        """The stored vectors of some slots, (n, D) float32."""
        found: Vectors = self.stored.reconstruct_batch(np.ascontiguousarray(slots, np.int64))
        return found

    def batches(self, slots: npt.NDArray[np.int64]) -> Iterator[Vectors]:
        """The stored vectors of some slots, some at a time."""
        for begin in range(0, len(slots), BATCH):
            yield self.vectors(slots[begin : begin + BATCH])

    def erase(self, slots: npt.NDArray[np.int64]) -> None:
        """Overwrite vectors with zeros and forget their codes; their slots stay empty."""
        if self.kind == "ivfpq":
            self.base.remove_ids(faiss_module().IDSelectorBatch(np.ascontiguousarray(slots, np.int64)))
        codes = _codes_of(self.stored)
        codes[slots] = 0

    def compacted(self, kept: npt.NDArray[np.int64]) -> "Structure":
        """Without the slots that are not kept; vector i has the slot that `kept[i]` was.

        Cells and codes stay as they were learned. A graph has no way to lose a node: it is linked anew from its own
        vectors.
        """
        faiss = faiss_module()
        if self.kind == "hnsw":
            fresh = Structure.empty("hnsw", len(kept), self.vectors(kept[:1]))
            for unit_ND in self.batches(kept):
                fresh.add(unit_ND)
            return fresh
        gone = np.ones(self.slots, bool)
        gone[kept] = False
        dead = np.flatnonzero(gone)
        if self.kind == "ivfpq":
            self.base.remove_ids(faiss.IDSelectorBatch(dead))
            renamed = np.full(self.slots, -1, np.int64)
            renamed[kept] = np.arange(len(kept))
            lists = self.base.invlists
            for cell in range(self.base.nlist):
                if size := lists.list_size(cell):
                    ids = faiss.rev_swig_ptr(lists.get_ids(cell), size)
                    ids[:] = renamed[ids]
        self.stored.remove_ids(faiss.IDSelectorBatch(dead))
        self.index.ntotal = self.stored.ntotal
        return self


def _refined(base: Any, stored: Any) -> Any:
    """Cells whose best are compared again with stored vectors; both belong to what is returned."""
    whole = faiss_module().IndexRefine(base, stored)
    base.this.disown()
    stored.this.disown()
    whole.own_fields = whole.own_refine_index = True
    return whole


def _codes_of(stored: Any) -> npt.NDArray[np.uint8]:
    """The bytes of stored vectors, (slots, bytes of a vector), to be written to."""
    faiss = faiss_module()
    pointer = faiss.rev_swig_ptr(stored.codes.data(), stored.ntotal * stored.code_size)
    codes: npt.NDArray[np.uint8] = pointer.reshape(stored.ntotal, stored.code_size)
    return codes


def _selector(allowed: npt.NDArray[np.bool_] | None) -> tuple[Any, Any]:
    """FAISS's selector of slots, and the bits that must live as long as it."""
    if allowed is None:
        return None, None
    bits = np.packbits(allowed, bitorder="little")
    return faiss_module().IDSelectorBitmap(bits), bits


def unit(vectors: npt.NDArray[Any]) -> Vectors:
    """Vectors with length 1, float32; rounding to float16 has changed it a little.

    Raises:
        ArgumentError: One has no direction: it is zero or not finite. `wrong_rows` tells which.
    """
    unit_ND = np.array(vectors, dtype=np.float32, order="C")
    norm_N1 = np.linalg.norm(unit_ND, axis=1, keepdims=True)
    if wrong := len(wrong_rows(norm_N1[:, 0])):
        raise ArgumentError(f"{wrong} of {len(unit_ND)} vectors are zero or not finite")
    unit_ND /= norm_N1
    return unit_ND


def wrong_rows(norm_N: Vectors) -> npt.NDArray[np.intp]:
    """Which vectors of these lengths have no direction."""
    return np.flatnonzero(~(np.isfinite(norm_N) & (norm_N > 0)))
