"""Rewriting the shards that hold clips of videos that were taken down, in every generation that names them.

First what is left of each such shard is written beside it under a new name, then every index is replaced that named the
old one, and then the old files are deleted. At each moment every generation is whole; after a kill the same is done
again, and files that no index names are deleted then.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import BinaryIO

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.keys import file_sha256
from curation.schema import SCHEMA_VERSION
from curation.selections.selection import read_report
from curation.shards.generation import INDEX_FILE, GenerationIndex, ShardInfo, generations, offsets_file
from curation.shards.layout import MEMBERS, TarWriter, read_offsets, write_offsets
from curation.shards.write import BUFFER_BYTES, publish_shard, temporary_of
from curation.storage import Root, fresh_copy
from curation.tables import Row
from curation.takedowns.erase import Doomed, Touched


def shards(dataset: Dataset, doomed: Doomed, act: bool) -> Iterator[Touched]:
    """Rewrite shards and indexes, and delete what no index names any more.

    Args:
        dataset: The dataset; the locks of packing are held.
        doomed: What is to go.
        act: Whether to do it, or only to say what would be done.
    """
    root = dataset.root("shards")
    found = generations(root)
    rewritten: dict[str, ShardInfo | None] = {}
    for place, shard in _placed(found).items():
        folder = root / place.partition("/")[0]
        rows: list[Row] = read_offsets(offsets_file(folder, shard)).to_pylist()
        left = [row for row in rows if not _is_doomed(row, doomed)]
        if len(left) < len(rows):
            yield Touched(kind="shard", place=f"{root}/{place}", what=f"{len(rows) - len(left)} clips removed")
            rewritten[place] = _rewrite(folder, shard, left) if act and left else None
    for name, index in found.items():
        new = _without(name, index, rewritten)
        if new != index:
            yield Touched(kind="generation", place=f"{root}/{name}", what="its index names the shards that are left")
        if act:
            new = _packed_from(dataset, new)
            if new != index:
                (root / name).write(INDEX_FILE, new.to_bytes())
            found[name] = new
    yield from _strangers(root, set(_placed(found)), act)


def _placed(found: dict[str, GenerationIndex]) -> dict[str, ShardInfo]:
    """`<generation>/<name>` -> shard, named as in its own generation, of all shards that any index names.

    Also those that their own generation names no more, since it was rewritten before a kill.
    """
    placed = {}
    for name, index in found.items():
        for shard in index.shards:
            own = replace(shard, name=shard.name.rpartition("/")[2])
            placed[f"{shard.generation or name}/{own.name}"] = own
    return placed


def _is_doomed(row: Row, doomed: Doomed) -> bool:
    about = json.loads(row["json"])
    return row["key"] in doomed.keys or (about["platform"], about["video_id"]) in doomed.ids


def _rewrite(folder: Root, shard: ShardInfo, left: list[Row]) -> ShardInfo:
    """Write what is left of a shard under a new name, which follows from it; its members are copied as they are."""
    digest = hashlib.sha256("\n".join(row["key"] for row in left).encode()).hexdigest()
    name = f"{shard.name.partition('-')[0]}-{digest[:8]}"
    with ExitStack() as leftovers:
        files = {f"{name}{suffix}": temporary_of(folder, f"{name}{suffix}") for suffix in (".tar", ".arrow")}
        tar, arrow = files.values()
        for path in files.values():
            leftovers.callback(path.unlink, missing_ok=True)
        source = leftovers.enter_context(fresh_copy(folder, f"{shard.name}.tar", leftovers).open("rb"))
        with tar.open("wb", buffering=BUFFER_BYTES) as file:
            writer = TarWriter(file)
            rows = [_copy(source, writer, row) for row in left]
            members_sha256 = writer.finish()
        texts = [f"layout {SCHEMA_VERSION}", *(row["json"] for row in rows)]
        plan_sha256 = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        write_offsets(arrow, rows, plan_sha256=plan_sha256, members_sha256=members_sha256)
        info = ShardInfo(
            name=name,
            clips=len(rows),
            tar_bytes=writer.size_bytes,
            members_sha256=members_sha256,
            arrow_bytes=arrow.stat().st_size,
            arrow_sha256=file_sha256(arrow),
        )
        publish_shard(folder, files)
    return info


def _copy(source: BinaryIO, writer: TarWriter, row: Row) -> Row:
    """Copy the members of one clip from a tar to another; its row of offsets there.

    Raises:
        DatasetError: A member does not have the sum that its `.json` names.
    """
    sums = json.loads(row["json"])["sha256"]
    copied = dict(row)
    for member in MEMBERS:
        if row[f"{member}_offset_bytes"] is None:
            continue
        source.seek(row[f"{member}_offset_bytes"])
        content = source.read(row[f"{member}_size_bytes"])
        copied[f"{member}_offset_bytes"], sha256 = writer.add(f"{row['key']}.{member}", content)
        if sums.get(member, sha256) != sha256:
            raise DatasetError(
                f"the .{member} of clip {row['key']} in {source.name} has another sum than its .json says; "
                "`foundsound verify` says what else is damaged; delete that generation, or restore it, and forget again"
            )
    return copied


def _without(name: str, index: GenerationIndex, rewritten: dict[str, ShardInfo | None]) -> GenerationIndex:
    """The index of a generation with the shards that are left in place of those that were rewritten."""
    kept, gone = [], 0
    for shard in index.shards:
        place = f"{shard.generation or name}/{shard.name.rpartition('/')[2]}"
        if place not in rewritten:
            kept.append(shard)
            continue
        new = rewritten[place]
        gone += shard.clips - (new.clips if new else 0)
        if new:
            kept.append(replace(new, name=f"../{shard.generation}/{new.name}") if shard.generation else new)
    return replace(index, shards=tuple(kept), forgotten_clips=index.forgotten_clips + gone)


def _packed_from(dataset: Dataset, index: GenerationIndex) -> GenerationIndex:
    """The index with the sum that its selection has since clips were taken out of it."""
    try:
        report = read_report(dataset, index.selection)
    except (ArgumentError, DatasetError):  # it was deleted or replaced; the generation is of what it was
        return index
    if index.selection_sha256 in report.settings.get("before_forget", ()):
        return replace(index, selection_sha256=report.sha256)
    return index


def _strangers(root: Root, named: set[str], act: bool) -> Iterator[Touched]:
    """Delete the tars and tables that no index names: replaced ones, and those of generations that are not finished."""
    for name in root.names():
        folder = root / name
        for file in folder.names():
            stem, _, suffix = file.rpartition(".")
            if suffix in ("tar", "arrow") and f"{name}/{stem}" not in named:
                yield Touched(kind="shard", place=str(folder / file), what="removed: no index names it")
                if act:
                    folder.remove(file)
