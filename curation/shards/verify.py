"""Re-reading a generation: every sum, key, offset and sound, by other code than wrote it.

The tars are parsed with the standard library, the sounds decoded with libsndfile, the pictures opened with PyAV. It
finds one flipped bit anywhere and says in which clip. It mends nothing.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import soundfile

from curation.errors import DatasetError
from curation.keys import file_sha256
from curation.shards.generation import INDEX_FILE, GenerationIndex, ShardInfo
from curation.shards.layout import MEMBERS, MembersSum, read_offsets
from curation.storage import Root, fresh_copy
from curation.tables import TEMPORARY, Row

_AV_OPTIONS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2", "protocol_whitelist": "file,pipe"}
"""Nothing that a shard holds may make PyAV open another file or address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong.

    Args:
        file: Name of the file as seen from the generation's folder.
        clip_id: The clip, where one is to blame.
        what: What is wrong with it.
    """

    file: str
    clip_id: str | None
    what: str

    def __str__(self) -> str:
        return f"{self.file}{f', clip {self.clip_id}' if self.clip_id else ''}: {self.what}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What re-reading found.

    Args:
        root: The generation.
        shards: Shards that its index names.
        clips: Clips that were found in them.
        problems: What is wrong; empty when all is well.
    """

    root: Root
    shards: int
    clips: int
    problems: tuple[Problem, ...]


