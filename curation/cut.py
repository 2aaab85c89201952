"""The stage `cut`: one span of an untrusted video becomes a FLAC file and an H.264 file on one clock.

One ffmpeg run a clip. Both files begin at the moment asked for, whatever stream of the source starts late, and nothing
but sound and picture survives: no metadata, chapters, subtitles or cover art. The same input gives the same bytes.
Deciding whether a clip is good is not done here; see `curation/measure.py`.
"""

import dataclasses
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import av
import ffmpeg
import pyarrow as pa
import soundfile

from curation.errors import ClipError, Code
from curation.media import MediaStore
from curation.programs.contained import Finished, Limits
from curation.programs.ffmpeg import DAMAGED, complaint, ffmpeg_version, run_ffmpeg, untrusted_input
from curation.programs.graph import LAYOUTS, PICTURE_FILE, SOUND_FILE, picture_output, sound_output
from curation.programs.not_numbers import holds_any, may_hold_any
from curation.programs.probe import PictureStream, Probe, SoundStream, probe
from curation.schema import column, table
from curation.stage import Stage, how

PREROLL_MS, GRID_MS = 500, 200
"""Decoding starts at least so much before the clip and is trimmed off, so that decoders and the resampler have settled.
Source: RFC 7845 section 4.6 asks 80 ms for Opus; an MP3 frame may need up to 511 bytes of earlier ones, at 32 kbit/s
about 130 ms; ours above both. It starts at a multiple of 200 ms, where every usual rate has a sample, so that a cut is
not shifted by part of a sample."""

FLAC_SAMPLES_LIMIT = 1 << 36
"""A FLAC file without samples says that their number is unknown, which soundfile reports as a number above this one.
Source: RFC 9639 section 8.2, 36 bits."""

MISSING_SHARE, PACKET_S = 0.1, 0.1
"""Of a short clip that was asked for this share may be missing, or one packet, s. Source: ours; FLAC's usual packet of
4096 samples lasts 93 ms at 44.1 kHz, those of AAC, MP3 and Opus less. Of a whole file no more is known than what it
announces, which may be guessed from its size, cover picture and all."""

LOSE_PICTURE = frozenset({Code.UNREADABLE, Code.TOO_LARGE})
"""With these the sound is cut alone, unless a picture is needed. Another try may bring what is TRUNCATED or TIMEOUT."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CutFiles:
    """What one cut wrote, still in its scratch folder.

    Args:
        sound: FLAC file, 16 bit.
        picture: MP4 file with H.264 and no sound; None without a picture.
        sample_rate_hz: Rate of the sound, Hz.
        channels: Channels of the sound.
        samples: Samples a channel.
        picture_code: Why there is no picture; None with one.
        av_offset_ms: How much later than its picture the source's sound starts, ms; None where it does not say.
        frames: Frames of the picture; None without one.
        frame_rate_hz: Frames a second; None without a picture.
        width_px: Width of the picture; None without one.
        height_px: Height of the picture; None without one.
    """

    sound: Path
    picture: Path | None
    sample_rate_hz: int
    channels: int
    samples: int
    picture_code: Code | None
    av_offset_ms: float | None = None
    frames: int | None = None
    frame_rate_hz: float | None = None
    width_px: int | None = None
    height_px: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to be cut out of what.

    Args:
        source: The file; nobody has vouched for it.
        probed: What it says it holds.
        sound: Its sound, which FLAC can hold.
        start_ms: Start, ms from the start of the file.
        duration_ms: Length, ms; None: to the end.
    """

    source: Path
    probed: Probe
    sound: SoundStream
    start_ms: int
    duration_ms: int | None


