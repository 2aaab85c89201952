"""The stage `measure`: numbers about a clip that has been cut. They are stored, not applied; `select` applies them.

It reads only files that `cut` wrote, so it decodes in this process. What sounds or pictures mean is not measured here.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import soundfile

from curation.loudness import integrated_lufs
from curation.media import MediaStore
from curation.schema import column, table
from curation.stage import Stage, Work, each, how

Samples = npt.NDArray[np.int16]

FULL_SCALE = 32_768
"""Magnitude of 0 dBFS in 16-bit samples."""

SPECTRUM_SAMPLES = 4_096
"""Window of the average spectrum: 12 Hz a bin at 48 kHz. Source: ours."""

SPECTRUM_FRAMES = 64
"""Windows transformed at a time, so that a long sound needs no more memory than a short one. Source: ours."""

QUANTISATION_DB = -98.1
"""Power of the rounding noise of 16 bits, dB below a 0 dBFS square wave. Source: step squared / 12 (Bennett 1948)."""


@dataclass(frozen=True, kw_only=True)
class Measure(Stage):
    """Measure the sound and the picture of cut clips.

    Args:
        media: Where the cut files are.
        silence_dbfs: A frame whose root mean square lies below is silent. Source: ours; of the frames of ESC-50,
            AudioCaps and Clotho recordings that are not digital silence 93 % lie above.
        silence_frame_ms: Length of such a frame, ms. Source: ours.
        clipping_run_samples: So many neighbouring samples at full scale are clipped. Source: ours; a sine that just
            reaches full scale touches it for at most two samples at 48 kHz, unless it is below 75 Hz.
        bandwidth_db: The band ends where the average spectrum falls this far below its peak. Source: ours; it finds
            the cut-offs of the AAC and MP3 sound of real videos, at 10 to 18 kHz.
        noise_margin_db: ... or comes this close to the rounding noise of 16 bits. Source: ours.
        picture_rate_hz: Frames a second that are compared. Source: the rate at which AudioX sees pictures.
        picture_side_px: Sides of the grey frames that are compared, px. Source: ours; averaging so far down removes
            what coding alone changes.
        still_difference: Mean difference of grey levels (0 to 255) below which two frames are equal. Source: ours.
    """

    NAME: ClassVar[str] = "measure"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row a clip: numbers about its sound and picture.",
        column("duration_s", pa.float64(), "length of the sound, s"),
        column("sample_rate_hz", pa.int32(), "rate of the sound, Hz"),
        column("channels", pa.int32(), "channels of the sound"),
        column("loudness_lufs", pa.float64(), "integrated loudness (BS.1770-4); null for silence or below 400 ms"),
        column("peak_dbfs", pa.float64(), "largest sample; null for digital silence"),
        column("clipping_ratio", pa.float64(), "share of samples that lie in a run at full scale, 0 to 1"),
        column("silence_ratio", pa.float64(), "share of frames of 20 ms that are silent, 0 to 1"),
        column("bandwidth_hz", pa.float64(), "where the average spectrum ends; null for digital silence"),
        column("still_ratio", pa.float64(), "share of equal neighbouring frames at 5 a second; null without a picture"),
        column(
            "av_offset_ms",
            pa.float64(),
            "how much later than the picture the source's sound starts, ms",
        ),
        column("pcm_sha256", pa.string(), "sha256 of rate, channels and 16-bit samples: equal for equal sound"),
    )

    media: MediaStore = how()
    silence_dbfs: float = -60.0
    silence_frame_ms: int = 20
    clipping_run_samples: int = 3
    bandwidth_db: float = -80.0
    noise_margin_db: float = 6.0
    picture_rate_hz: int = 5
    picture_side_px: int = 64
    still_difference: float = 0.25

    def __post_init__(self) -> None:
        for name in ("silence_frame_ms", "clipping_run_samples", "picture_rate_hz", "picture_side_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("silence_dbfs", "bandwidth_db"):
            if getattr(self, name) >= 0:
                raise ValueError(f"{name} must be below 0 dB, not {getattr(self, name)}")
        if self.still_difference <= 0:
            raise ValueError(f"still_difference must be above 0, not {self.still_difference}")

    def requests(self) -> str:
        """Every clip that has been cut; its input is the hash of what is read of it."""
        return (
            "SELECT key, sha256(concat_ws(' ', audio_sha256, coalesce(video_sha256, '-'), coalesce(av_offset_ms, 0)))"
            " AS input, audio_sha256, video_sha256, av_offset_ms FROM cut WHERE state = 'done'"
        )

    def open(self) -> Work:
        """Nothing heavy to load."""
        return each(self.measure)

    def measure(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Measure one clip.

        Args:
            request: `audio_sha256`, `video_sha256` (may be null) and `av_offset_ms` of the clip's cut.

        Returns:
            The result columns.

        Raises:
            DatasetError: A file is missing in the media store.
        """
        values = self.measure_sound(self.media.open_path(request["audio_sha256"], ".flac"))
        has_picture = request["video_sha256"] is not None
        if has_picture:
            values["still_ratio"] = self.still_ratio(self.media.open_path(request["video_sha256"], ".mp4"))
        return {**values, "av_offset_ms": request["av_offset_ms"] if has_picture else None}

    def measure_sound(self, path: Path) -> dict[str, Any]:
        """What can be said about a FLAC file of 16 bits."""
        samples, sample_rate_hz = soundfile.read(path, dtype="int16", always_2d=True)
        peak = int(np.abs(samples, dtype=np.int32).max(initial=0)) / FULL_SCALE
        sound = samples.astype(np.float64) / FULL_SCALE
        frame_samples = max(1, sample_rate_hz * self.silence_frame_ms // 1000)
        return {
            "duration_s": len(samples) / sample_rate_hz,
            "sample_rate_hz": sample_rate_hz,
            "channels": samples.shape[1],
            "loudness_lufs": integrated_lufs(sound, sample_rate_hz),
            "peak_dbfs": float(20 * np.log10(peak)) if peak else None,
            "clipping_ratio": clipping_ratio(samples, self.clipping_run_samples),
            "silence_ratio": silence_ratio(sound, frame_samples, self.silence_dbfs),
            "bandwidth_hz": bandwidth_hz(sound, sample_rate_hz, self.bandwidth_db, self.noise_margin_db),
            "pcm_sha256": pcm_sha256(samples, sample_rate_hz),
        }

    def still_ratio(self, path: Path) -> float:
        """Share of neighbouring frames that are equal, in steps of 1 / `picture_rate_hz`; 1.0 for a single frame."""
        frames = grey_frames(path, self.picture_rate_hz, self.picture_side_px).astype(np.int16)
        if len(frames) < 2:
            return 1.0
        differences = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2))
        return float((differences < self.still_difference).mean())


