"""An embedder and an index that many threads ask at once; what they ask together is worked on together."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval_index.embedder import Embedder, Frames, PictureEmbedder, Vectors
from retrieval_index.index import SOUNDS_AT_ONCE, Hit, Index
from retrieval_index.pictures import WINDOWS_AT_ONCE
from retrieval_index.service.batcher import Batcher
from retrieval_index.windows import Wave


class SharedEmbedder:
    """An embedder behind which batches gather: of each kind of thing one thread asks at a time. `shared` makes it.

    Args:
        embedder: The embedder.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.texts: Batcher[str, Vectors] = Batcher(self._embed_texts)
        self.sounds: Batcher[Wave, Vectors] = Batcher(self._embed_sounds, kind=len, most=SOUNDS_AT_ONCE)

    @property
    def batchers(self) -> "dict[str, Batcher[Any, Vectors]]":
        """Its batches by what they are of."""
        return {"text": self.texts, "sound": self.sounds}

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
        for batcher in self.batchers.values():
            batcher.close()

    def _embed_texts(self, texts: list[str]) -> list[Vectors]:
        return list(self._embedder.embed_text(texts))

    def _embed_sounds(self, waves: list[Wave]) -> list[Vectors]:
        return list(self._embedder.embed_sound(np.stack(waves)))


class SharedPictureEmbedder(SharedEmbedder):
    """The same of an embedder that sees.

    Args:
        embedder: The embedder.
    """

    def __init__(self, embedder: PictureEmbedder) -> None:
        super().__init__(embedder)
        self._seeing = embedder
        self.pictures: Batcher[Frames, Vectors] = Batcher(self._embed_pictures, most=WINDOWS_AT_ONCE)

    @property
    def batchers(self) -> "dict[str, Batcher[Any, Vectors]]":
        """Its batches by what they are of."""
        return {**super().batchers, "picture": self.pictures}

    @property
    def frames(self) -> int:
        """Frames of a picture that it looks at."""
        return self._seeing.frames

    @property
    def frame_size_px(self) -> int:
        """Side of the square frames, px."""
        return self._seeing.frame_size_px

    def embed_picture(self, frames_BNSSC: Frames) -> Vectors:
        """Frames of pictures -> (B, dimension)."""
        return np.stack(self.pictures(list(frames_BNSSC)))

    def embed_both(self, wave_BT: Wave, frames_BNSSC: Frames) -> Vectors:
        """Sounds with their pictures -> (B, dimension); no route asks for these, so nothing gathers them."""
        return self._seeing.embed_both(wave_BT, frames_BNSSC)

    def _embed_pictures(self, pictures: list[Frames]) -> list[Vectors]:
        return list(self._seeing.embed_picture(np.stack(pictures)))


def shared(embedder: Embedder) -> SharedEmbedder:
    """An embedder for many threads, which sees where it does."""
    return SharedPictureEmbedder(embedder) if isinstance(embedder, PictureEmbedder) else SharedEmbedder(embedder)


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
