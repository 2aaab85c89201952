"""Clips of a search index that are near to words: what a system that retrieves reads beside a prompt."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.dataset import Dataset
from curation.encode import read_sound
from curation.errors import ArgumentError
from pipelines.wiring.embedders import embedder_of
from retrieval_index.index import Hit, Index

_SAME_VIDEO = """
SELECT DISTINCT other.clip_id FROM clips AS own JOIN clips AS other ON other.video_key = own.video_key
WHERE own.clip_id = ?"""


class Retriever:
    """Finds the clips of an index, and reads their sounds.

    Args:
        folder: Of the index, below `indexes` of its dataset.

    Raises:
        ArgumentError: It lies in no dataset, or its embedder is not there any more.
        DatasetError: There is no index.
    """

    def __init__(self, folder: Path) -> None:
        place = folder.resolve().parent
        if place.name != "indexes" or not (place.parent / "dataset.json").is_file():
            raise ArgumentError(
                f"the index {folder} lies in no dataset, so the sounds of its clips cannot be read; give "
                "DATASET/indexes/NAME"
            )
        self.dataset = Dataset(place.parent)
        self.index = Index.open(folder, embedder=embedder_of(folder))

    def nearest(self, texts: Sequence[str], k: int, own: Sequence[str | None]) -> list[list[Hit]]:
        """The nearest clips of each text, the nearest first.

        Args:
            texts: What is looked for; of a blank one nothing is found.
            k: How many clips at most, at least 1.
            own: The clip that each text is said of, which is left out with all that is of its video; None: none is.
        """
        left_out = [self._of_same_video(clip_id) for clip_id in own]
        asked = [text for text in texts if text.strip()]
        deepest = k + max(len(clips) for clips in left_out)
        found = iter(self.index.query_text(asked, deepest) if asked else [])
        hits = [next(found) if text.strip() else [] for text in texts]
        return [
            [hit for hit in several if hit.clip_id not in clips][:k]
            for several, clips in zip(hits, left_out, strict=True)
        ]

    def wave(self, hit: Hit, sample_rate_hz: int) -> npt.NDArray[np.float32]:
        """The sound of a clip at a rate, mono, (T,) float32.

        Raises:
            DatasetError: Its file is missing.
        """
        wave_1T = read_sound(self.dataset.media.open_path(hit.audio_sha256, ".flac"), sample_rate_hz, 1)
        return np.asarray(wave_1T[0], np.float32)

    def _of_same_video(self, clip_id: str | None) -> frozenset[str]:
        if clip_id is None:
            return frozenset()
        others = self.dataset.sql(_SAME_VIDEO, [clip_id])["clip_id"].to_pylist()
        return frozenset([clip_id, *others])
