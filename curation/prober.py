"""The program that looks into one untrusted media file and prints what is there as JSON.

Run by `curation/probe.py` in a process of its own, by path and with `python -I`, so it imports nothing of ours: a
demuxer or decoder that crashes, hangs or fills the memory takes only this process with it.
"""

import json
import sys
from typing import Any

import av
from av.stream import Disposition

NOT_A_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails
"""Cover art and thumbnails are not the picture that goes with the sound."""


def seconds(value: int | None, time_base: Any) -> float | None:
    """A timestamp in seconds, or None where the file does not say."""
    return None if value is None or time_base is None else float(value * time_base)


def preferred(streams: list[Any]) -> Any:
    """The stream marked as the default one, else the first; None for no stream."""
    return min(streams, key=lambda stream: (not stream.disposition & Disposition.default, stream.index), default=None)


def sound_stream(stream: Any) -> dict[str, Any]:
    """What a file says about a sound stream."""
    context = stream.codec_context
    return {
        "index": stream.index,
        "codec": context.name,
        "sample_rate_hz": context.sample_rate,
        "channels": context.layout.nb_channels,
        "start_s": seconds(stream.start_time, stream.time_base),
        "duration_s": seconds(stream.duration, stream.time_base),
    }


def picture_stream(stream: Any) -> dict[str, Any]:
    """What a file says about a picture stream; the frame rate as a fraction, None where it does not say."""
    context = stream.codec_context
    rate = stream.average_rate or stream.guessed_rate
    return {
        "index": stream.index,
        "codec": context.name,
        "width_px": context.width,
        "height_px": context.height,
        "frame_rate": [rate.numerator, rate.denominator] if rate else None,
        "start_s": seconds(stream.start_time, stream.time_base),
        "duration_s": seconds(stream.duration, stream.time_base),
    }


def look(address: str, options: dict[str, str]) -> dict[str, Any]:
    """Open a file and describe its sound and its picture."""
    with av.open(address, options=options) as container:
        sound = preferred([stream for stream in container.streams.audio if stream.codec_context is not None])
        pictures = [stream for stream in container.streams.video if stream.codec_context is not None]
        picture = preferred([stream for stream in pictures if not stream.disposition & NOT_A_PICTURE])
        return {
            "format": container.format.name,
            "start_s": None if container.start_time is None else container.start_time / av.time_base,
            "duration_s": None if container.duration is None else container.duration / av.time_base,
            "sound": sound_stream(sound) if sound else None,
            "picture": picture_stream(picture) if picture else None,
        }


def main() -> int:
    """`prober.py ADDRESS OPTIONS`: JSON on standard output and exit code 0, or the reason on standard error and 1."""
    av.logging.restore_default_callback()  # what the libraries say reaches standard error
    av.logging.set_level(av.logging.ERROR)
    try:
        found = look(sys.argv[1], json.loads(sys.argv[2]))
    except (av.error.FFmpegError, MemoryError) as error:
        print(getattr(error, "strerror", "") or "Cannot allocate memory", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
