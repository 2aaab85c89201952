"""The sounds that are compared: real clips, generated files, silence and noise, each by what decides its content.

Nothing is held in memory but where a sound is; it is read, mixed down and resampled when a listener asks for it.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from curation.annotated import ANNOTATED, HUMAN_CAPTIONS, SPOKEN
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.keys import file_sha256, short_hash, stable_hash
from curation.names import plain_name
from curation.selections.judging import SPLIT_RANKS
from curation.selections.selection import read_rows, selection_path
from curation.shards.generation import INDEX_FILE
from curation.shards.reader import Shards

Float = npt.NDArray[np.float32]

NOISE_RMS = 0.1
"""Of the white noise, full scale 1: -20 dBFS. Source: ours; about as loud as the sounds of ESC-50."""

LISTS = ("sounds.jsonl", "sounds.json", "sounds.csv")
"""What says of a folder of sounds which clip each is for."""

_SPLIT = f"""
WITH chosen AS (SELECT clip_id FROM ({ANNOTATED}) GROUP BY clip_id
    HAVING max(CASE split WHEN 'test' THEN {SPLIT_RANKS["test"]} WHEN 'val' THEN {SPLIT_RANKS["val"]}
        ELSE {SPLIT_RANKS["train"]} END) = ?),
said AS (SELECT clip_id, list_sort(list_distinct(list(text))) AS captions FROM ({HUMAN_CAPTIONS}) GROUP BY clip_id)
SELECT chosen.clip_id, said.captions, spoken.transcript, cut.audio_sha256, cut.video_sha256
FROM chosen JOIN cut ON cut.key = chosen.clip_id AND cut.state = 'done' LEFT JOIN said USING (clip_id)
    LEFT JOIN ({SPOKEN}) AS spoken USING (clip_id)
ORDER BY chosen.clip_id"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sound:
    """One sound to be heard.

    Args:
        key: Hash of what decides its samples.
        clip_id: The real clip that it is, or is for.
        caption: What was asked for, or is said of it; empty for nothing.
        read: Its samples at a rate in Hz, (T,) float32.
    """

    key: str
    clip_id: str
    caption: str
    read: Callable[[int], Float]


@dataclass(frozen=True, kw_only=True, slots=True)
class RealClip:
    """A clip of a dataset.

    Args:
        clip_id: The clip.
        caption: One of its sentences; empty where it has none.
        audio_sha256: Hash of its FLAC.
        open_sound: Content of the FLAC.
        open_picture: Content of its MP4; None where it has none.
        transcript: What is said in it; empty where no list says it.
    """

    clip_id: str
    caption: str
    audio_sha256: str
    open_sound: Callable[[], bytes]
    open_picture: Callable[[], bytes] | None
    transcript: str = ""

    def sound(self, seconds: float | None) -> Sound:
        """The clip as it is heard, of no more than its first `seconds`."""
        return Sound(
            key=short_hash([self.audio_sha256, seconds]),
            clip_id=self.clip_id,
            caption=self.caption,
            read=lambda rate_hz: decoded(self.open_sound(), rate_hz, f"clip {self.clip_id}", seconds),
        )


def decoded(content: bytes, sample_rate_hz: int, what: str, seconds: float | None = None) -> Float:
    """A sound file's samples: the mean of its channels, at a rate, of no more than its first `seconds`.

    Raises:
        ArgumentError: It cannot be read, holds nothing, or values that are not finite; says `what`.
    """
    try:
        wave_TC, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ArgumentError(f"{what} cannot be read as a sound: {error}") from error
    wave_T = wave_TC[: None if seconds is None else round(seconds * rate_hz)].mean(axis=1, dtype=np.float32)
    if not len(wave_T) or not np.isfinite(wave_T).all():
        raise ArgumentError(f"{what} is empty or holds samples that are not finite; leave it out of the list")
    if rate_hz != sample_rate_hz:
        wave_T = soxr.resample(wave_T, rate_hz, sample_rate_hz, quality="HQ")
    return np.ascontiguousarray(wave_T, np.float32)


@dataclass(frozen=True, slots=True)
class RealSet:
    """Real clips, and where they are from.

    Args:
        dataset: Their dataset.
        of: Which of its clips they are, in words.
        clips: In the order of their ids.
    """

    dataset: Dataset
    of: str
    clips: list[RealClip]


def real_set(asked: str, *, split: str, seed: int) -> RealSet:
    """The real sounds that `DATASET[@NAME]` names.

    Args:
        asked: A dataset; its generation or selection of that name, or, without a name, its clips of a split that are
            cut, with captions by people.
        split: `train`, `val` or `test`.
        seed: Of the choice of one caption a clip.

    Raises:
        ArgumentError: There is no such dataset, generation or selection, or it has no sound.
    """
    path, _, name = asked.partition("@")
    dataset = Dataset(Path(path))
    if name and (dataset.root("shards") / plain_name(name, "generation")).exists(INDEX_FILE):
        return packed_set(dataset, name, seed=seed)
    if name:
        if not selection_path(dataset, name).is_file():
            raise ArgumentError(f"{dataset.path} has neither a generation nor a selection {name!r}")
        columns = ("clip_id", "captions", "transcript", "audio_sha256", "video_sha256")  # older ones know no transcript
        rows = read_rows(dataset, name, kept_only=True)
        known = rows.select([column for column in columns if column in rows.column_names])
        of, clips = f"selection {name}", _stored(dataset, known.to_pylist(), seed)
    else:
        if split not in SPLIT_RANKS:
            raise ArgumentError(f"--split {split!r} is none of {', '.join(SPLIT_RANKS)}")
        rows = dataset.sql(_SPLIT, [SPLIT_RANKS[split]]) if dataset.has_stage("cut") else None
        of, clips = f"split {split}", _stored(dataset, rows.to_pylist() if rows else [], seed)
    if not clips:
        raise ArgumentError(f"{of} of {dataset.path} has no clip with a sound; fetch some, or name another after @")
    return RealSet(dataset, of, clips)