def verify(
    folder: str | Path | Root,
    *,
    denied: Collection[tuple[str, str]] = (),
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Re-read a generation, and the shards of others that it names.

    Args:
        folder: `shards/<generation>`.
        denied: (platform, video_id) of videos that were taken down; a clip of one is a problem.
        workers: Shards read at once, >= 1.
        progress: Called with (shards read, shards in all).

    Raises:
        DatasetError: There is no index; a damaged one is a problem and not raised.
    """
    root = Root.of(folder)
    if not root.exists(INDEX_FILE):
        raise DatasetError(f"{root} is not a finished generation: it has no {INDEX_FILE}; run `foundsound pack`")
    try:
        index = GenerationIndex.read(root)
    except DatasetError as error:
        damaged = Problem(file=INDEX_FILE, clip_id=None, what=str(error))
        return Verification(root=root, shards=0, clips=0, problems=(damaged,))
    problems = list(_strangers(root, index))
    seen: dict[bytes, str] = {}
    clips, last_key = 0, ""
    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as threads:
        results = threads.map(lambda shard: verify_shard(root, shard, denied), index.shards)
        for number, (shard, (keys, found)) in enumerate(zip(index.shards, results, strict=True)):
            problems += found
            clips += len(keys)
            problems += _order(shard, keys, seen, last_key if index.parent is None else "")
            last_key = max([last_key, *keys])
            if progress:
                progress(number + 1, len(index.shards))
    return Verification(root=root, shards=len(index.shards), clips=clips, problems=tuple(problems))


def _order(shard: ShardInfo, keys: list[str], seen: dict[bytes, str], last_key: str) -> Iterator[Problem]:
    """Clips that another shard has too, or that stand before those of an earlier shard where all are sorted."""
    file = f"{shard.name}.tar"
    if keys and min(keys) <= last_key:
        yield Problem(file=file, clip_id=min(keys), what="stands before an earlier shard")
    for key in keys:
        other = seen.setdefault(key.encode(), shard.name)
        if other != shard.name:
            yield Problem(file=file, clip_id=key, what=f"is in {other}.tar as well")


def verify_shard(
    root: Root, shard: ShardInfo, denied: Collection[tuple[str, str]] = ()
) -> tuple[list[str], list[Problem]]:
    """Re-read one shard: the clip_ids found in its tar, and what is wrong."""
    tar_name, arrow_name = f"{shard.name}.tar", f"{shard.name}.arrow"
    with ExitStack() as copies:
        names = (tar_name, arrow_name)
        tar, arrow = (fresh_copy(root, name, copies) if root.exists(name) else None for name in names)
        problems: list[Problem] = []
        clips: dict[str, Row] = {}
        if tar is None:
            problems.append(Problem(file=tar_name, clip_id=None, what="is missing"))
        else:
            try:
                clips, members_sha256, strays = _read_tar(tar)
                problems += [Problem(file=tar_name, clip_id=None, what=what) for what in strays]
                if (tar.stat().st_size, _sum(tar, shard, members_sha256)) != (shard.tar_bytes, _wanted(shard)):
                    problems.append(Problem(file=tar_name, clip_id=None, what=_OTHER))
            except (tarfile.TarError, ValueError) as error:
                problems.append(Problem(file=tar_name, clip_id=None, what=f"is not a tar of clips ({error})"))
            problems += [
                Problem(file=tar_name, clip_id=key, what=what)
                for key, clip in clips.items()
                for what in _clip(key, clip, denied)
            ]
        if len(clips) != shard.clips:
            problems.append(Problem(file=tar_name, clip_id=None, what=f"has {len(clips)} clips, not {shard.clips}"))
        if list(clips) != sorted(clips):
            problems.append(Problem(file=tar_name, clip_id=None, what="its clips are not sorted"))
        if arrow is None:
            problems.append(Problem(file=arrow_name, clip_id=None, what="is missing"))
        elif arrow.stat().st_size != shard.arrow_bytes or file_sha256(arrow) != shard.arrow_sha256:
            problems.append(Problem(file=arrow_name, clip_id=None, what=_OTHER))
        else:
            problems += _offsets(arrow, arrow_name, clips)
    return list(clips), problems


_OTHER = "has another size or sum than index.json says"


def _wanted(shard: ShardInfo) -> str | None:
    return shard.members_sha256 or shard.tar_sha256


def _sum(tar: Path, shard: ShardInfo, members_sha256: str) -> str:
    """The sum of the kind that the index has: of the members, or in the first generations of the whole file."""
    return members_sha256 if shard.members_sha256 else file_sha256(tar)


def _strangers(root: Root, index: GenerationIndex) -> Iterator[Problem]:
    """Files that the index does not name; temporary ones are no reader's business."""
    named = {INDEX_FILE, *(f"{shard.name}{suffix}" for shard in index.shards for suffix in (".tar", ".arrow"))}
    for name in root.names():
        if name not in named and not name.startswith(TEMPORARY):
            yield Problem(file=name, clip_id=None, what="is not named by index.json")


def _read_tar(path: Path) -> tuple[dict[str, Row], str, list[str]]:
    """clip_id -> member -> (offset, content), as the tar has them; the sum of its members; what lies between them.

    Raises:
        ValueError: A member has another name than it should.
    """
    clips: dict[str, Row] = {}
    strays: list[str] = []
    sums, position = MembersSum(), 0
    with path.open("rb") as raw, tarfile.open(path, "r:") as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            file = tar.extractfile(member)
            if suffix not in MEMBERS or file is None:
                raise ValueError(f"it has the member {member.name!r}")
            if suffix in clips.setdefault(key, {}):
                raise ValueError(f"it has the member {member.name!r} twice")
            clips[key][suffix] = (member.offset_data, file.read())
            strays += _but_zeros(raw, position, member.offset)
            raw.seek(member.offset)
            position = member.offset_data + member.size
            head = raw.read(member.offset_data - member.offset)
            sums.add(head, hashlib.sha256(clips[key][suffix][1]).digest())
        strays += _but_zeros(raw, position, path.stat().st_size)
    return clips, sums.hexdigest(), strays


def _but_zeros(raw: BinaryIO, begin: int, end: int) -> Iterator[str]:
    raw.seek(begin)
    if raw.read(end - begin).strip(b"\0"):
        yield f"its bytes {begin} to {end}, which belong to no member, are not zeros"


def _clip(key: str, clip: Row, denied: Collection[tuple[str, str]]) -> Iterator[str]:
    """What is wrong with one clip's members."""
    try:
        about: dict[str, Any] = json.loads(clip["json"][1])
        sums, rate_hz = dict(about["sha256"]), about["sample_rate_hz"]
        named = about["clip_id"]
    except (KeyError, TypeError, ValueError) as error:
        yield f"its .json is missing or damaged ({error!r})"
        return
    if (about.get("platform"), about.get("video_id")) in denied:
        yield "its video was taken down; run `foundsound forget` again"
    if named != key:
        yield f"its .json is of clip {named}"
    if set(sums) != set(clip) - {"json"}:
        yield f"it has {sorted(set(clip) - {'json'})}, its .json names {sorted(sums)}"
    for member in sorted(set(sums) & set(clip)):
        content = clip[member][1]
        if hashlib.sha256(content).hexdigest() != sums[member]:
            yield f"its .{member} has another sum than its .json says"
        elif member == "flac":
            yield from _sound(content, rate_hz)
        else:
            yield from _picture(content)


def _sound(content: bytes, rate_hz: int | None) -> Iterator[str]:
    try:
        samples, found_hz = soundfile.read(io.BytesIO(content), dtype="float32")
    except soundfile.LibsndfileError as error:
        yield f"its sound cannot be decoded ({error})"
        return
    if len(samples) == 0:
        yield "its sound has no samples"
    if found_hz != rate_hz:
        yield f"its sound has {found_hz} Hz, its .json says {rate_hz}"


def _picture(content: bytes) -> Iterator[str]:
    try:
        with av.open(io.BytesIO(content), format="mp4", options=_AV_OPTIONS) as container:
            if next(container.decode(video=0), None) is None:
                yield "its picture has no frame"
    except (av.FFmpegError, IndexError) as error:
        yield f"its picture cannot be decoded ({error})"


def _offsets(path: Path, name: str, clips: dict[str, Row]) -> Iterator[Problem]:
    """Where the table of offsets and the tar disagree."""
    try:
        rows = read_offsets(path).to_pylist()
    except (DatasetError, ValueError) as error:
        yield Problem(file=name, clip_id=None, what=str(error))
        return
    if [row["key"] for row in rows] != list(clips):
        yield Problem(file=name, clip_id=None, what="its keys are not those of the tar, in order")
    for row in rows:
        clip = clips.get(row["key"], {})
        for member in MEMBERS:
            offset_bytes, content = clip.get(member, (None, None))
            size_bytes = None if content is None else len(content)
            if (row[f"{member}_offset_bytes"], row[f"{member}_size_bytes"]) != (offset_bytes, size_bytes):
                yield Problem(file=name, clip_id=row["key"], what=f"does not say where its .{member} is")
        if clip.get("json", (0, b""))[1] != row["json"].encode():
            yield Problem(file=name, clip_id=row["key"], what="has another text than the tar's .json")
