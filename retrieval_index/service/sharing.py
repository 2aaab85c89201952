"""An embedder and an index that many threads ask at once; what they ask together is worked on together."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval_index.embedder import Embedder, Vectors
from retrieval_index.index import Hit, Index
from retrieval_index.service.batcher import Batcher
from retrieval_index.windows import Wave

MOST_SOUNDS = 8
"""Windows of sound in one batch. Source: ours; ten seconds each fill two cores long before that."""


class SharedEmbedder:
    """An embedder behind which batches gather; the network itself is only ever asked by one thread at a time.

    Args:
        embedder: The embedder.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.texts: Batcher[str, Vectors] = Batcher(self._embed_texts)
        self.sounds: Batcher[Wave, Vectors] = Batcher(self._embed_sounds, kind=len, most=MOST_SOUNDS)

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which it wants sounds, Hz."""
        return self._embedder.sample_rate_hz

    @property
    def window_s(self) -> float:
        """Longest sound that it takes at once, s."""
        return self._embedder.window_s

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self._embedder.dimension

    def embed_sound(self, wave_BT: Wave) -> Vectors:
        """Mono sounds of equal length -> (B, dimension)."""
        return np.stack(self.sounds(list(wave_BT)))

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Texts -> (B, dimension)."""
        return np.stack(self.texts(texts))

    def identity(self) -> dict[str, Any]:
        """That of the embedder."""
        return self._embedder.identity()

    def close(self) -> None:
        """End what was asked."""
        self.texts.close()
        self.sounds.close()

    def _embed_texts(self, texts: list[str]) -> list[Vectors]:
        return list(self._embedder.embed_text(texts))

    def _embed_sounds(self, waves: list[Wave]) -> list[Vectors]:
        return list(self._embedder.embed_sound(np.stack(waves)))


@dataclass(frozen=True, slots=True)
class Asked:
    """One vector that an index is asked for.

    Args:
        index: The index.
        query_D: A unit vector.
        k: How many clips.
    """

    index: Index
    query_D: Vectors
    k: int


Searches = Batcher[Asked, list[Hit]]


def shared_searches() -> Searches:
    """The batches of searches; one for all indexes that follow each other."""
    return Batcher(_search_together, kind=lambda asked: (id(asked.index), asked.k))


def _search_together(asked: list[Asked]) -> list[list[Hit]]:
    return Index.search(asked[0].index, np.stack([one.query_D for one in asked]), asked[0].k)


class SharedIndex(Index):
    """An index whose searches without a filter gather into batches, once it has `searches`; those with one do not."""

    searches: Searches | None = None

    def search(self, queries: Vectors, k: int = 10, *, among: Collection[str] | None = None) -> list[list[Hit]]:
        """As `Index.search`."""
        is_alike = queries.ndim == 2 and queries.shape[1] == self.dimension and bool(np.isfinite(queries).all())
        if self.searches is None or among is not None or k < 1 or not is_alike:
            return super().search(queries, k, among=among)
        return self.searches([Asked(self, query_D, k) for query_D in queries])
