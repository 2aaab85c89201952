"""The groups of duplicates of a dataset, as `dedupe` leaves them on disk and `select` reads them.

    duplicates/<name>.parquet    one row a clip that has a copy, sorted by group and rank
    duplicates/<name>.json       layers, thresholds, guards, counts, sha256 of the Parquet file

They are found in `curation/duplicates/search.py`. Groups are of the clips that were measured then; a selection refuses
them once clips were measured since, and once a guard got sounds that they were not compared with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curation.current import current_sql
from curation.dataset import Dataset
from curation.described import read_described
from curation.errors import ArgumentError
from curation.guards import guarded_sounds
from curation.names import plain_name
from curation.schema import SCHEMA_VERSION, TEXTS, column, table
from curation.views import quoted

DUPLICATES = table(
    "One row a clip whose sound is there more than once, in this dataset or in a guard's sounds.",
    column("clip_id", pa.string(), "the clip"),
    column("group", pa.string(), "the smallest clip_id of its group"),
    column("rank", pa.int32(), "place in the group, the best copy first, from 0"),
    column("kept_clip_id", pa.string(), "the best copy of the group"),
    column("layer", pa.string(), "by what it is tied to the group: `samples`, `span`, `print` or `vectors`"),
    column("like_id", pa.string(), "the clip that it is nearest to by that layer, or `<guard>/<sound>`"),
    column("distance", pa.float64(), "to that one: 0 for samples; share of time not shared, of bits, or 1 - cosine"),
    column("guard_sounds", TEXTS, "sounds of guards in its group, as `<guard>/<sound>`, sorted"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a search for duplicates came to.

    Args:
        name: Name of the groups.
        path: Their Parquet file.
        sha256: sha256 of that file.
        settings: Layers and thresholds that were asked for.
        guards: Guard with sounds -> sha256 of those that the clips were compared with.
        covered: `clips`, how many clips were compared, and `digest` of which.
        counts: Number of `groups`, of `clips` in them, of clips `by_layer`, and `without_print` or `without_vector`.
    """

    name: str
    path: Path
    sha256: str
    settings: dict[str, Any]
    guards: dict[str, str]
    covered: dict[str, Any]
    counts: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The content of `duplicates/<name>.json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "sha256": self.sha256,
            "settings": self.settings,
            "guards": self.guards,
            "covered": self.covered,
            "counts": self.counts,
        }


def found_path(dataset: Dataset, name: str) -> Path:
    """Where the groups of this name are, or would be."""
    return dataset.folder("duplicates") / f"{plain_name(name, 'set of duplicates')}.parquet"


def read_found(dataset: Dataset, name: str) -> Found:
    """The settings and counts of groups that were found.

    Raises:
        ArgumentError: There are none of this name.
        DatasetError: The two files do not belong together, as after a kill between them.
    """
    return read_described(found_path(dataset, name), Found, what="duplicates", verb="dedupe")


def read_groups(dataset: Dataset, name: str) -> pa.Table:
    """The rows of groups that were found, with the columns of `DUPLICATES`.

    Raises:
        ArgumentError: There are none of this name.
        DatasetError: They are damaged.
    """
    return pq.read_table(read_found(dataset, name).path)


def covered_sql(measured: str) -> str:
    """SQL for `clips` and `digest`: which clips with which sounds a table with `clip_id`, `pcm_sha256` holds."""
    return f"""SELECT count(*) AS clips,
        coalesce(bit_xor(md5_number_lower(clip_id || pcm_sha256)), 0)::VARCHAR AS digest
    FROM {measured} WHERE pcm_sha256 IS NOT NULL"""


_UNCOMPARED = """INSERT INTO guarded SELECT clips.clip_id, {guard} FROM clips
ANTI JOIN (SELECT key AS clip_id FROM ({printed}) WHERE state = 'done') AS compared USING (clip_id)"""
"""What could not be compared with the sounds of a guard is refused by it."""


def _printed(dataset: Dataset) -> str:
    """SQL of the fingerprints that count now."""
    (label,) = dataset.current_facts("print")
    return current_sql(dataset, "print", label)


def create_duplicates(
    connection: duckdb.DuckDBPyConnection, dataset: Dataset, name: str | None, guards: Sequence[str]
) -> Mapping[str, Any] | None:
    """Make the view `duplicates` for a selection.

    Args:
        connection: Where the view is made.
        dataset: The dataset.
        name: Name of the groups; None makes no view.
        guards: Guards whose sounds the selection refuses.

    Returns:
        `covered` of the groups, to be compared with what the selection sees; None without a name.

    Raises:
        ArgumentError: The groups are not there, or a guard has sounds that they were not compared with.
        DatasetError: They are damaged.
    """
    found = None if name is None else read_found(dataset, name)
    for guard in sorted(set(guards)):
        has = guarded_sounds.sounds_sha256(dataset, guard)
        if has is not None and (found is None or found.guards.get(guard) != has):
            which = "no duplicates are given" if found is None else f"duplicates {name!r} were found without them"
            raise ArgumentError(
                f"guard {guard!r} has sounds, and {which}: run `foundsound dedupe {dataset.path}` and select with "
                "--duplicates, so that its sounds are looked for"
            )
    if found is None:
        return None
    for guard in sorted(set(guards)):
        if guarded_sounds.sounds_sha256(dataset, guard) is not None:
            connection.execute(_UNCOMPARED.format(guard=quoted(guard), printed=_printed(dataset)))
    connection.execute(f"CREATE TEMP VIEW duplicates AS SELECT * FROM read_parquet({quoted(str(found.path))})")
    return found.covered


def found_sha256(dataset: Dataset, name: str) -> str:
    """sha256 of groups that were found.

    Raises:
        ArgumentError: There are none of this name.
    """
    return read_found(dataset, name).sha256