def packed_set(dataset: Dataset, name: str, *, seed: int) -> RealSet:
    """The clips of a generation of shards; see `real_set`.

    Raises:
        DatasetError: It is not finished, or damaged.
    """
    shards = Shards.open(dataset.root("shards") / name)

    def member(number: int, kind: str) -> Callable[[], bytes]:
        return lambda: shards.read(number, (kind,))[kind]

    clips = []
    for number in range(len(shards)):
        about = shards.about(number)
        clips.append(
            RealClip(
                clip_id=about["clip_id"],
                caption=_one(about["captions"], about["clip_id"], seed),
                audio_sha256=about["sha256"]["flac"],
                open_sound=member(number, "flac"),
                open_picture=member(number, "mp4") if "mp4" in about["sha256"] else None,
                transcript=about.get("transcript", ""),
            )
        )
    return RealSet(dataset, f"generation {name}", sorted(clips, key=lambda clip: clip.clip_id))


def _stored(dataset: Dataset, rows: Sequence[Mapping[str, Any]], seed: int) -> list[RealClip]:
    media = dataset.media

    def member(sha256: str, suffix: str) -> Callable[[], bytes]:
        return lambda: media.read(sha256, suffix)

    return [
        RealClip(
            clip_id=row["clip_id"],
            caption=_one(row["captions"], row["clip_id"], seed),
            audio_sha256=row["audio_sha256"],
            open_sound=member(row["audio_sha256"], ".flac"),
            open_picture=member(row["video_sha256"], ".mp4") if row["video_sha256"] else None,
            transcript=row.get("transcript") or "",
        )
        for row in rows
    ]


def _one(captions: Sequence[str] | None, clip_id: str, seed: int) -> str:
    """One of a clip's sentences, drawn by the seed and the clip."""
    usable = [text for text in captions or () if text.strip()]
    return usable[int(np.random.default_rng([seed, stable_hash(clip_id)]).integers(len(usable)))] if usable else ""


def made_set(folder: Path, listed: Path | None, real: Sequence[RealClip]) -> list[Sound]:
    """The generated sounds of a folder, each with the clip that it is for.

    Args:
        folder: That the files are named from.
        listed: JSONL, JSON (a list) or CSV with `file`, `clip_id` and maybe `text` (else the clip's own caption); None
            for the first of `LISTS` that the folder has.
        real: The clips that they may be for.

    Raises:
        ArgumentError: The list cannot be read, names a file that is not there or outside of the folder, or a clip that
            is not among the real ones.
    """
    if listed is None:
        listed = next((folder / name for name in LISTS if (folder / name).is_file()), None)
    if listed is None:
        raise ArgumentError(f"{folder} is no run, and holds no {' or '.join(LISTS)} that says what its sounds are for")
    captions = {clip.clip_id: clip.caption for clip in real}
    found, inside = [], folder.resolve()
    for number, row in enumerate(_rows(listed), start=1):
        name, clip_id = (str(row.get(field) or "") for field in ("file", "clip_id"))
        file = (folder / name).resolve()
        if not name or not file.is_relative_to(inside) or not file.is_file():
            raise ArgumentError(f"{listed}, row {number}: there is no file {name!r} in {folder}")
        if clip_id not in captions:
            raise ArgumentError(f"{listed}, row {number}: {clip_id!r} is none of the real clips; give its `clip_id`")
        found.append(
            Sound(
                key=file_sha256(file),
                clip_id=clip_id,
                caption=str(row.get("text") or captions[clip_id]),
                read=lambda rate_hz, file=file: decoded(file.read_bytes(), rate_hz, str(file)),  # type: ignore[misc]
            )
        )
    if not found:
        raise ArgumentError(f"{listed} names no sound")
    return found


def _rows(listed: Path) -> list[dict[str, Any]]:
    try:
        text = listed.read_text(encoding="utf-8")
        if listed.suffix == ".csv":
            rows: Any = list(csv.DictReader(io.StringIO(text)))
        elif listed.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = json.loads(text)
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{listed} cannot be read as a list of sounds: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ArgumentError(f"{listed} is not a list of objects with `file` and `clip_id`")
    return rows


def silence_for(sound: Sound, seconds: float) -> Sound:
    """Silence in place of a sound, as long."""
    return Sound(
        key=short_hash(["silence", round(seconds, 3)]),
        clip_id=sound.clip_id,
        caption=sound.caption,
        read=lambda rate_hz: np.zeros(max(1, round(seconds * rate_hz)), np.float32),
    )


def noise_for(sound: Sound, seconds: float, seed: int, number: int) -> Sound:
    """White noise in place of a sound, as long; drawn at the rate at which it is heard."""

    def read(rate_hz: int) -> Float:
        rng = np.random.default_rng([seed, stable_hash("noise"), number])
        return NOISE_RMS * rng.standard_normal(max(1, round(seconds * rate_hz)), np.float32)

    key = short_hash(["white noise", NOISE_RMS, round(seconds, 3), seed, number])
    return Sound(key=key, clip_id=sound.clip_id, caption=sound.caption, read=read)
