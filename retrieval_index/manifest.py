"""The files of an index and the manifest that binds them: how a change is committed, and what is refused on opening.

    indexes/<name>/index.json              the manifest; replaced in one step, which is the only commit
    indexes/<name>/vectors-<sum>.faiss     the vectors as FAISS holds them; a vector's place in it is its slot
    indexes/<name>/rows-<sum>.arrow        which window of which clip is in which slot; mapped
    indexes/<name>/clips-<sum>.parquet     the clips that are in it, by which a takedown finds it

Files are named by their content and never changed. A change writes new ones beside the old, swaps the manifest, and
deletes what no manifest names any more; a kill at any moment leaves the index as it was before or as it is after.
Slots are no names: outside of an index a window is (clip_id, window).

The manifest binds the embedder (class, weights, preprocessing), the selection, and the sums of both files; the rows
bind each clip's sound and the vectors that were gathered. What differs is refused with the command that repairs it.
"""

import hashlib
import json
import shlex
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import ArgumentError, DatasetError
from curation.keys import canonical, file_sha256
from curation.schema import column, table
from curation.tables import TEMPORARY, sync_path, write_bytes

MANIFEST_FILE = "index.json"
INDEX_VERSION = 3

CHECKED_BYTES = 1 << 30
"""Vectors up to this size are read once and compared with their sum when an index is opened, larger ones only by their
length, so that opening a mapped file stays quick. Source: ours; 1 GiB takes a second."""

WRITTEN_AT_ONCE = 1 << 20
"""Bytes that FAISS hands over at once. Source: ours, its own default; a copy of them costs a tenth of writing."""

SUFFIXES = (".faiss", ".arrow", ".parquet")
"""Of the files of an index."""

NAME_DIGITS = 16
"""Digits of a file's sha256 in its name: 64 bits tell the few files of one index apart."""

ROWS = table(
    "One row a window, in the order of the vectors.",
    column("clip_id", pa.string(), "the clip"),
    column("start_s", pa.float64(), "start of the window in the clip, s"),
    column("end_s", pa.float64(), "end of the window in the clip, s"),
    column("caption", pa.string(), "the caption chosen for the clip, or empty"),
    column("audio_sha256", pa.string(), "sha256 of its .flac in the media store"),
)
"""What is given with vectors."""

PLACED = pa.schema(
    [
        *(field.with_type(pa.large_string()) if field.type == pa.string() else field for field in ROWS),
        column("window", pa.int32(), "number of the window in its clip, from 0: with clip_id its name"),
        column("slot", pa.int64(), "place of its vector in the FAISS file"),
        column("vectors_sha256", pa.large_string(), "first 16 digits of the sum of its clip's vectors, or null"),
    ],
    metadata={"meaning": "One row a window of an index, by slot."},
)
"""What an index keeps of each window. Texts are of the large kind, which stays in one piece however long it is."""

NUMBER = column("number", pa.int32(), "number of the clip in this file, from 0 in the order of the rows")
"""A further column of the file, so that nothing has to be counted when an index is opened."""

GATHERED = "gathered_from"
"""Field of `source` in the manifest: a sum of what the index was gathered from, by which a later run knows that nothing
has changed. Whatever adds or removes clips takes it away, so that it never speaks of another index than this one."""


def faiss_module() -> Any:
    """The installed FAISS.

    Raises:
        ArgumentError: There is none; the text has the install line.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ArgumentError(
            "searching needs FAISS: pip install 'foundsound[cpu]' (or [gpu] or [cuvs]; exactly one)"
        ) from error
    return faiss


def sum_of_vectors(vectors_WD: npt.NDArray[Any]) -> str:
    """What binds the rows of a clip to its vectors: the beginning of the sha256 of their bytes, as they are stored."""
    return hashlib.sha256(np.ascontiguousarray(vectors_WD).data).hexdigest()[:NAME_DIGITS]


def repair(folder: Path, manifest: Mapping[str, Any]) -> str:
    """The command that makes an index anew from what it was made of."""
    source = manifest.get("source", {})
    given = {"selection": "selection", "vectors": "vectors", "embedder": "given", "revision": "revision"}
    if source.get("selection") is None:
        return "foundsound index"
    words = [word for option, key in given.items() if source.get(key) for word in (f"--{option}", str(source[key]))]
    return shlex.join(["foundsound", "index", str(folder.parent.parent), "--name", folder.name, *words])


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of an index.

    Raises:
        DatasetError: There is no whole index in the folder, or another version wrote it.
    """
    file = Path(folder) / MANIFEST_FILE
    if not file.is_file():
        raise DatasetError(f"{folder} holds no index; make one with `foundsound index DATASET`")
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version = manifest["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{file} is damaged ({error!r}); run `foundsound index` again") from error
    if version != INDEX_VERSION:
        raise DatasetError(
            f"{folder} has index version {version!r}, this foundsound reads {INDEX_VERSION}; "
            "update foundsound or run `foundsound index` again"
        )
    return manifest


