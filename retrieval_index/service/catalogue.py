"""What the service knows of the clips of an index: labels, lengths, and the names of their files, which it keeps."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curation.dataset import Dataset
from curation.errors import DatasetError
from curation.selections.selection import read_rows
from curation.tables import part_files
from curation.takedowns.deny import FOLDER, denied_ids
from retrieval_index.index import Index

_COLUMNS = (
    "clip_id",
    "platform",
    "video_id",
    "start_ms",
    "duration_ms",
    "split",
    "labels",
    "captions",
    "caption_sources",
    "licence",
    "audio_sha256",
    "video_sha256",
    "sample_rate_hz",
)

_LENGTHS = """
SELECT chosen.* REPLACE (coalesce(cut.duration_ms_cut, chosen.duration_ms) AS duration_ms)
FROM chosen LEFT JOIN cut ON cut.key = chosen.clip_id AND cut.state = 'done' AND cut.audio_sha256 = chosen.audio_sha256
ORDER BY chosen.clip_id"""
"""The length of what was cut, which may be less than what a list says."""


_CHARACTER_BYTES = 4
"""What numpy takes for a character."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A clip of the selection that an index is of; the columns of `curation.selections.selection.SELECTION`."""

    clip_id: str
    platform: str
    video_id: str
    start_ms: int
    duration_ms: int
    split: str
    labels: list[str]
    captions: list[str]
    caption_sources: list[str]
    licence: str | None
    audio_sha256: str
    video_sha256: str | None
    sample_rate_hz: int


class Catalogue:
    """The clips of a selection by clip_id.

    Args:
        rows: With the columns of `Clip`, sorted by clip_id.
    """

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows.combine_chunks()
        self._ids = np.array(self._rows["clip_id"].to_pylist(), dtype=np.str_)

    @classmethod
    def of(cls, dataset: Dataset, index: Index) -> "Catalogue":
        """The clips of the selection that an index is of.

        Raises:
            DatasetError: The index is of no selection.
            ArgumentError: The selection is not there any more.
        """
        selection = index.manifest["source"].get("selection")
        if selection is None:
            raise DatasetError(f"{index.folder} names no selection; make it with `foundsound index {dataset.path}`")
        chosen = read_rows(dataset, selection, kept_only=True).select(_COLUMNS)
        return cls(dataset.sql(_LENGTHS, chosen=chosen))

    def __len__(self) -> int:
        return len(self._ids)

    def get(self, clip_id: str) -> Clip | None:
        """The clip of this id, if it is there."""
        if len(clip_id) * _CHARACTER_BYTES > self._ids.itemsize:  # else all ids would be widened to it
            return None
        place = int(np.searchsorted(self._ids, clip_id))
        if place == len(self._ids) or self._ids[place] != clip_id:
            return None
        row: dict[str, Any] = self._rows.slice(place, 1).to_pylist()[0]
        return Clip(**row)

    def of_videos(self, videos: frozenset[tuple[str, str]]) -> Iterator[str]:
        """clip_ids of the clips of some videos, given as (platform, video_id)."""
        if not videos:
            return
        platforms, ids = self._rows["platform"].to_pylist(), self._rows["video_id"].to_pylist()
        for clip_id, platform, video_id in zip(self._ids.tolist(), platforms, ids, strict=True):
            if (platform, video_id) in videos:
                yield clip_id


class Takedowns:
    """The deny list of a dataset, read again as soon as it is longer.

    Args:
        dataset: The dataset.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset, self._folder = dataset.path, Path(dataset.path) / FOLDER
        self._read_at: object = ()
        self._videos: frozenset[tuple[str, str]] = frozenset()

    def videos(self) -> frozenset[tuple[str, str]]:
        """(platform, video_id) of what was taken down until now."""
        stamp = self._stamp()
        if stamp != self._read_at:
            self._videos, self._read_at = denied_ids(self._dataset), stamp
        return self._videos

    def _stamp(self) -> object:
        """Changes with every part that is added: a part appears by a rename into the folder."""
        try:
            return self._folder.stat().st_mtime_ns, len(part_files(self._folder))
        except FileNotFoundError:
            return None
