"""`foundsound neighbours`: the nearest clips of every caption, for models that retrieve."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from curation.blobs import BlobReader, BlobRef
from curation.current import last_sql
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.keys import canonical
from curation.lock import writer_lock
from curation.names import plain_name
from curation.selections.selection import read_report, read_rows
from pipelines.progress import Progress
from pipelines.runner import Job, run
from pipelines.verbs.embed import DEFAULT_EMBEDDER
from pipelines.wiring.embedders import embed_text_stage
from retrieval_index.embed_text import EmbedText
from retrieval_index.neighbours import TOP, Items, find_neighbours, write_neighbours

TEXTS_AT_ONCE = 256

_CAPTIONS = """
WITH asked AS (
    SELECT clip_id, video, unnest(captions) AS caption FROM chosen
), texts AS (
    SELECT DISTINCT clip_id, video, substr(sha256(caption), 1, 20) AS hash FROM asked WHERE trim(caption) <> ''
)
SELECT texts.*, found.blob, found.offset_bytes, 1 AS windows, found.dimension
FROM texts LEFT JOIN ({vectors}) AS found ON found.key = texts.clip_id AND found.input = texts.hash
    AND found.state = 'done'
ORDER BY texts.clip_id, texts.hash"""

_SOUNDS = """
SELECT chosen.clip_id, chosen.video, embed.blob, embed.offset_bytes, embed.windows, embed.dimension
FROM chosen JOIN cut ON cut.key = chosen.clip_id AND cut.state = 'done'
LEFT JOIN ({vectors}) AS embed ON embed.key = chosen.clip_id AND embed.input = cut.audio_sha256
    AND embed.state = 'done'
ORDER BY chosen.clip_id"""


@dataclass(frozen=True, slots=True)
class NeighboursResult:
    """Neighbours that were stored."""

    folder: Path
    manifest: dict[str, Any]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The manifest, the folder and the time."""
        return {"folder": str(self.folder), "seconds": self.seconds, **self.manifest}

    def __str__(self) -> str:
        made = self.manifest
        return (
            f"{self.folder}: the {made['k']} nearest of {made['captions']:,} captions by {made['by']}, among "
            f"{made['store_clips']:,} clips of {next(iter(made['store']))!r}, {self.seconds:.1f} s"
        )


def neighbours(
    dataset: Path,
    /,
    *,
    store: str = "train",
    of: str | None = None,
    by: Literal["text", "sound"] = "text",
    name: str | None = None,
    embedder: str = DEFAULT_EMBEDDER,
    vectors: str = "clap",
    revision: str | None = None,
    k: int = TOP,
) -> NeighboursResult:
    """Find the nearest clips of every caption, without its own clip and video, always among the training split.

    Captions that have no vectors yet are embedded first.

    Args:
        dataset: Folder of the dataset.
        store: Name of the selection, of the train split, whose clips may be found.
        of: Names of the selections whose captions are asked, separated by commas; the store's, and those called val and
            test where there are any, when not given.
        by: Compare captions with captions (text) or with sounds (sound).
        name: Name of the neighbours; that of `by` when not given.
        embedder: The CLAP that made the vectors.
        vectors: Name of the vectors, as given to `embed --name`.
        revision: Commit or tag on the Hub.
        k: How many.
    """
    begun = time.perf_counter()
    if k < 1:
        raise ArgumentError(f"--k must be at least 1, not {k}")
    opened = Dataset(dataset)
    called = plain_name(name or by, "set of neighbours")
    report = read_report(opened, store)
    if report.settings["split"] != "train":
        raise ArgumentError(
            f"selection {store!r} is of the split {report.settings['split']!r}; neighbours are looked for in the "
            "training split only, also those of test captions: give a selection of it with --store"
        )
    asked = _asked(opened, store, of)
    stage = embed_text_stage(opened, embedder, called=vectors, revision=revision)
    with writer_lock(opened.folder("locks") / f"neighbours-{called}.lock", f"neighbours {called!r} of {opened.path}"):
        run(opened, Job(stage=stage, queue=lambda: opened.pending(stage), batch_rows=TEXTS_AT_ONCE, gpu=True))
        queries = _captions(opened, asked, stage)
        among = _captions(opened, [store], stage) if by == "text" else _sounds(opened, store, stage)
        with Progress("neighbours", total=len(queries.clip_ids), unit="captions") as progress:
            rows = find_neighbours(queries, among, k, progress.advance)
        fields = {
            "by": by,
            "k": k,
            "store": {store: report.sha256},
            "of": {selection: read_report(opened, selection).sha256 for selection in asked},
            "vectors": vectors,
            "embedder": dict(stage.embedder),
        }
        folder = opened.folder("neighbours") / called
        manifest = write_neighbours(folder, rows, among, fields)
    return NeighboursResult(folder, manifest, time.perf_counter() - begun)


