"""Sounds of evaluation lists whose media are at hand: what `dedupe` compares the clips of a dataset with.

    guards/sounds/<name>.parquet    one row a sound of a guard

They come from another dataset, or from a folder of media that nobody has vouched for. Only hashes and fingerprints are
kept, no sound.
"""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.current import FETCH_OF, current_sql
from curation.dataset import CONFIG_FILE, Dataset
from curation.duplicates.chromaprint import fingerprint
from curation.duplicates.matching import PrintRule
from curation.errors import ArgumentError, ClipError, DatasetError
from curation.keys import file_sha256
from curation.names import plain_name
from curation.schema import column, table
from curation.tables import Row, write_parquet

GUARD_SOUNDS = table(
    "One row a sound of an evaluation list.",
    column("sound", pa.string(), "its file relative to the folder, or the clip_id in the dataset it came from"),
    column("pcm_sha256", pa.string(), "as `measure` has it; null for a file of a folder"),
    column("fingerprint", pa.binary(), "as `print` has it; empty for a sound below about 2.7 s"),
)

SUFFIXES = frozenset(
    f".{name}"
    for name in "aac aif aiff amr avi flac m4a mkv mov mp3 mp4 oga ogg opus wav webm wma".split()  # noqa: SIM905
)
"""Files that count as media in a folder."""


def sounds_path(dataset: Dataset, name: str) -> Path:
    """Where the sounds of the guard of this name are, or would be."""
    return dataset.folder("guards") / "sounds" / f"{plain_name(name, 'guard')}.parquet"


def sounds_sha256(dataset: Dataset, name: str) -> str | None:
    """sha256 of the sounds of a guard; None for a guard without."""
    path = sounds_path(dataset, name)
    return file_sha256(path) if path.is_file() else None


def with_sounds(dataset: Dataset) -> list[str]:
    """Names of the guards that have sounds."""
    return sorted(path.stem for path in (dataset.folder("guards") / "sounds").glob("*.parquet"))


def read_sounds(dataset: Dataset, name: str) -> pa.Table:
    """The sounds of a guard.

    Raises:
        DatasetError: They are damaged.
    """
    path = sounds_path(dataset, name)
    try:
        return pq.read_table(path).cast(GUARD_SOUNDS)
    except (pa.ArrowInvalid, ValueError, OSError) as error:
        raise DatasetError(
            f"sounds of a guard, {path}, are damaged ({error}); delete and register them again"
        ) from error


def add_sounds(dataset: Dataset, name: str, media: Path) -> int:
    """Register the sounds of an evaluation list; the same sounds again change nothing.

    Args:
        dataset: The dataset.
        name: Name of the guard.
        media: A dataset with the evaluation clips, measured and fingerprinted, or a folder of media files.

    Returns:
        How many sounds there are.

    Raises:
        ArgumentError: There are none, one cannot be read, or others are registered under this name.
    """
    is_dataset = (media / CONFIG_FILE).is_file()
    rows = _of_dataset(Dataset(media)) if is_dataset else pa.Table.from_pylist(list(_of_folder(media)), GUARD_SOUNDS)
    if not rows.num_rows:
        raise ArgumentError(f"{media} has no sounds, so guard {name!r} would guard none; give the folder that has them")
    mute = [
        row["sound"] for row in rows.to_pylist() if row["pcm_sha256"] is None and _telling(row) < PrintRule().min_words
    ]
    if mute:
        raise ArgumentError(
            f"{len(mute)} sounds of {media} are too short or too even for a fingerprint, {mute[0]} among them, so "
            "nothing would be compared with them; give a dataset of them that was measured"
        )
    rows = rows.sort_by("sound")
    path = sounds_path(dataset, name)
    if not path.is_file():
        write_parquet(path, rows)
    elif not read_sounds(dataset, name).equals(rows):
        raise ArgumentError(
            f"guard {name!r} has other sounds, and selections made with it rely on them; give another name, or delete "
            f"{path} first"
        )
    return int(rows.num_rows)


def _telling(row: Row) -> int:
    """How many words of a fingerprint differ from the one before: those by which sounds are told apart."""
    words = np.frombuffer(row["fingerprint"] or b"", "<u4")
    return 1 + int(np.count_nonzero(np.diff(words))) if len(words) else 0


def _of_dataset(other: Dataset) -> pa.Table:
    """The sounds of another dataset's clips."""
    for stage, verb in (("measure", "measure"), ("print", "dedupe")):
        if not other.has_stage(stage):
            raise ArgumentError(f"stage {stage!r} has not run on {other.path}; run `foundsound {verb}` on it first")
    with other.connect() as connection:
        _create_current(connection, other)
        query = """SELECT measured.key AS sound, measured.pcm_sha256, printed.fingerprint
            FROM measured LEFT JOIN printed ON printed.key = measured.key WHERE measured.state = 'done'"""
        rows = connection.sql(query).to_arrow_table().cast(GUARD_SOUNDS)
    if holes := rows.filter(pc.is_null(rows["fingerprint"]))["sound"].to_pylist():
        raise ArgumentError(
            f"{len(holes)} clips of {other.path} have no fingerprint, {holes[0]} among them, and a guard with holes is "
            "none; run `foundsound dedupe` on it"
        )
    return rows


def _create_current(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
    if dataset.has_stage("fetch"):
        connection.execute(f"CREATE TEMP VIEW fetch_of AS {FETCH_OF}")
    for view, stage in (("measured", "measure"), ("printed", "print")):
        (label,) = dataset.current_facts(stage)
        connection.execute(f"CREATE TEMP VIEW {view} AS {current_sql(dataset, stage, label)}")


def _of_folder(folder: Path) -> Iterator[dict[str, str | bytes]]:
    """The fingerprints of the media files below a folder; one that cannot be read is a hole in the guard."""
    if not folder.is_dir():
        raise ArgumentError(f"{folder} is neither a dataset nor a folder of media")
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
    for path in files:
        try:
            yield {"sound": path.relative_to(folder).as_posix(), "fingerprint": fingerprint(path)}
        except ClipError as error:
            raise ArgumentError(
                f"{path} cannot be read ({error}); a guard with holes is none, mend or remove it"
            ) from error