@dataclass(frozen=True, kw_only=True)
class Cut(Stage):
    """Cut clips out of fetched media.

    Sound is kept with 16 bits: what platforms serve is lossy or has 16 bits, and the last 8 bits of a decoded lossy
    stream are noise that FLAC cannot shrink. No dither, so that 16-bit sound at the same rate stays as it was.

    Args:
        media: Where the cut files go.
        sample_rate_hz: Rate of the sound, Hz.
        short_side_px: Bound of the picture's short side; smaller pictures are not enlarged.
        max_frame_rate_hz: Bound of the frame rate; lower ones are kept.
        crf: Quality of H.264, lower is better. Source: x264's own default.
        preset: Effort of x264. Source: ours; `veryfast` costs a third of `medium` at this size (measured).
        need_picture: Set clips without a picture aside.
        max_missing_s: How much sound may be missing at the end, s; less of clips below 10 times as much, see
            `MISSING_SHARE`. Source: ours; containers announce up to one packet too much, and 701 of VGGSound's clips,
            which are called too short, end more than 1 s early.
        max_error_rate: Share of packets that may fail to decode. Source: ours; the packets around a bad cut, no more.
        ffmpeg: Name of the ffmpeg build, part of the identity.
        timeout_s: Time a clip may take, s.
    """

    NAME: ClassVar[str] = "cut"
    # Mends since then refuse more and change no byte; a new version would have every video fetched again.
    VERSION: ClassVar[int] = 2
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a clip: the files that were cut.",
        column("audio_sha256", pa.string(), "sha256 of the FLAC file, its name in the media store"),
        column("video_sha256", pa.string(), "sha256 of the MP4 file; null without a picture"),
        column("sample_rate_hz", pa.int32(), "rate of the sound, Hz"),
        column("channels", pa.int32(), "channels of the sound"),
        column("samples", pa.int64(), "samples a channel"),
        column("duration_ms_cut", pa.int64(), "length of the sound that was cut, ms"),
        column("frames", pa.int64(), "frames of the picture; null without one"),
        column("frame_rate_hz", pa.float64(), "frames a second; null without a picture"),
        column("width_px", pa.int32(), "width of the picture; null without one"),
        column("height_px", pa.int32(), "height of the picture; null without one"),
        column("av_offset_ms", pa.float64(), "how much later than the picture the source's sound starts, ms"),
        column(
            "picture_code",
            pa.string(),
            "why there is no picture: `NO_VIDEO`, `UNREADABLE` or `TOO_LARGE`; null with one",
        ),
    )

    media: MediaStore = how()
    sample_rate_hz: int = 48_000
    short_side_px: int = 256
    max_frame_rate_hz: int = 25
    crf: int = 23
    preset: str = "veryfast"
    need_picture: bool = False
    max_missing_s: float = 0.5
    max_error_rate: float = 0.02
    ffmpeg: str = field(default_factory=ffmpeg_version)
    timeout_s: float = how(default=300.0)

    def __post_init__(self) -> None:
        if not 1_000 <= self.sample_rate_hz <= 655_350:
            raise ValueError(f"sample_rate_hz must be within 1000 and 655350 (FLAC), not {self.sample_rate_hz}")
        if self.short_side_px < 2 or self.short_side_px % 2:
            raise ValueError(f"short_side_px must be even and at least 2, not {self.short_side_px}")
        if self.max_frame_rate_hz < 1:
            raise ValueError(f"max_frame_rate_hz must be at least 1, not {self.max_frame_rate_hz}")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf must be within 0 and 51, not {self.crf}")
        if self.max_missing_s < 0 or not 0 <= self.max_error_rate <= 1:
            raise ValueError(f"max_missing_s {self.max_missing_s} or max_error_rate {self.max_error_rate} out of range")
        if self.timeout_s <= 0:
            raise ValueError(f"timeout_s must be above 0, not {self.timeout_s}")

    def requests(self) -> str:
        """Every clip; one whose video could not be fetched is set aside with the video's code."""
        return """
        WITH answers AS (
            SELECT clips.clip_id, got.original_sha256, got.code,
                CASE got.state WHEN 'done' THEN 0 WHEN 'pending' THEN 2 ELSE 4 END AS rank
            FROM clips JOIN "fetch" AS got ON got.key = clips.clip_id
            UNION ALL
            SELECT clips.clip_id, got.original_sha256, got.code,
                CASE got.state WHEN 'done' THEN 1 WHEN 'pending' THEN 3 ELSE 5 END
            FROM clips JOIN "fetch" AS got ON got.key = clips.video_key
        )
        SELECT clips.clip_id AS key, coalesce(arg_min(answers.original_sha256, answers.rank), '') AS input,
            CASE WHEN min(answers.rank) >= 4 THEN arg_min(answers.code, answers.rank) END AS inherited
        FROM clips LEFT JOIN answers ON answers.clip_id = clips.clip_id GROUP BY clips.clip_id"""

    def cut(self, source: Path, clip: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
        """Cut one clip and put its files into the media store.

        Args:
            source: The fetched file.
            clip: A row with `start_ms` and `duration_ms`; a null duration means to the end.
            scratch: Folder on a local disk, on the media store's file system if possible.

        Returns:
            The result columns.

        Raises:
            ClipError: As `cut_clip`.
            StoppedError: As `cut_clip`.
        """
        with tempfile.TemporaryDirectory(dir=scratch, prefix="cut-") as folder:
            files = cut_clip(source, clip["start_ms"], clip["duration_ms"], self, Path(folder))
            audio_sha256 = self.media.put(files.sound, ".flac")
            video_sha256 = self.media.put(files.picture, ".mp4") if files.picture else None
        return {
            "audio_sha256": audio_sha256,
            "video_sha256": video_sha256,
            "sample_rate_hz": files.sample_rate_hz,
            "channels": files.channels,
            "samples": files.samples,
            "duration_ms_cut": round(1000 * files.samples / files.sample_rate_hz),
            "frames": files.frames,
            "frame_rate_hz": files.frame_rate_hz,
            "width_px": files.width_px,
            "height_px": files.height_px,
            "av_offset_ms": files.av_offset_ms,
            "picture_code": files.picture_code,
        }


def cut_clip(source: Path, start_ms: int, duration_ms: int | None, knobs: Cut, scratch: Path) -> CutFiles:
    """Cut one span out of a media file; a picture that cannot be decoded is left out, unless one is needed.

    Args:
        source: The file; nobody has vouched for it.
        start_ms: Start, ms from the start of the file, at least 0.
        duration_ms: Length, ms, above 0; None: to the end.
        knobs: How to cut.
        scratch: Fresh empty folder for the results.

    Raises:
        ClipError: EMPTY, UNREADABLE, NO_AUDIO, NO_VIDEO, TOO_SHORT, TRUNCATED, TIMEOUT or TOO_LARGE.
        StoppedError: The disk is full, or ffmpeg is missing or was killed.
    """
    if start_ms < 0 or (duration_ms is not None and duration_ms <= 0):
        raise ValueError(f"a clip needs start_ms >= 0 and duration_ms > 0, not {start_ms} and {duration_ms}")
    probed = probe(source)
    sound = _usable_sound(probed)
    if probed.picture is None and knobs.need_picture:
        raise ClipError(Code.NO_VIDEO, f"the file ({probed.format}) has no picture stream")
    if may_hold_any(sound):
        limits = Limits(wall_s=knobs.timeout_s)
        if holds_any(source, sound, start_ms, duration_ms, scratch=scratch, limits=limits):
            why = "has samples that are no numbers (NaN or infinite)"
            raise ClipError(Code.UNREADABLE, f"the sound ({sound.codec}) {why}")
    wanted = Wanted(source=source, probed=probed, sound=sound, start_ms=start_ms, duration_ms=duration_ms)
    try:
        files = _cut_streams(wanted, probed.picture, knobs, scratch)
    except ClipError as error:
        if probed.picture is None or knobs.need_picture or error.code not in LOSE_PICTURE:
            raise
        for path in scratch.iterdir():
            path.unlink()
        # Raises the same again where it was not the picture that is broken.
        return dataclasses.replace(_cut_streams(wanted, None, knobs, scratch), picture_code=error.code)
    if files.picture is None and knobs.need_picture:
        raise ClipError(Code.NO_VIDEO, f"the picture has no frames between {start_ms} ms and the end of the clip")
    return files


def _cut_streams(wanted: Wanted, picture: PictureStream | None, knobs: Cut, scratch: Path) -> CutFiles:
    """One run of ffmpeg, with the picture or without, and a look at what came of it."""
    preroll_ms = wanted.start_ms - max(0, wanted.start_ms - PREROLL_MS) // GRID_MS * GRID_MS
    limits = Limits(wall_s=knobs.timeout_s)
    media = untrusted_input(wanted.source, ss=f"{(wanted.start_ms - preroll_ms) / 1000:.3f}")
    outputs = [sound_output(media, wanted.sound, preroll_ms, wanted.duration_ms, knobs, limits)]
    if picture is not None:
        outputs.append(picture_output(media, picture, preroll_ms, wanted.duration_ms, knobs, limits))
    finished = run_ffmpeg(
        ffmpeg.merge_outputs(*outputs), scratch=scratch, limits=limits, max_error_rate=knobs.max_error_rate
    )
    if finished.returncode == DAMAGED and not _has_bytes(scratch / SOUND_FILE):
        raise ClipError(Code.UNREADABLE, complaint(finished.stderr))
    _refuse_full(scratch, limits)
    files = _look_at_results(scratch, wanted.probed, picture)
    _refuse_short(files, wanted, knobs.max_missing_s, finished)
    if finished.returncode == DAMAGED:
        raise ClipError(Code.UNREADABLE, complaint(finished.stderr))
    return files


def _usable_sound(probed: Probe) -> SoundStream:
    """The sound stream, if FLAC can hold it."""
    sound = probed.sound
    if sound is None:
        raise ClipError(Code.NO_AUDIO, f"the file ({probed.format}) has no sound stream")
    if sound.channels > len(LAYOUTS):
        raise ClipError(Code.TOO_LARGE, f"the sound has {sound.channels} channels; FLAC holds {len(LAYOUTS)}")
    return sound


def _has_bytes(path: Path) -> bool:
    """Whether a file is there and holds anything."""
    return path.is_file() and path.stat().st_size > 0


def _refuse_full(scratch: Path, limits: Limits) -> None:
    """Refuse a result that ffmpeg ended early because it had grown to the limit, which it calls a success."""
    for path in scratch.iterdir():
        if path.stat().st_size >= 0.99 * limits.file_bytes:
            raise ClipError(Code.TOO_LARGE, f"the cut {path.name} reached {limits.file_bytes} bytes")


def _look_at_results(scratch: Path, probed: Probe, picture: PictureStream | None) -> CutFiles:
    """Read back what was written; these files are our own, so they are opened in this process."""
    sound = soundfile.info(scratch / SOUND_FILE)
    samples = sound.frames if sound.frames < FLAC_SAMPLES_LIMIT else 0
    files = CutFiles(
        sound=scratch / SOUND_FILE,
        picture=None,
        picture_code=Code.NO_VIDEO,
        sample_rate_hz=sound.samplerate,
        channels=sound.channels,
        samples=samples,
        av_offset_ms=probed.av_offset_ms,
    )
    if picture is None:
        return files
    try:
        with av.open(scratch / PICTURE_FILE) as container:
            stream = container.streams.video[0]
            if not stream.frames:
                return files
            return dataclasses.replace(
                files,
                picture=scratch / PICTURE_FILE,
                picture_code=None,
                frames=stream.frames,
                frame_rate_hz=float(stream.average_rate),
                width_px=stream.width,
                height_px=stream.height,
            )
    except (av.error.InvalidDataError, IndexError):
        return files  # no frame fell into the clip, so ffmpeg wrote no whole file


def _refuse_short(files: CutFiles, wanted: Wanted, max_missing_s: float, finished: Finished) -> None:
    """Refuse a clip whose sound ends too early.

    TRUNCATED if the file announced the sound that did not come, TOO_SHORT if it never announced any, EMPTY if a clip
    of unknown length has none.
    """
    got_s = files.samples / files.sample_rate_hz
    end_s = wanted.probed.sound_end_s
    announced_s = None if end_s is None else max(end_s - wanted.start_ms / 1000, 0.0)
    wanted_s = wanted.duration_ms / 1000 if wanted.duration_ms is not None else (announced_s or 0.0)
    may_miss_s = max_missing_s
    if wanted.duration_ms is not None:
        may_miss_s = min(max_missing_s, max(MISSING_SHARE * wanted_s, PACKET_S))
    if files.samples and wanted_s - got_s <= may_miss_s:
        return
    expected_s = min(wanted_s, announced_s or 0.0)
    if expected_s - got_s > may_miss_s:
        why = f"{expected_s:.3f} s of sound were announced, {got_s:.3f} s could be decoded"
        raise ClipError(Code.TRUNCATED, f"{why}; {complaint(finished.stderr)}" if finished.stderr else why)
    if wanted.duration_ms is None:
        raise ClipError(Code.EMPTY, "the sound stream has no samples")
    raise ClipError(Code.TOO_SHORT, f"{got_s:.3f} s of sound from {wanted.start_ms} ms on, {wanted_s:.3f} s asked for")
