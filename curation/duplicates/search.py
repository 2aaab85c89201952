"""The search for duplicates: pairs of every layer, joined into groups, the copies of each ordered from the best down.

What two sounds have in common is decided in `matching.py` and `vectors.py`; what is done about it in `select`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.blobs import BlobReader, BlobRef
from curation.current import FETCH_OF, current_sql
from curation.dataset import Dataset
from curation.duplicates.found import DUPLICATES, Found, covered_sql, found_path
from curation.duplicates.groups import groups
from curation.duplicates.matching import Pairs, PrintRule, Prints, same_recordings
from curation.duplicates.vectors import clip_vector, near_pairs
from curation.errors import ArgumentError
from curation.guards import guarded_sounds
from curation.keys import file_sha256
from curation.streaming import write_query
from curation.tables import write_bytes

LAYERS = ("samples", "print", "vectors")
"""What may be searched, cheapest first. `samples` always is."""

_LINKS = ("samples", "span", "print", "vectors")
"""By what a clip may be tied to a group, the surest first."""

PAIRS = pa.schema([("one", pa.string()), ("other", pa.string()), ("link", pa.int32()), ("distance", pa.float64())])

_SOUNDS = """
CREATE TEMP TABLE sounds AS
SELECT clips.clip_id, clips.video_key, clips.start_ms, clips.duration_ms, measured.pcm_sha256
FROM clips JOIN (SELECT key, pcm_sha256, state FROM ({measured})) AS measured ON measured.key = clips.clip_id
WHERE measured.pcm_sha256 IS NOT NULL AND measured.state = 'done'"""

_BY_SAMPLES = """
WITH shared AS (SELECT pcm_sha256, min(clip_id) AS one FROM sounds GROUP BY pcm_sha256 HAVING count(*) > 1)
SELECT shared.one, sounds.clip_id AS other FROM sounds JOIN shared USING (pcm_sha256)
WHERE sounds.clip_id <> shared.one
UNION ALL
SELECT sounds.clip_id, guarded.sound FROM guarded JOIN sounds USING (pcm_sha256)"""

_BY_SPAN = """
SELECT a.clip_id AS one, b.clip_id AS other, 1 - shared_ms / least(a.duration_ms, b.duration_ms) AS distance
FROM sounds AS a JOIN sounds AS b ON b.video_key = a.video_key AND a.clip_id < b.clip_id
    AND a.start_ms < b.start_ms + b.duration_ms AND b.start_ms < a.start_ms + a.duration_ms,
LATERAL (SELECT least(a.start_ms + a.duration_ms, b.start_ms + b.duration_ms) - greatest(a.start_ms, b.start_ms)
    AS shared_ms)
WHERE shared_ms >= {min_share} * least(a.duration_ms, b.duration_ms)"""
"""Clips of one video that share enough of its time are one recording, whatever they sound like: of 0-10 s from one list
and 1-11 s from another one is kept. Clips that share less, or only touch, are left alone, and so are segments."""

_ORDERED = """
SELECT members.clip_id, min(members.clip_id) OVER (PARTITION BY members.number) AS "group",
    (row_number() OVER best - 1)::INTEGER AS rank, first_value(members.clip_id) OVER best AS kept_clip_id,
    members.layer, members.like_id, members.distance, members.guard_sounds
FROM members
LEFT JOIN (
    SELECT key, bandwidth_hz, sample_rate_hz, clipping_ratio, duration_s FROM ({measured})
    WHERE key IN (SELECT clip_id FROM members)
) AS measured ON measured.key = members.clip_id
LEFT JOIN (SELECT key, video_sha256 FROM ({cut}) WHERE key IN (SELECT clip_id FROM members)) AS cut
    ON cut.key = members.clip_id
WINDOW best AS (PARTITION BY members.number ORDER BY
    floor(measured.bandwidth_hz / 1000) DESC NULLS LAST, measured.sample_rate_hz DESC NULLS LAST,
    round(measured.clipping_ratio, 3) NULLS LAST, cut.video_sha256 IS NULL,
    round(measured.duration_s, 2) DESC NULLS LAST, members.clip_id)
