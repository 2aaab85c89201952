"""What ffmpeg is asked for when a clip is cut: the graphs of its sound and its picture, and how they are written.

Built with ffmpeg-python; run by `curation/cut.py`. Nothing here touches a file.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ffmpeg

from curation.programs.contained import Limits
from curation.programs.probe import PictureStream, SoundStream

if TYPE_CHECKING:
    from curation.cut import Cut

LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
"""The channel layouts that FLAC has, for 1 to 8 channels. Source: RFC 9639 section 9.1.3. Other layouts keep their
channels in order under these names; mixing them would change the sound."""

LONGEST_SIDE_PX = 4096
"""Bound of the long side, for pictures with an absurd shape. Source: ours, the widest that H.264 level 5.1 allows."""

NOT_NUMBERS = ("lavfi.astats.Number of NaNs", "lavfi.astats.Number of Infs")
"""What ffmpeg's `astats` calls its counts of samples that are no numbers, per frame and averaged over channels."""

LEAST_COUNT = 1 / len(LAYOUTS)
"""One such sample in one of 8 channels, averaged. ffmpeg's `greater` also holds for what is equal."""

RESAMPLER_S = 0.005
"""How far around a clip the resampler listens at most, s. Source: ours; 32 taps at 8 kHz are 4 ms."""

SOUND_FILE, PICTURE_FILE = "sound.flac", "picture.mp4"


def frame_rate(picture: PictureStream, max_frame_rate_hz: int) -> Fraction:
    """The rate at which a picture is cut: its own, or the bound where that is lower or its own is not known."""
    return min(picture.frame_rate or Fraction(max_frame_rate_hz), Fraction(max_frame_rate_hz))


def may_lack_numbers(sound: SoundStream) -> bool:
    """Whether a codec stores floating-point samples as they are, among which may be some that are no numbers."""
    return sound.codec.startswith("pcm_f") or sound.codec == "wavpack"


def numbers_output(media: Any, sound: SoundStream, preroll_ms: int, duration_ms: int | None) -> Any:
    """A look at the decoded samples, before anything rounds or resamples them: prints frames with NaN or infinity.

    Written by ffmpeg's `ametadata`, on standard output, as `lavfi.astats.Number of NaNs=0.5`; what is cut is not
    touched.
    """
    span = {"start": f"{max(0.0, preroll_ms / 1000 - RESAMPLER_S):.3f}"}
    if duration_ms is not None:
        span["end"] = f"{(preroll_ms + duration_ms) / 1000 + RESAMPLER_S:.3f}"
    counts = "Number_of_NaNs+Number_of_Infs"
    stream = (
        media[str(sound.index)]
        .filter("atrim", **span)
        .filter("astats", metadata=1, reset=1, measure_perchannel="none", measure_overall=counts)
    )
    where = {"function": "greater", "value": f"{LEAST_COUNT:g}", "file": "-"}
    for key in NOT_NUMBERS:
        stream = stream.filter("ametadata", mode="print", key=key, **where)
    return ffmpeg.output(stream, "-", f="null")


def sound_output(
    media: Any, sound: SoundStream, preroll_ms: int, duration_ms: int | None, knobs: Cut, limits: Limits
) -> Any:
    """The sound's graph: name its channels, resample on the clip's clock, trim to the sample, write FLAC."""
    trim = {"start_sample": round(preroll_ms * knobs.sample_rate_hz / 1000)}
    if duration_ms is not None:
        trim["end_sample"] = trim["start_sample"] + round(duration_ms * knobs.sample_rate_hz / 1000)
    channels = "|".join(str(channel) for channel in range(sound.channels))
    stream = (
        media[str(sound.index)]
        .filter("channelmap", map=channels, channel_layout=LAYOUTS[sound.channels - 1])
        # async=1 fills gaps, first_pts=0 what is missing before a late start: sound stays in time with the picture.
        .filter("aresample", knobs.sample_rate_hz, **{"async": 1, "min_comp": 0, "first_pts": 0})
        .filter("aformat", sample_fmts="s16")
        .filter("atrim", **trim)
        .filter("asetpts", "PTS-STARTPTS")
    )
    return ffmpeg.output(stream, SOUND_FILE, f="flac", acodec="flac", **_plain(limits), **{"flags:a": "+bitexact"})


def picture_output(
    media: Any, picture: PictureStream, preroll_ms: int, duration_ms: int | None, knobs: Cut, limits: Limits
) -> Any:
    """The picture's graph: steady frames on the clip's clock, square pixels, small and even sides, write H.264."""
    rate = frame_rate(picture, knobs.max_frame_rate_hz)
    trim = {} if duration_ms is None else {"end_frame": max(1, round(duration_ms * rate / 1000))}
    short, long = "min(iw*sar,ih)", "max(iw*sar,ih)"
    factor = f"min(1,min({knobs.short_side_px}/{short},{LONGEST_SIDE_PX}/{long}))"
    stream = (
        # start_time: the first frame is the one on show when the clip starts, repeated where the picture starts late.
        media[str(picture.index)]
        .filter("fps", f"{rate.numerator}/{rate.denominator}", start_time=f"{preroll_ms / 1000:.3f}")
        .filter("trim", **trim)
        .filter("setpts", "PTS-STARTPTS")
        .filter(
            "scale",
            w=f"2*max(1,round(iw*sar*{factor}/2))",
            h=f"2*max(1,round(ih*{factor}/2))",
            flags="bicubic+accurate_rnd+full_chroma_int+bitexact",
            out_range="tv",
        )
        .filter("setsar", "1")
        .filter("format", "yuv420p")
    )
    encoding = {"vcodec": "libx264", "preset": knobs.preset, "crf": knobs.crf, "fps_mode": "passthrough"}
    return ffmpeg.output(
        stream,
        PICTURE_FILE,
        f="mp4",
        movflags="+faststart",
        **encoding,
        **_plain(limits),
        **{"flags:v": "+bitexact"},
    )


def _plain(limits: Limits) -> dict[str, Any]:
    """Options of every output: one thread and no version names, so that bytes repeat; nothing of the source's texts."""
    return {"threads": 1, "fflags": "+bitexact", "map_metadata": -1, "map_chapters": -1, "fs": limits.file_bytes}
