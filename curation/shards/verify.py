"""Re-reading a generation: every sum, key, offset and sound, by other code than wrote it.

The tars are parsed with the standard library, the sounds decoded with libsndfile, the pictures opened with PyAV. It
finds one flipped bit anywhere and says in which clip. It mends nothing.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import soundfile

from curation.errors import DatasetError
from curation.keys import file_sha256
from curation.shards.layout import INDEX_FILE, MEMBERS, GenerationIndex, ShardInfo, read_offsets
from curation.tables import TEMPORARY, Row

_AV_OPTIONS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2", "protocol_whitelist": "file,pipe"}
"""Nothing that a shard holds may make PyAV open another file or address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong.

    Args:
        file: Name of the file inside the generation's folder.
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
        folder: The generation.
        shards: Shards that its index names.
        clips: Clips that were found in them.
        problems: What is wrong; empty when all is well.
    """

    folder: Path
    shards: int
    clips: int
    problems: tuple[Problem, ...]


def verify(folder: str | Path, *, progress: Callable[[int, int], None] | None = None) -> Verification:
    """Re-read a generation.

    Args:
        folder: `shards/<generation>`.
        progress: Called with (shards read, shards in all).

    Raises:
        DatasetError: There is no index; a damaged one is a problem and not raised.
    """
    folder = Path(folder)
    if not (folder / INDEX_FILE).is_file():
        raise DatasetError(f"{folder} is not a finished generation: it has no {INDEX_FILE}; run `foundsound pack`")
    try:
        index = GenerationIndex.read(folder)
    except DatasetError as error:
        damaged = Problem(file=INDEX_FILE, clip_id=None, what=str(error))
        return Verification(folder=folder, shards=0, clips=0, problems=(damaged,))
    problems = list(_strangers(folder, index))
    clips, last_key = 0, ""
    for number, shard in enumerate(index.shards):
        keys, found = verify_shard(folder, shard)
        problems += found
        clips += len(keys)
        if keys and min(keys) <= last_key:
            problems.append(Problem(file=f"{shard.name}.tar", clip_id=min(keys), what="stands before an earlier shard"))
        last_key = max([last_key, *keys])
        if progress:
            progress(number + 1, len(index.shards))
    return Verification(folder=folder, shards=len(index.shards), clips=clips, problems=tuple(problems))


def verify_shard(folder: Path, shard: ShardInfo) -> tuple[list[str], list[Problem]]:
    """Re-read one shard: the clip_ids found in its tar, and what is wrong."""
    tar_name, arrow_name = f"{shard.name}.tar", f"{shard.name}.arrow"
    problems = [
        *_sums(folder / tar_name, shard.tar_bytes, shard.tar_sha256),
        *_sums(folder / arrow_name, shard.arrow_bytes, shard.arrow_sha256),
    ]
    arrow_is_whole = all(problem.file != arrow_name for problem in problems)
    clips: dict[str, Row] = {}
    if (folder / tar_name).is_file():
        try:
            clips = _read_tar(folder / tar_name)
        except (tarfile.TarError, ValueError) as error:
            problems.append(Problem(file=tar_name, clip_id=None, what=f"is not a tar of clips ({error})"))
        problems += [
            Problem(file=tar_name, clip_id=key, what=what) for key, clip in clips.items() for what in _clip(key, clip)
        ]
    if len(clips) != shard.clips:
        problems.append(Problem(file=tar_name, clip_id=None, what=f"has {len(clips)} clips, not {shard.clips}"))
    if list(clips) != sorted(clips):
        problems.append(Problem(file=tar_name, clip_id=None, what="its clips are not sorted"))
    if arrow_is_whole:
        problems += _offsets(folder / arrow_name, clips)
    return list(clips), problems


def _sums(path: Path, size_bytes: int, sha256: str) -> Iterator[Problem]:
    """Whether a file is the one that the index names."""
    if not path.is_file():
        yield Problem(file=path.name, clip_id=None, what="is missing")
    elif path.stat().st_size != size_bytes or file_sha256(path) != sha256:
        yield Problem(file=path.name, clip_id=None, what="has another size or sum than index.json says")


def _strangers(folder: Path, index: GenerationIndex) -> Iterator[Problem]:
    """Files that the index does not name; temporary ones are no reader's business."""
    named = {INDEX_FILE, *(f"{shard.name}{suffix}" for shard in index.shards for suffix in (".tar", ".arrow"))}
    for path in sorted(folder.iterdir()):
        if path.name not in named and not path.name.startswith(TEMPORARY):
            yield Problem(file=path.name, clip_id=None, what="is not named by index.json")


def _read_tar(path: Path) -> dict[str, Row]:
    """clip_id -> member -> (offset, content), as the tar has them."""
    clips: dict[str, Row] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            file = tar.extractfile(member)
            if suffix not in MEMBERS or file is None:
                raise ValueError(f"it has the member {member.name!r}")
            if suffix in clips.setdefault(key, {}):
                raise ValueError(f"it has the member {member.name!r} twice")
            clips[key][suffix] = (member.offset_data, file.read())
    return clips


def _clip(key: str, clip: Row) -> Iterator[str]:
    """What is wrong with one clip's members."""
    try:
        about: dict[str, Any] = json.loads(clip["json"][1])
        sums, rate_hz = dict(about["sha256"]), about["sample_rate_hz"]
        named = about["clip_id"]
    except (KeyError, TypeError, ValueError) as error:
        yield f"its .json is missing or damaged ({error!r})"
        return
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


def _offsets(path: Path, clips: dict[str, Row]) -> Iterator[Problem]:
    """Where the table of offsets and the tar disagree."""
    try:
        rows = read_offsets(path).to_pylist()
    except (DatasetError, ValueError) as error:
        yield Problem(file=path.name, clip_id=None, what=str(error))
        return
    if [row["key"] for row in rows] != list(clips):
        yield Problem(file=path.name, clip_id=None, what="its keys are not those of the tar, in order")
    for row in rows:
        clip = clips.get(row["key"], {})
        for member in MEMBERS:
            offset_bytes, content = clip.get(member, (None, None))
            size_bytes = None if content is None else len(content)
            if (row[f"{member}_offset_bytes"], row[f"{member}_size_bytes"]) != (offset_bytes, size_bytes):
                yield Problem(file=path.name, clip_id=row["key"], what=f"does not say where its .{member} is")
        if clip.get("json", (0, b""))[1] != row["json"].encode():
            yield Problem(file=path.name, clip_id=row["key"], what="has another text than the tar's .json")