ORDER BY "group", rank"""
"""The best copy has the widest band (a re-encoding only takes away), then the higher rate, less clipping, a picture,
the longer sound; values are rounded, so that what coding alone changes does not decide. Equal ones go by clip_id.
Source: ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What is searched.

    Args:
        layers: Of `LAYERS`; `samples` is always searched.
        prints: When two fingerprints are of the same recording.
        embedder: `stage:label` of the vectors, as `embed:clap`; for the layer `vectors`.
        min_cosine: Least cosine of near-duplicates, in (0, 1]; for the layer `vectors`. There is no default, since it
            differs from embedder to embedder. Source for EfficientAT mn04: ours, measured (`python -m benchmarks
            duplicates`): of 7,735 pairs of different recordings none lies above 0.97 and three above 0.90; of copies as
            MP3 of 64 kbit/s 0.83 lie above 0.97.

    Raises:
        ArgumentError: A layer is unknown, or `vectors` lacks its embedder or cosine.
    """

    layers: Sequence[str] = ("samples", "print")
    prints: PrintRule = field(default_factory=PrintRule)
    embedder: str | None = None
    min_cosine: float | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.layers) - set(LAYERS))
        if unknown:
            raise ArgumentError(f"layer {unknown[0]!r} is none of {', '.join(LAYERS)}")
        if "vectors" in self.layers and (self.embedder is None or self.min_cosine is None):
            raise ArgumentError(
                "the layer `vectors` needs --embedder, as embed:clap, and --cosine, the least of near-duplicates"
            )
        if self.min_cosine is not None and not 0 < self.min_cosine <= 1:
            raise ArgumentError(f"--cosine must be in (0, 1], not {self.min_cosine}")

    def as_dict(self) -> dict[str, Any]:
        """For `duplicates/<name>.json`."""
        chosen = [layer for layer in LAYERS if layer in {"samples", *self.layers}]
        return {
            "layers": chosen,
            "prints": asdict(self.prints) if "print" in chosen else None,
            "embedder": self.embedder if "vectors" in chosen else None,
            "min_cosine": self.min_cosine if "vectors" in chosen else None,
        }


def find_duplicates(dataset: Dataset, name: str, search: Search) -> Found:
    """Search a dataset for duplicates and write their groups; groups of the same name are replaced.

    Args:
        dataset: The dataset; `measure` must have run, and `print` or the embedder for their layers.
        name: Name of the groups.
        search: What is searched.

    Raises:
        ArgumentError: A stage has not run, or FAISS is missing for the layer `vectors`.
    """
    path, settings = found_path(dataset, name), search.as_dict()
    for stage in ("measure", *(("print",) if "print" in settings["layers"] else ())):
        if not dataset.has_stage(stage):
            raise ArgumentError(f"stage {stage!r} has not run on {dataset.path}; run `foundsound {stage}` first")
    # By samples alone most copies of a guard's sound stay unseen: such groups do not count as compared with it.
    names = guarded_sounds.with_sounds(dataset) if "print" in settings["layers"] else []
    with dataset.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")  # of working tables; the result is sorted
        measured, cut = _create_sounds(connection, dataset)
        guarded = _guarded(dataset, names)
        connection.register("guarded", guarded.select(["sound", "pcm_sha256"]))
        pairs, counts = [_pairs(connection, _BY_SAMPLES, "samples")], {}
        if "print" in settings["layers"]:
            pairs.append(_pairs(connection, _BY_SPAN.format(min_share=search.prints.min_share), "span"))
            found, counts["without_print"] = _by_print(connection, dataset, guarded, search.prints)
            pairs.append(found)
        if search.embedder and search.min_cosine and "vectors" in settings["layers"]:
            found, counts["without_vector"] = _by_vectors(connection, dataset, search.embedder, search.min_cosine)
            pairs.append(found)
        connection.register("members", _members(pa.concat_tables(pairs), set(guarded["sound"].to_pylist())))
        ordered = _ORDERED.format(measured=measured, cut=cut)
        by_layer = write_query(connection, ordered, path, DUPLICATES, count_by="layer")
        groups_count = _count(connection, "SELECT count(DISTINCT number) FROM members")
        covered = connection.sql(covered_sql("sounds")).to_arrow_table().to_pylist()[0]
    found_now = Found(
        name=name,
        path=path,
        sha256=file_sha256(path),
        settings=settings,
        guards={guard: str(guarded_sounds.sounds_sha256(dataset, guard)) for guard in names},
        covered=covered,
        counts={"groups": groups_count, "clips": sum(by_layer.values()), "by_layer": by_layer, **counts},
    )
    content = json.dumps(found_now.as_dict(), indent=2, sort_keys=True, ensure_ascii=False)
    write_bytes(path.with_name(f"{name}.json"), content.encode())
    return found_now


def _create_sounds(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> tuple[str, str]:
    """The table `sounds`: every clip that was measured as it is now; and queries for what `measure` and `cut` say."""
    if dataset.has_stage("fetch"):
        connection.execute(f"CREATE TEMP TABLE fetch_of AS {FETCH_OF}")
    measured, cut = (current_sql(dataset, stage, _label(dataset, stage)) for stage in ("measure", "cut"))
    connection.execute(_SOUNDS.format(measured=measured))
    return measured, cut


def _label(dataset: Dataset, stage: str, label: str | None = None) -> str:
    labels = sorted(dataset.current_facts(stage))
    if label is None and len(labels) == 1:
        return labels[0]
    if label not in labels:
        raise ArgumentError(
            f"{dataset.path} has no {label!r} of stage {stage!r} (there are: {', '.join(labels) or 'none'})"
        )
    return label


def _guarded(dataset: Dataset, names: Sequence[str]) -> pa.Table:
    """The sounds of all guards, called `<guard>/<sound>`."""
    found = [guarded_sounds.GUARD_SOUNDS.empty_table()]
    for name in names:
        rows = guarded_sounds.read_sounds(dataset, name)
        named = pa.array([f"{name}/{sound}" for sound in rows["sound"].to_pylist()], pa.string())
        found.append(rows.set_column(0, "sound", named).cast(guarded_sounds.GUARD_SOUNDS))
    return pa.concat_tables(found)


def _pairs(connection: duckdb.DuckDBPyConnection, query: str, link: str) -> pa.Table:
    rows = connection.sql(query).to_arrow_table()
    distance = rows["distance"] if "distance" in rows.column_names else pa.array(np.zeros(rows.num_rows))
    return _named_pairs(rows["one"], rows["other"], distance, link)


def _named_pairs(one: Any, other: Any, distance: Any, link: str) -> pa.Table:
    kinds = pa.array(np.full(len(one), _LINKS.index(link)), pa.int32())
    return pa.table([one, other, kinds, distance], names=PAIRS.names).cast(PAIRS)


def _by_print(
    connection: duckdb.DuckDBPyConnection, dataset: Dataset, guarded: pa.Table, rule: PrintRule
) -> tuple[pa.Table, int]:
    """Pairs by fingerprint, and how many clips have none; of equal samples only the first is looked at."""
    printed = current_sql(dataset, "print", _label(dataset, "print"))
    rows = connection.sql(
        f"""SELECT firsts.clip_id, printed.fingerprint
        FROM (SELECT min(clip_id) AS clip_id FROM sounds GROUP BY pcm_sha256) AS firsts
        LEFT JOIN (SELECT key, fingerprint FROM ({printed})) AS printed ON printed.key = firsts.clip_id
        ORDER BY firsts.clip_id"""
    ).to_arrow_table()
    texts = [text or b"" for text in rows["fingerprint"].to_pylist()]
    prints = Prints.of([*texts, *(text or b"" for text in guarded["fingerprint"].to_pylist())])
    pairs = same_recordings(prints, rule, own=len(texts))
    names = pa.chunked_array([*rows["clip_id"].chunks, *guarded["sound"].chunks], pa.string())
    return _of_numbers(names, pairs, "print"), sum(not text for text in texts)


def _by_vectors(
    connection: duckdb.DuckDBPyConnection, dataset: Dataset, embedder: str, min_cosine: float
) -> tuple[pa.Table, int]:
    """Pairs by the vectors of an embedder or tagger, and how many clips have none."""
    stage, _, label = embedder.partition(":")
    if not dataset.has_stage(stage):
        raise ArgumentError(f"stage {stage!r} has not run on {dataset.path}; run `foundsound {stage}` first")
    current = current_sql(dataset, stage, _label(dataset, stage, label or None))
    rows = connection.sql(
        f"""SELECT sounds.clip_id, found.* EXCLUDE (key)
        FROM (SELECT min(clip_id) AS clip_id FROM sounds GROUP BY pcm_sha256) AS sounds
        JOIN (SELECT * FROM ({current}) WHERE state = 'done') AS found ON found.key = sounds.clip_id
        ORDER BY sounds.clip_id"""
    ).to_arrow_table()
    missing = {"blob", "offset_bytes", "dimension"} - set(rows.column_names)
    if missing:
        raise ArgumentError(f"stage {stage!r} keeps no vectors: its facts have no {', '.join(sorted(missing))}")
    reader = BlobReader(dataset.root("vectors"))
    vectors = [clip_vector(reader.read(_place(row))) for row in rows.drop_columns(["clip_id"]).to_pylist()]
    found = near_pairs(np.stack(vectors) if vectors else np.zeros((0, 1), np.float32), min_cosine)
    sounds = _count(connection, "SELECT count(DISTINCT pcm_sha256) FROM sounds")
    return _of_numbers(rows["clip_id"], found, "vectors"), sounds - rows.num_rows


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    """The one number that a query gives."""
    return int(connection.sql(query).to_arrow_table().columns[0][0].as_py())


def _place(row: Mapping[str, Any]) -> BlobRef:
    """Where a clip's vectors lie: float16, one a window."""
    shape = (row.get("windows") or 1, row["dimension"])
    return BlobRef(blob=row["blob"], offset_bytes=row["offset_bytes"], shape=shape, dtype="<f2")


