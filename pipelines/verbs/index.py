"""`foundsound index` and `foundsound query`: build a search index and ask it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile

from curation.blobs import BlobReader, BlobRef
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.lock import writer_lock
from curation.names import plain_name
from curation.selection import read_rows
from pipelines.verbs.embed import DEFAULT_EMBEDDER
from pipelines.wiring import embed_stage, embedder_of, embedder_source
from retrieval_index.index import ROWS, Hit, Index
from retrieval_index.windows import mono

_ROWS = """
SELECT chosen.clip_id, coalesce(chosen.captions[1], '') AS caption, cut.audio_sha256, embed.blob, embed.offset_bytes,
    embed.windows, embed.dimension, embed.starts_s, embed.ends_s
FROM chosen
JOIN cut ON cut.key = chosen.clip_id AND cut.state = 'done'
LEFT JOIN embed ON embed.key = chosen.clip_id AND embed.state = 'done' AND embed.label = ?
    AND embed.input = cut.audio_sha256
ORDER BY chosen.clip_id"""


@dataclass(frozen=True, slots=True)
class IndexResult:
    """An index that was built."""

    folder: Path
    clips: int
    windows: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Folder, counts and time."""
        return {"folder": str(self.folder), "clips": self.clips, "windows": self.windows, "seconds": self.seconds}

    def __str__(self) -> str:
        return f"{self.folder}: {self.windows:,} windows of {self.clips:,} clips, exact search, {self.seconds:.1f} s"


def _gather(dataset: Dataset, selection: str, label: str) -> tuple[np.ndarray, pa.Table, int]:
    """The vectors of a selection's clips, what each row is, and how many clips they are."""
    chosen = read_rows(dataset, selection, kept_only=True).select(["clip_id", "captions"])
    found = dataset.sql(_ROWS, [label], chosen=chosen).to_pylist()
    if not found:
        raise ArgumentError(f"selection {selection!r} keeps no clip, so there is nothing to index")
    missing = sum(row["blob"] is None for row in found)
    if missing:
        raise ArgumentError(
            f"{missing} of {len(found)} clips of selection {selection!r} have no vectors {label!r}; "
            f"run `foundsound embed {dataset.path}` first"
        )
    places = [
        BlobRef(
            blob=row["blob"],
            offset_bytes=row["offset_bytes"],
            shape=(row["windows"], row["dimension"]),
            dtype="<f2",
        )
        for row in found
    ]
    rows = [
        {**{name: row[name] for name in ("clip_id", "caption", "audio_sha256")}, "start_s": start_s, "end_s": end_s}
        for row in found
        for start_s, end_s in zip(row["starts_s"], row["ends_s"], strict=True)
    ]
    vectors = BlobReader(dataset.folder("vectors")).gather(places)
    return vectors, pa.Table.from_pylist(rows, schema=ROWS), len(found)


def index(
    dataset: Path,
    /,
    *,
    selection: str = "train",
    name: str | None = None,
    embedder: str = DEFAULT_EMBEDDER,
    vectors: str = "clap",
    revision: str | None = None,
) -> IndexResult:
    """Build a search index over the clips of a selection.

    Args:
        dataset: Folder of the dataset.
        selection: Name of the selection.
        name: Name of the index; the selection's when not given.
        embedder: The CLAP that made the vectors; queries go through it.
        vectors: Name of the vectors, as given to `embed --name`.
        revision: Commit or tag on the Hub.
    """
    begun = time.perf_counter()
    opened = Dataset(dataset)
    called = plain_name(name or selection, "index")
    stage = embed_stage(opened, embedder, called=vectors, revision=revision)
    wanted = opened.folder("facts") / stage.NAME / stage.folder_name
    if opened.current_facts(stage.NAME).get(vectors) != wanted:
        raise ArgumentError(
            f"{opened.path} has no vectors {vectors!r} made with {embedder!r}; "
            f"run `foundsound embed {dataset} --embedder {embedder} --name {vectors}` first"
        )
    folder = opened.folder("indexes") / called
    source = {
        "dataset": str(opened.path),
        "selection": selection,
        "embedder": embedder_source(embedder, opened.path, folder),
        "revision": revision,
    }
    with writer_lock(opened.folder("locks") / f"index-{called}.lock", f"index {called!r} of {opened.path}"):
        gathered, rows, clips = _gather(opened, selection, vectors)
        Index.build(folder, gathered, rows, dict(stage.embedder), source)
    return IndexResult(folder, clips, rows.num_rows, time.perf_counter() - begun)


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What was found, best first."""

    hits: list[Hit]
    dataset: Dataset

    def path(self, hit: Hit) -> Path:
        """The sound file of a hit."""
        return self.dataset.media.path(hit.audio_sha256, ".flac")

    def as_dict(self) -> list[dict[str, Any]]:
        """One entry a clip: clip_id, start_s, end_s, score, caption, path."""
        return [
            {
                "clip_id": hit.clip_id,
                "start_s": hit.start_s,
                "end_s": hit.end_s,
                "score": hit.score,
                "caption": hit.caption,
                "path": str(self.path(hit)),
            }
            for hit in self.hits
        ]

    def __str__(self) -> str:
        return "\n".join(
            f"{hit.score:6.3f}  {hit.start_s:6.2f}-{hit.end_s:.2f} s  {hit.clip_id}  {hit.caption}\n"
            f"        {self.path(hit)}"
            for hit in self.hits
        )


def open_index(dataset: Dataset, name: str) -> Index:
    """An index of the dataset with the embedder that made it, ready to be asked."""
    folder = dataset.folder("indexes") / plain_name(name, "index")
    return Index.open(folder, embedder=embedder_of(folder))


def query(
    dataset: Path, text: str | None = None, /, *, sound: Path | None = None, index: str = "train", k: int = 10
) -> QueryResult:
    """Find the clips that fit a text or sound like a sound file.

    Args:
        dataset: Folder of the dataset.
        text: What is looked for, in words.
        sound: A sound file to look for instead; every part of it is asked.
        index: Name of the index.
        k: How many clips.
    """
    if (text is None) == (sound is None):
        raise ArgumentError("give a text or --sound FILE, and not both")
    opened = Dataset(dataset)
    searched = open_index(opened, index)
    if sound is None:
        return QueryResult(searched.query_text([text or ""], k)[0], opened)
    wave_T = read_query_sound(sound, searched.embedder.sample_rate_hz)
    return QueryResult(searched.query_sound(wave_T, k), opened)


def read_query_sound(path: Path, sample_rate_hz: int) -> np.ndarray:
    """A sound file given by the user, mono.

    Raises:
        ArgumentError: It is not there or cannot be read.
    """
    try:
        return mono(path, sample_rate_hz)
    except (OSError, soundfile.LibsndfileError) as error:
        raise ArgumentError(f"the sound {path} cannot be read: {error}; give a WAV, FLAC, OGG or MP3 file") from error
