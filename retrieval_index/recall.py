"""Recall that is measured, and the least effort that reaches it.

A search that does not compare with everything may miss something; how much depends on the vectors, so it is measured on
these, never assumed. Queries are windows of some clips that are kept back while the index is tuned (or, after a change,
windows of clips that are in it, with their own clip left out on both sides), and, where they are given, vectors of
captions, which lie elsewhere in the space than sounds do. Half of the queries choose the effort, the other half tell
the recall that is written down; while that is too low, the effort grows.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval_index.embedder import Vectors
from retrieval_index.structure import Effort, Structure

TARGET_RECALL = 0.95
"""Share of the true best that must be found."""

DEPTH = 10
"""Recall is of the best so many."""

QUERIES = 400
"""Queries of each kind. Source: ours; the standard error of a recall of 0.95 is then below 0.01."""

TIMED = 64
"""Queries that are timed one by one."""

MAX_NODES = 4_096
MAX_REFINE = 256

Slots = npt.NDArray[np.int64]
Allowed = npt.NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True)
class Questions:
    """Queries with their true answers.

    Args:
        vectors_BD: Unit vectors.
        truth: (B, DEPTH) slots of the best, by comparing with everything; -1 where there are fewer.
        hidden: (B, w) slots that do not count, as those of the query's own clip; -1 pads.
    """

    vectors_BD: Vectors
    truth: Slots
    hidden: Slots

    @classmethod
    def of(
        cls,
        structure: Structure,
        vectors_BD: Vectors,
        allowed: Allowed = None,
        hidden: Slots | None = None,
    ) -> "Questions":
        """Ask everything and remember the answers.

        Args:
            structure: What is asked.
            vectors_BD: The queries.
            allowed: Which slots hold a vector; None: all.
            hidden: Slots of each query that do not count; None: none.
        """
        none = np.zeros((len(vectors_BD), 0), np.int64)
        aside = none if hidden is None else hidden
        _, slots = structure.exact(vectors_BD, min(DEPTH + aside.shape[1], structure.slots), allowed)
        return cls(vectors_BD, _without(slots, aside), aside)

    def half(self, which: int) -> "Questions":
        """Every second query, from 0 or from 1."""
        return Questions(self.vectors_BD[which::2], self.truth[which::2], self.hidden[which::2])

    def recall(self, structure: Structure, effort: Effort, allowed: Allowed) -> float:
        """Share of the true best that a search of this effort finds."""
        depth = min(DEPTH + self.hidden.shape[1], structure.slots)
        found = _without(structure.search(self.vectors_BD, depth, effort, allowed)[1], self.hidden)
        hits = ((self.truth[:, :, None] == found[:, None, :]).any(axis=2) & (self.truth >= 0)).sum()
        return float(hits / max(1, int((self.truth >= 0).sum())))


@dataclass(frozen=True, slots=True)
class Tuned:
    """The effort that was chosen, and what was measured with it."""

    effort: Effort
    measured: dict[str, Any]

    @property
    def is_enough(self) -> bool:
        """Whether every measured recall reaches the target."""
        return bool(min(self.measured["recall_at_10"].values()) >= TARGET_RECALL)


def tune(
    structure: Structure,
    asked: Mapping[str, Questions],
    allowed: Allowed = None,
    begin: Effort | None = None,
) -> Tuned:
    """The cheapest effort by which every kind of query finds what it should.

    Args:
        structure: What is searched.
        asked: Name of the kind -> its queries, at least two of each.
        allowed: Which slots hold a vector; None: all.
        begin: An effort that was enough before; it is kept where it still is.

    Returns:
        The effort and the figures of the manifest; `Tuned.is_enough` is false where no effort reaches the target.
    """
    choosing = [questions.half(0) for questions in asked.values()]
    telling = {name: questions.half(1) for name, questions in asked.items()}

    def reaches(effort: Effort, which: list[Questions]) -> bool:
        return all(questions.recall(structure, effort, allowed) >= TARGET_RECALL for questions in which)

    effort = begin if begin is not None else _cheapest(structure, lambda tried: reaches(tried, choosing), choosing[0])
    while not reaches(effort, list(telling.values())) and (more := _more(structure, effort)) is not None:
        effort = more
    recall = {name: round(questions.recall(structure, effort, allowed), 4) for name, questions in telling.items()}
    counts = {name: len(questions.vectors_BD) for name, questions in telling.items()}
    first = next(iter(asked.values())).vectors_BD
    return Tuned(effort, {"recall_at_10": recall, "queries": counts, **latency(structure, first, effort, allowed)})


def latency(structure: Structure, queries_BD: Vectors, effort: Effort, allowed: Allowed = None) -> dict[str, float]:
    """Median time of one query, ms, and queries a second all at once, for the best `DEPTH`."""
    depth = min(DEPTH, structure.slots)
    times = []
    for number in range(min(TIMED, len(queries_BD))):
        begun = time.perf_counter()
        structure.search(queries_BD[number : number + 1], depth, effort, allowed)
        times.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    structure.search(queries_BD, depth, effort, allowed)
    at_once = len(queries_BD) / max(time.perf_counter() - begun, 1e-9)
    return {"one_query_ms": round(1000 * float(np.median(times)), 3), "queries_a_second": round(at_once, 1)}


def _cheapest(structure: Structure, reaches: Any, timed: Questions) -> Effort:
    """Of a graph the fewest nodes; of cells the quickest pair of cells and comparisons; the most where none reaches."""
    if structure.kind == "flat":
        return Effort()
    if structure.kind == "hnsw":
        efforts = [Effort(nodes=nodes) for nodes in _doubling(16, MAX_NODES)]
        return next((effort for effort in efforts if reaches(effort)), efforts[-1])
    most = int(structure.base.nlist)
    enough = [Effort(cells=cells, refine=MAX_REFINE) for cells in _doubling(1, most)]
    first = next((effort for effort in enough if reaches(effort)), enough[-1])
    pairs = []
    for cells in sorted({min(first.cells * times, most) for times in (1, 2, 4)}):
        tried = [Effort(cells=cells, refine=refine) for refine in _doubling(1, MAX_REFINE)]
        pairs.append(next((effort for effort in tried if reaches(effort)), tried[-1]))
    return min(pairs, key=lambda effort: latency(structure, timed.vectors_BD, effort)["one_query_ms"])


def _more(structure: Structure, effort: Effort) -> Effort | None:
    """A larger effort, or None where there is none."""
    if structure.kind == "hnsw" and effort.nodes < MAX_NODES:
        return Effort(nodes=effort.nodes * 3 // 2)
    if structure.kind == "ivfpq":
        most = int(structure.base.nlist)
        if effort.cells < most or effort.refine < MAX_REFINE:
            return Effort(
                cells=min(most, effort.cells * 3 // 2 + 1), refine=min(MAX_REFINE, effort.refine * 3 // 2 + 1)
            )
    return None


def _doubling(first: int, last: int) -> Iterator[int]:
    while first < last:
        yield first
        first *= 2
    yield last


def _without(slots: Slots, hidden: Slots) -> Slots:
    """The first `DEPTH` slots of each row that are not hidden, padded with -1."""
    if not hidden.shape[1]:
        return slots[:, :DEPTH]
    counts = ~((slots[:, :, None] == hidden[:, None, :]).any(axis=2)) & (slots >= 0)
    order = np.argsort(~counts, axis=1, kind="stable")
    kept = np.where(np.take_along_axis(counts, order, axis=1), np.take_along_axis(slots, order, axis=1), -1)
    return kept[:, :DEPTH]