def grey_frames(path: Path, rate_hz: float, side_px: int) -> npt.NDArray[np.uint8]:
    """Frames of one of our own MP4 files as small grey squares, shape (frames, side_px, side_px).

    Args:
        path: The file.
        rate_hz: Frames a second; all of them where the file has fewer.
        side_px: Side of the squares, px; the picture is averaged down and its shape ignored.
    """
    kept = []
    next_s = 0.0
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if frame.time + 1e-6 < next_s:
                continue
            next_s += 1.0 / rate_hz
            kept.append(frame.reformat(side_px, side_px, "gray", interpolation="AREA").to_ndarray())
    return np.stack(kept) if kept else np.zeros((0, side_px, side_px), np.uint8)


def pcm_sha256(samples: Samples, sample_rate_hz: int) -> str:
    """Hash of decoded sound of shape (samples, channels); rate and channels count, so silence is not all the same."""
    head = f"{sample_rate_hz} Hz, {samples.shape[1]} channels, s16le\n".encode()
    return hashlib.sha256(head + samples.astype("<i2").tobytes()).hexdigest()


def clipping_ratio(samples: Samples, run_samples: int) -> float:
    """Share of samples that belong to a run at full scale.

    Args:
        samples: 16-bit samples of shape (samples, channels).
        run_samples: Shortest run, in samples of one channel, that counts.
    """
    if not samples.size:
        return 0.0
    full = np.abs(samples, dtype=np.int32) >= FULL_SCALE - 1
    if not full.any():
        return 0.0
    edge = np.zeros((1, samples.shape[1]), np.int8)
    steps = np.diff(np.concatenate([edge, full.astype(np.int8), edge]).T, axis=1)
    lengths = np.nonzero(steps < 0)[1] - np.nonzero(steps > 0)[1]
    return float(lengths[lengths >= run_samples].sum() / samples.size)


