"""Looking for samples that are no numbers (NaN or infinite): ffmpeg rounds them to full-scale ones without a word.

A run of its own, for the few codecs that can hold any: beside the cut, ffmpeg could not write a clip without samples.
"""

from pathlib import Path

import ffmpeg

from curation.programs.contained import Limits
from curation.programs.ffmpeg import run_ffmpeg, untrusted_input
from curation.programs.probe import SoundStream

COUNTS = ("lavfi.astats.Number of NaNs", "lavfi.astats.Number of Infs")
"""What ffmpeg's `astats` calls its counts of a frame, which are averaged over the channels."""

LEAST_COUNT = 1e-3
"""From what count on a frame is printed; above it is one such sample in one of 8 channels."""

RESAMPLER_S = 0.005
"""How far around a clip the resampler listens at most, s. Source: ours; 32 taps at 8 kHz are 4 ms."""


def may_hold_any(sound: SoundStream) -> bool:
    """Whether a codec stores floating-point samples as they are."""
    return sound.codec.startswith("pcm_f") or sound.codec == "wavpack"


def holds_any(
    source: Path, sound: SoundStream, start_ms: int, duration_ms: int | None, *, scratch: Path, limits: Limits
) -> bool:
    """Whether a span of a sound, as it was decoded and before anything resamples it, has samples that are no numbers.

    Args:
        source: The file; nobody has vouched for it.
        sound: Its sound.
        start_ms: Start, ms from the start of the file.
        duration_ms: Length, ms; None: to the end.
        scratch: Folder to run in; nothing is written.
        limits: Time and memory.

    Raises:
        ClipError: TIMEOUT, TOO_LARGE, TRUNCATED or UNREADABLE.
        StoppedError: ffmpeg is missing or was killed.
    """
    begin_s = max(0.0, start_ms / 1000 - RESAMPLER_S)
    span = {"ss": f"{begin_s:.3f}"}
    if duration_ms is not None:
        span["t"] = f"{(start_ms + duration_ms) / 1000 + RESAMPLER_S - begin_s:.3f}"
    measured = {"measure_perchannel": "none", "measure_overall": "Number_of_NaNs+Number_of_Infs"}
    stream = untrusted_input(source, **span)[str(sound.index)].filter("astats", metadata=1, reset=1, **measured)
    for key in COUNTS:
        stream = stream.filter("ametadata", mode="print", key=key, function="greater", value=LEAST_COUNT, file="-")
    finished = run_ffmpeg(ffmpeg.output(stream, "-", f="null"), scratch=scratch, limits=limits)
    return any(key in finished.stdout for key in COUNTS)