def _of_numbers(names: pa.ChunkedArray, pairs: Pairs, link: str) -> pa.Table:
    return _named_pairs(names.take(pairs.first), names.take(pairs.second), pa.array(pairs.distance), link)


def _members(pairs: pa.Table, guard_names: set[str]) -> pa.Table:
    """The clips that are in a pair: number of the group, the nearest other by the surest link, sounds of guards."""
    both = pa.concat_tables(
        [pairs, pairs.select(["other", "one", "link", "distance"]).rename_columns(PAIRS.names)]
    ).combine_chunks()
    names = pc.unique(both["one"]).sort()
    ones, others = (pc.index_in(both[side], names).to_numpy().astype(np.int64) for side in ("one", "other"))
    number = groups(len(names), ones[: pairs.num_rows], others[: pairs.num_rows])
    order = np.lexsort((others, both["distance"].to_numpy(), both["link"].to_numpy(), ones))
    first = order[np.unique(ones[order], return_index=True)[1]]
    is_guard = np.array([name in guard_names for name in names.to_pylist()], bool)
    sounds: dict[int, list[str]] = {}
    for place in np.flatnonzero(is_guard).tolist():
        sounds.setdefault(int(number[place]), []).append(names[place].as_py())
    own = np.flatnonzero(~is_guard)
    links = both["link"].to_numpy()[first[own]]
    return pa.table(
        {
            "clip_id": names.take(own),
            "number": number[own],
            "layer": pa.array([_LINKS[link] for link in links.tolist()], pa.string()),
            "like_id": names.take(others[first[own]]),
            "distance": both["distance"].take(first[own]),
            "guard_sounds": pa.array(
                [sorted(sounds.get(group, ())) for group in number[own].tolist()], pa.list_(pa.string())
            ),
        }
    )