def _asked(dataset: Dataset, store: str, of: str | None) -> list[str]:
    """Names of the selections whose captions are asked, each once."""
    if of is not None:
        names = [part.strip() for part in of.split(",") if part.strip()]
        if not names:
            raise ArgumentError(f"--of {of!r} names no selection")
        return list(dict.fromkeys(names))
    others = (name for name in ("val", "test") if (dataset.folder("selections") / f"{name}.json").is_file())
    return list(dict.fromkeys([store, *others]))


def _chosen(dataset: Dataset, selections: Sequence[str]) -> pa.Table:
    """clip_id, video and captions of the clips of selections; captions of a clip that is in several are joined."""
    columns = ["clip_id", "platform", "video_id", "captions"]
    parts = [read_rows(dataset, name, kept_only=True, columns=[*columns, "kept"]) for name in selections]
    rows = pa.concat_tables(parts)
    return dataset.sql(
        """SELECT clip_id, any_value(platform || '/' || video_id) AS video,
        list_distinct(flatten(list(captions))) AS captions FROM given GROUP BY clip_id""",
        given=rows,
    )


def _captions(dataset: Dataset, selections: Sequence[str], stage: EmbedText) -> Items:
    """The captions of selections with their vectors.

    Raises:
        ArgumentError: There are none, or some have no vector: the selection is older than the captions.
    """
    with dataset.reading():
        query = _CAPTIONS.format(vectors=last_sql(dataset, stage.NAME, stage.label))
        rows = dataset.sql(query, chosen=_chosen(dataset, selections))
    named = ", ".join(selections)
    if not rows.num_rows:
        raise ArgumentError(f"no clip of {named} has a caption; run `foundsound caption` and `foundsound select`")
    if rows["blob"].null_count:
        raise ArgumentError(
            f"{rows['blob'].null_count} captions of {named} are in the selection and nowhere else any more; "
            "run `foundsound select` again"
        )
    return _items(dataset, rows)


def _sounds(dataset: Dataset, selection: str, stage: EmbedText) -> Items:
    """The windows of a selection's sounds with their vectors.

    Raises:
        ArgumentError: There are none that the same embedder made.
    """
    label = stage.label
    folder = dataset.current_facts("embed").get(label)
    made = folder is not None and f'"embedder":{canonical(dict(stage.embedder)).decode()}' in (
        folder / "identity.json"
    ).read_text(encoding="utf-8")
    if not made:
        raise ArgumentError(f"{dataset.path} has no vectors {label!r} of this embedder; run `foundsound embed` first")
    with dataset.reading():
        query = _SOUNDS.format(vectors=last_sql(dataset, "embed", label))
        rows = dataset.sql(query, chosen=_chosen(dataset, [selection]))
    if not rows.num_rows or rows["blob"].null_count:
        raise ArgumentError(
            f"{rows['blob'].null_count} of {rows.num_rows} clips of selection {selection!r} have no vectors; "
            f"run `foundsound embed {dataset.path}` first"
        )
    return _items(dataset, rows)


def _items(dataset: Dataset, rows: pa.Table) -> Items:
    """Rows that name vectors, with the vectors."""
    windows = rows["windows"].to_numpy()
    places = [
        BlobRef(blob=blob, offset_bytes=offset, shape=(count, dimension), dtype="<f2")
        for blob, offset, count, dimension in zip(
            rows["blob"].to_pylist(),
            rows["offset_bytes"].to_pylist(),
            windows.tolist(),
            rows["dimension"].to_pylist(),
            strict=True,
        )
    ]
    clips, videos = (np.repeat(np.array(rows[name].to_pylist()), windows) for name in ("clip_id", "video"))
    hashes = np.array(rows["hash"].to_pylist()) if "hash" in rows.column_names else None
    return Items(clips, videos, hashes, BlobReader(dataset.root("vectors")).gather(places))
