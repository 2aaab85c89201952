"""Files that a kill left behind and that no row names: any of them may be of a video that is taken down.

Called under the lock of a takedown, while nothing else writes. What lies in an object store, or in a folder elsewhere
that another dataset may use too, is left.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from curation.dataset import Dataset
from curation.storage import KINDS
from curation.tables import TEMPORARY
from curation.takedowns.erase import Touched, parquet_sql

_NAMED = ("media", "originals", "shards")
"""Folders in which the names say what is unfinished or not named by any row."""

_NOT_OURS = ("codecs", "exports", "guards", "locks", "runs")
"""Folders that are written without the locks that a takedown holds, or into which it does not go."""

_MEDIA_NAME = re.compile(r"[0-9a-f]{64}\.[A-Za-z0-9]+")


def kinds_elsewhere(dataset: Dataset) -> list[str]:
    """Places of the dataset that are not in its folder, in which nothing is looked for here."""
    return [str(dataset.root(kind)) for kind in KINDS if not _is_inside(dataset, kind)]


def _is_inside(dataset: Dataset, kind: str) -> bool:
    root = dataset.root(kind)
    return root.is_local and root.path.resolve().is_relative_to(dataset.path)


def unfinished_files(dataset: Dataset, act: bool) -> Iterator[Touched]:
    """Delete files under temporary names, of whatever age; those among media and shards go with what is not named."""
    found = {dataset.path: list(dataset.path.glob(f"{TEMPORARY}*.parquet"))}
    for top in sorted(dataset.path.iterdir()):
        if top.is_dir() and not top.is_symlink() and top.name not in (*_NOT_OURS, *_NAMED):
            found[top] = [path for path in top.rglob(f"{TEMPORARY}*") if path.is_file()]
    for top, paths in found.items():
        yield from _removed("leftover", top, paths, "that were never finished", act)


def orphans(dataset: Dataset, act: bool) -> Iterator[Touched]:
    """Delete media and arrays that no row of a stage and no selection names, and unfinished files among them."""
    found: list[tuple[Path, Iterator[Path]]] = []
    for kind, stage, columns in (
        ("media", "cut", ("audio_sha256", "video_sha256")),
        ("originals", "fetch", ("original_sha256",)),
    ):
        if _is_inside(dataset, kind):
            folder = dataset.root(kind).path
            found.append((folder, _unnamed(folder, _named(dataset, stage, columns))))
    blobs = _blobs(dataset)
    for kind in ("vectors", "latents"):
        if _is_inside(dataset, kind):
            folder = dataset.root(kind).path
            found.append((folder, (path for path in folder.rglob("blob-*.bin") if path.name not in blobs)))
    for folder, paths in found:
        yield from _removed("orphans", folder, paths, "that no row names", act)


def _removed(kind: str, place: Path, paths: Iterable[Path], what: str, act: bool) -> Iterator[Touched]:
    count = size_bytes = 0
    for path in paths:
        count, size_bytes = count + 1, size_bytes + path.stat().st_size
        if act:
            path.unlink()
    if count:
        yield Touched(kind=kind, place=str(place), what=f"{count:,} files {what} ({size_bytes:,} bytes) removed")


def _unnamed(folder: Path, named: npt.NDArray[np.uint64] | None) -> Iterator[Path]:
    """Files of a media store whose sum is not among those named, and unfinished ones; a folder at a time.

    Args:
        folder: Root of the store.
        named: First 64 bits of the sums, sorted; None where nothing is known of any.
    """
    if named is None:
        return
    for part in sorted(folder.glob("[0-9a-f][0-9a-f]")):
        names = [entry.name for entry in os.scandir(part) if entry.is_file(follow_symlinks=False)]
        media = [name for name in names if _MEDIA_NAME.fullmatch(name)]
        known = np.isin(np.array([int(name[:16], 16) for name in media], np.uint64), named)
        yield from (part / name for name in names if name.startswith(TEMPORARY))
        yield from (part / name for name, is_known in zip(media, known, strict=True) if not is_known)


def _named(dataset: Dataset, stage: str, columns: tuple[str, ...]) -> npt.NDArray[np.uint64] | None:
    """First 64 bits of all sums that rows of a stage, whenever it ran, and selections have in some columns, sorted.

    So many bits are enough: where two sums begin alike a file stays that might go.

    Returns:
        The bits; None where the stage never ran.
    """
    files = sorted((dataset.path / "facts" / stage).glob("*/part-*.parquet"))
    if not files:
        return None
    files += sorted(dataset.folder("selections").glob("[!.]*.parquet"))
    by_column = {name: [file for file in files if name in pq.read_schema(file).names] for name in columns}
    sums = " UNION ALL ".join(f"SELECT {name} AS sha256 FROM {parquet_sql(of)}" for name, of in by_column.items() if of)
    if not sums:
        return None
    query = f"SELECT DISTINCT TRY_CAST('0x' || left(sha256, 16) AS UBIGINT) AS bits FROM ({sums})"
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET memory_limit = '2GB'; SET enable_progress_bar = false; SET threads = 2")
        found = connection.execute(f"FROM ({query}) WHERE bits IS NOT NULL").fetchnumpy()["bits"]
        return np.sort(found.astype(np.uint64))


def _blobs(dataset: Dataset) -> set[str]:
    """File names of the blobs that any row names."""
    files = sorted((dataset.path / "facts").glob("*/*/part-*.parquet"))
    names: set[str] = set()
    for file in (file for file in files if "blob" in pq.read_schema(file).names):
        places = pq.read_table(file, columns=["blob"])["blob"].unique().drop_null().to_pylist()
        names.update(place.rpartition("/")[2] for place in places)
    return names