def commit(folder: Path, fields: Mapping[str, Any], rows: pa.Table, vectors: Any | None) -> dict[str, Any]:
    """Write the files of an index and make them count; not for two processes at once on one folder.

    Args:
        folder: The index.
        fields: The manifest without `version`, `files` and the counts; with `files` of the manifest before it where the
            vectors stay as they are.
        rows: With the columns of `PLACED`, sorted by slot.
        vectors: What FAISS holds; None keeps the file that `fields` names.

    Returns:
        The manifest as it now is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = dict(fields.get("files", {}))
    clip_ids = rows["clip_id"].combine_chunks().dictionary_encode()
    numbered = rows.append_column(NUMBER, clip_ids.indices).combine_chunks()
    clips = pa.table({"clip_id": clip_ids.dictionary.cast(pa.string())})
    try:  # the clips first, and deleted last: whatever a kill leaves, a takedown finds it
        files["clips"] = _write(folder, "clips", ".parquet", lambda to: pq.write_table(clips, to, compression="zstd"))
        if vectors is not None:
            files["vectors"] = _write(folder, "vectors", ".faiss", lambda to: write_vectors(vectors, to))
        files["rows"] = _write(folder, "rows", ".arrow", lambda to: _write_rows(numbered, to))
        sync_path(folder)
        counts = {"windows": rows.num_rows, "clips": clips.num_rows}
        manifest = {**fields, "version": INDEX_VERSION, **counts, "files": files}
        write_bytes(folder / MANIFEST_FILE, json.dumps(manifest, indent=2, ensure_ascii=False).encode())
    finally:
        clean(folder)
        with suppress(OSError):  # of a first index that could not be written nothing is left; any other stays
            folder.rmdir()
    return manifest


def write_vectors(vectors: Any, path: str) -> None:
    """Write what FAISS holds, through a file of our own.

    FAISS tells of a disk that is full when it closes its file on standard error only, and goes on with half of it.

    Raises:
        OSError: It cannot be written.
    """
    faiss = faiss_module()
    with Path(path).open("wb") as sink:
        faiss.write_index(vectors, faiss.PyCallbackIOWriter(sink.write, WRITTEN_AT_ONCE))


def _write_rows(rows: pa.Table, path: str) -> None:
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=max(1, rows.num_rows))  # one piece, that can be mapped as it is


def read_rows(folder: Path, manifest: Mapping[str, Any]) -> pa.Table:
    """What an index keeps of each window, by slot: the columns of `PLACED` and `NUMBER`, mapped and not read.

    Raises:
        DatasetError: The file is missing or was changed.
    """
    with pa.memory_map(str(checked_file(folder, manifest, "rows"))) as source:
        return pa.ipc.open_file(source).read_all()


def clean(folder: Path) -> None:
    """Delete what the manifest does not name: files of before, and what a killed process left."""
    named = {MANIFEST_FILE}
    if (folder / MANIFEST_FILE).is_file():
        try:
            named |= {file["name"] for file in read_manifest(folder)["files"].values()}
        except DatasetError:
            return
    for path in sorted(folder.iterdir(), key=lambda path: path.suffix == ".parquet"):
        if path.name not in named and (path.suffix in SUFFIXES or path.name.startswith(TEMPORARY)):
            path.unlink(missing_ok=True)


def checked_file(folder: Path, manifest: Mapping[str, Any], part: str, *, wholly: bool = False) -> Path:
    """The file of a part, `vectors` or `rows`, that is as it was written.

    Args:
        folder: The index.
        manifest: Its manifest.
        part: Name in `files`.
        wholly: Compare the sum however large it is.

    Raises:
        DatasetError: It is missing or was changed.
    """
    described = manifest["files"][part]
    path = folder / str(described["name"])
    whole = path.is_file() and path.stat().st_size == described["bytes"]
    if whole and (wholly or described["bytes"] <= CHECKED_BYTES):
        whole = file_sha256(path) == described["sha256"]
    if not whole:
        raise DatasetError(f"{path} is missing or was changed; run `{repair(folder, manifest)}` again")
    return path


def check_embedder(place: Path, manifest: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse an embedder that did not make the index, and say in what it differs.

    Raises:
        DatasetError: They differ in class, weights or preprocessing.
    """
    made_with = manifest["embedder"]
    if canonical(made_with) == canonical(given):
        return
    differing = ", ".join(
        f"{key}: {made_with.get(key)!r} there, {given.get(key)!r} here"
        for key in sorted({*made_with, *given})
        if made_with.get(key) != given.get(key)
    )
    raise DatasetError(
        f"{place} was made with another embedder ({differing}); open it with that one, or run "
        f"`{repair(place, manifest)}` again"
    )


def _write(folder: Path, stem: str, suffix: str, write: Any) -> dict[str, Any]:
    """Write a file under a temporary name, sync it and name it by its content."""
    temporary = folder / f"{TEMPORARY}{uuid.uuid4().hex[:12]}-{stem}{suffix}"
    write(str(temporary))
    sync_path(temporary)
    sha256 = file_sha256(temporary)
    path = folder / f"{stem}-{sha256[:NAME_DIGITS]}{suffix}"
    temporary.replace(path)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256}
