"""How often the events of clips occur in what was trained on, and the buckets that this divides them into.

An event is a label of a clip. A clip with several is as rare as its rarest. Source: the buckets of Re-AudioLDM (Yuan et
al. 2023, arXiv 2309.08051): 0, 1-10, 10-30, 30-50, 50-100, 100-500 and more; which of two buckets an edge belongs to is
ours: the later one.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from curation.annotated import ANNOTATED
from curation.dataset import Dataset
from curation.errors import ArgumentError

EDGES = (1, 10, 30, 50, 100, 500)
"""Source: Re-AudioLDM, figure 4."""

_LABELS = f"""
SELECT clip_id, list_sort(list_distinct(flatten(list(labels)))) AS labels FROM ({ANNOTATED})
WHERE clip_id IN (SELECT key FROM asked) AND len(labels) > 0 GROUP BY clip_id"""


def labels_of_clips(dataset: Dataset, clip_ids: Sequence[str]) -> dict[str, list[str]]:
    """clip_id -> its labels, of those that have any."""
    asked = pa.table({"key": pa.array(clip_ids, pa.string())})
    rows = dataset.sql(_LABELS, asked=asked).to_pylist()
    return {row["clip_id"]: row["labels"] for row in rows}


def occurrences(labels: Mapping[str, Sequence[str]]) -> Counter[str]:
    """Label -> clips that have it."""
    return Counter(label for several in labels.values() for label in several)


@dataclass(frozen=True, slots=True)
class Buckets:
    """Numbers of training clips, divided.

    Args:
        edges: First number of each bucket but the first, which begins at 0; ascending, from 1.
    """

    edges: tuple[int, ...] = EDGES

    def __post_init__(self) -> None:
        if not self.edges or self.edges[0] < 1 or list(self.edges) != sorted(set(self.edges)):
            raise ArgumentError(f"--edge must be whole numbers from 1 that ascend, not {list(self.edges)}")

    @property
    def names(self) -> list[str]:
        """Of the buckets, as they are printed: `0`, `1-10`, ..., `500+`."""
        first, *_ = self.edges
        below = "0" if first == 1 else f"0-{first}"
        between = [f"{low}-{high}" if high > low + 1 else f"{low}" for low, high in zip(self.edges, self.edges[1:])]
        return [below, *between, f"{self.edges[-1]}+"]

    def number(self, count: int) -> int:
        """Which bucket so many training clips are in."""
        return bisect_right(self.edges, count)


def rarest(labels: Sequence[str], trained: Mapping[str, int]) -> str:
    """The label of a clip that was trained on least; of equals the first by name."""
    return min(labels, key=lambda label: (trained.get(label, 0), label))