def silence_ratio(sound: npt.NDArray[np.float64], frame_samples: int, silence_dbfs: float) -> float:
    """Share of frames whose root mean square over all channels lies below a level.

    Args:
        sound: Samples of shape (samples, channels), full scale 1.0.
        frame_samples: Length of a frame; a shorter one at the end counts like the others.
        silence_dbfs: The level, dB.
    """
    starts = np.arange(0, len(sound), frame_samples)
    if not len(starts):
        return 1.0
    sizes = np.diff(np.append(starts, len(sound))) * sound.shape[1]
    power = np.add.reduceat(np.square(sound).sum(axis=1), starts) / sizes
    return float((power < 10 ** (silence_dbfs / 10)).mean())


def bandwidth_hz(
    sound: npt.NDArray[np.float64], sample_rate_hz: int, below_peak_db: float, noise_margin_db: float
) -> float | None:
    """The highest frequency at which the average spectrum still stands out.

    It stands out where it is less than `below_peak_db` under the spectrum's peak and at least `noise_margin_db` over
    the rounding noise of 16 bits, so that a sound whose upper band a codec or an old rate removed shows it, loud or
    quiet. Spectrum: P. Welch's average of Hann windows that overlap by half (1967).

    Args:
        sound: Samples of shape (samples, channels), full scale 1.0.
        sample_rate_hz: Rate, Hz.
        below_peak_db: Threshold below the peak, dB, negative.
        noise_margin_db: Threshold above the rounding noise, dB.

    Returns:
        The frequency, Hz; None where nothing stands out.
    """
    if not len(sound):
        return None
    power = average_spectrum(sound)
    # White noise of variance v has v / SPECTRUM_SAMPLES in every bin of the two-sided spectrum.
    floor = 10 ** ((QUANTISATION_DB + noise_margin_db) / 10) * sound.shape[1] / SPECTRUM_SAMPLES
    heard = np.flatnonzero(power > max(power.max() * 10 ** (below_peak_db / 10), floor))
    return float(heard[-1] * sample_rate_hz / SPECTRUM_SAMPLES) if len(heard) else None


def average_spectrum(sound: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Power of each bin, averaged over time and summed over channels, shape (SPECTRUM_SAMPLES / 2 + 1,).

    A sound shorter than one window is padded with silence.
    """
    window = np.hanning(SPECTRUM_SAMPLES + 1)[:-1]
    scale = np.square(window).sum() * SPECTRUM_SAMPLES
    padded = np.pad(sound, ((0, max(0, SPECTRUM_SAMPLES - len(sound))), (0, 0)))
    total = np.zeros(SPECTRUM_SAMPLES // 2 + 1)
    for channel in padded.T:
        frames = np.lib.stride_tricks.sliding_window_view(channel, SPECTRUM_SAMPLES)[:: SPECTRUM_SAMPLES // 2]
        for start in range(0, len(frames), SPECTRUM_FRAMES):
            bins = np.fft.rfft(frames[start : start + SPECTRUM_FRAMES] * window, axis=1)
            total += (np.square(bins.real) + np.square(bins.imag)).sum(axis=0) / len(frames)
    spectrum: npt.NDArray[np.float64] = total / scale
    return spectrum
