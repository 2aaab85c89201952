"""The stage `measure`: numbers about a clip that has been cut. They are stored, not applied; `select` applies them.

It reads only files that `cut` wrote, so it decodes in this process. What sounds or pictures mean is not measured here.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import soundfile

from curation.measures.levels import LevelMeter, SilenceMeter, TruePeakMeter, as_floats
from curation.measures.loudness import LoudnessMeter
from curation.measures.picture import SSIM_WINDOW_PX, PictureMeter, grey_frames
from curation.measures.spectrum import SpectrumMeter
from curation.measures.voice import SpeechMeter, weights_sha256
from curation.media import MediaStore
from curation.schema import column, table
from curation.stage import Stage, Work, each, how

BLOCK_MS = 10_000
"""Sound decoded at a time, ms. Source: ours; a clip of the usual length at once, a long one in little memory."""


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
        speech_probability: From which on 32 ms of sound are speech. Source: Silero VAD's own default.
        voice_sha256: Hash of the weights of the voice detector, part of the identity.
    """

    NAME: ClassVar[str] = "measure"
    VERSION: ClassVar[int] = 2
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
        column("true_peak_dbtp", pa.float64(), "true peak (BS.1770-4 annex 2), dBTP; null for digital silence"),
        column("dc_offset", pa.float64(), "mean of the channel where it is largest, full scale 1, with its sign"),
        column("channels_identical", pa.bool_(), "whether all channels hold the same samples; null for one channel"),
        column(
            "channel_correlation",
            pa.float64(),
            "correlation of the first two channels, -1 to 1; null for one channel or where one is constant",
        ),
        column(
            "spectral_flatness",
            pa.float64(),
            "flatness of the spectrum from 100 Hz to 8 kHz: near 0 for tones, 0.56 for white noise; null for silence",
        ),
        column(
            "speech_ratio",
            pa.float64(),
            "share of pieces of 32 ms in which somebody speaks (Silero VAD), 0 to 1; null below 32 ms",
        ),
        column(
            "ssim",
            pa.float64(),
            "mean structural similarity of neighbouring frames, 64 px wide, 5 a second; 1 for equal ones; "
            "null without a picture or with one frame",
        ),
        column("black_ratio", pa.float64(), "share of frames that are black, at 5 a second; null without a picture"),
        column(
            "motion",
            pa.float64(),
            "mean difference of grey levels (0 to 255) of neighbouring frames at 5 a second; "
            "null without a picture or with one frame",
        ),
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
    speech_probability: float = 0.5
    voice_sha256: str = field(default_factory=weights_sha256)

    def __post_init__(self) -> None:
        for name in ("silence_frame_ms", "clipping_run_samples", "picture_rate_hz", "picture_side_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("silence_dbfs", "bandwidth_db"):
            if getattr(self, name) >= 0:
                raise ValueError(f"{name} must be below 0 dB, not {getattr(self, name)}")
        if BLOCK_MS % self.silence_frame_ms:
            raise ValueError(f"silence_frame_ms must divide {BLOCK_MS}, not {self.silence_frame_ms}")
        if self.picture_side_px < SSIM_WINDOW_PX:
            raise ValueError(f"picture_side_px must be at least {SSIM_WINDOW_PX}, not {self.picture_side_px}")
        if not 0 < self.speech_probability < 1:
            raise ValueError(f"speech_probability must be above 0 and below 1, not {self.speech_probability}")
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
        sound_path = self.media.open_path(request["audio_sha256"], ".flac")
        if request["video_sha256"] is None:
            return self.measure_sound(sound_path)
        picture_path = self.media.open_path(request["video_sha256"], ".mp4")
        with ThreadPoolExecutor(1) as beside:  # decoders and transforms leave Python's lock alone
            picture = beside.submit(self.measure_picture, picture_path)
            return {**self.measure_sound(sound_path), **picture.result(), "av_offset_ms": request["av_offset_ms"]}

    def measure_sound(self, path: Path) -> dict[str, Any]:
        """What can be said about a FLAC file of 16 bits, which is decoded once and block by block."""
        with soundfile.SoundFile(path) as file:
            rate_hz, channels = file.samplerate, file.channels
            frame_samples = max(1, rate_hz * self.silence_frame_ms // 1000)
            levels = LevelMeter(channels, rate_hz, self.clipping_run_samples)
            true_peak, silence = TruePeakMeter(channels), SilenceMeter(frame_samples, self.silence_dbfs)
            loudness, spectrum = LoudnessMeter(channels, rate_hz), SpectrumMeter(rate_hz)
            speech = SpeechMeter(rate_hz, self.speech_probability)
            # A block holds whole frames.
            for samples in file.blocks(
                frame_samples * (BLOCK_MS // self.silence_frame_ms), dtype="int16", always_2d=True
            ):
                sound = as_floats(samples)
                levels.add(samples, sound)
                for meter in (true_peak, silence, loudness, spectrum, speech):
                    meter.add(sound)
            length = file.tell()
        return {
            "duration_s": length / rate_hz,
            "sample_rate_hz": rate_hz,
            "channels": channels,
            **levels.values(),
            "true_peak_dbtp": true_peak.decibels(),
            "silence_ratio": silence.ratio(),
            "loudness_lufs": loudness.integrated_lufs(),
            "bandwidth_hz": spectrum.bandwidth_hz(self.bandwidth_db, self.noise_margin_db),
            "spectral_flatness": spectrum.flatness(),
            "speech_ratio": speech.ratio(),
        }

    def measure_picture(self, path: Path) -> dict[str, Any]:
        """What can be said about an MP4 file, which is decoded once."""
        meter = PictureMeter(self.still_difference)
        for frames in grey_frames(path, self.picture_rate_hz, self.picture_side_px):
            meter.add(frames)
        return dict(meter.values())
