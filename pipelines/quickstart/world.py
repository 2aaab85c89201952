"""The videos of the quickstart: eight sound classes with matching pictures, drawn from one seed.

A `World` lists every row that the corpus has, the faulty ones included; `synthesise` makes sound and frames of one of
them, and `write_video` encodes them. Where files lie, which lists name them and how they are spoilt is `corpus`'s.
"""

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from curation.keys import canonical, stable_hash
from pipelines.quickstart.phrases import captions_of
from pipelines.quickstart.pictures import FRAMES_PER_S, SIDE_PIXELS, blank, draw
from pipelines.quickstart.sounds import CLASSES, RATE_HZ, Parameters, draw_parameters, play

CLIP_S = 4.0
TRAIN_CLIPS, TEST_CLIPS = 8, 5
"""Clips of each class to learn from, and held out."""

MARGIN_S = 1.0
"""Silence and blank picture before and after the clip in the first video of each class, so that cutting shows."""


class Fault(StrEnum):
    """What is wrong with a row of the corpus, on purpose."""

    DEAD = "dead"
    TRUNCATED = "truncated"
    SILENT = "silent"
    STILL = "still"
    DUPLICATE = "duplicate"
    LEAKED = "leaked"


FAULTS = (*(Fault.DEAD,) * 4, Fault.TRUNCATED, Fault.SILENT, Fault.STILL, Fault.DUPLICATE, Fault.LEAKED)
"""The faulty rows, one video each, beside the good ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One video of the world and the span of it that is listed.

    Args:
        video_id: 11 characters, as on YouTube.
        seed: The world's seed.
        label: Its class, a key of `CLASSES`.
        parameters: What is known about its sound and its picture.
        split: `train` or `test`.
        captions: Sentences about it.
        start_s: Where the clip starts in its video; as much of the video follows the clip.
        channels: 1 or 2.
        fault: What is wrong with it, or None.
        copy_of: Id of the video of which this one is an exact copy, or None.
    """

    video_id: str
    seed: int
    label: str
    parameters: Parameters
    split: str
    captions: tuple[str, ...]
    start_s: float = 0.0
    channels: int = 1
    fault: Fault | None = None
    copy_of: str | None = None

    @property
    def video_s(self) -> float:
        """Length of the video in seconds."""
        return CLIP_S + 2 * self.start_s


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """All that there is: the clips in the order in which they are listed."""

    seed: int
    clips: tuple[Clip, ...]

    @property
    def good(self) -> tuple[Clip, ...]:
        """The clips that must come through everything."""
        return tuple(clip for clip in self.clips if clip.fault is None)

    def with_fault(self, fault: Fault) -> tuple[Clip, ...]:
        """The clips that have this fault."""
        return tuple(clip for clip in self.clips if clip.fault is fault)


def _video_id(seed: int, label: str, number: int) -> str:
    """11 characters of YouTube's alphabet; some begin with `-` or `_`, as there."""
    digest = hashlib.sha256(canonical([seed, label, number])).digest()
    return base64.urlsafe_b64encode(digest)[:11].decode()


def _draw_clip(seed: int, label: str, number: int, fault: Fault | None) -> Clip:
    """The clip with this number in its class: the first ones train, the next ones are held out, the rest are faulty."""
    video_id = _video_id(seed, label, number)
    rng = np.random.default_rng([seed, stable_hash(video_id)])
    held_out = TRAIN_CLIPS <= number < TRAIN_CLIPS + TEST_CLIPS
    return Clip(
        video_id=video_id,
        seed=seed,
        label=label,
        parameters=draw_parameters(label, rng),
        split="test" if held_out else "train",
        captions=captions_of(label, number),
        start_s=MARGIN_S if number == 0 else 0.0,
        channels=int(rng.integers(1, 3)),
        fault=fault,
    )


def _copy(clip: Clip, original: Clip) -> Clip:
    """The clip with the sound and picture of the original, under its own id and captions."""
    return Clip(
        video_id=clip.video_id,
        seed=clip.seed,
        label=original.label,
        parameters=original.parameters,
        split=clip.split,
        captions=clip.captions,
        start_s=original.start_s,
        channels=original.channels,
        fault=clip.fault,
        copy_of=original.video_id,
    )


def make_world(seed: int = 0) -> World:
    """The world of a seed: the same seed gives the same world, on every machine.

    Args:
        seed: 0 or more.

    Returns:
        104 good clips and those of `FAULTS`, shuffled.
    """
    labels = list(CLASSES)
    per_class = TRAIN_CLIPS + TEST_CLIPS
    clips = [_draw_clip(seed, label, number, None) for label in labels for number in range(per_class)]
    for position, fault in enumerate(FAULTS):
        label, number = labels[position % len(labels)], per_class + position // len(labels)
        clip = _draw_clip(seed, label, number, fault)
        if fault is Fault.DUPLICATE:
            clip = _copy(clip, next(one for one in clips if one.label == label and one.start_s == 0))
        clips.append(clip)
    order = np.random.default_rng([seed, stable_hash("order of the list")]).permutation(len(clips))
    return World(seed=seed, clips=tuple(clips[position] for position in order))


def synthesise(clip: Clip) -> tuple[NDArray[np.float32], NDArray[np.uint8], int]:
    """The sound and the frames of a clip's whole video.

    Returns:
        wave (channels, samples) float32 at 48 kHz within -1 to 1, frames (frames, height, width, 3) uint8 RGB, and the
        frames a second. A silent clip has a wave of zeros; a still one shows its first frame all the time.
    """
    rng = np.random.default_rng([clip.seed, stable_hash(clip.copy_of or clip.video_id), 1])
    score = play(clip.label, clip.parameters, CLIP_S, rng)
    pan = rng.uniform(0.5, 1.0, size=2) if clip.channels == 2 else np.ones(1)
    wave = (pan / pan.max())[:, None] * score.wave
    frames = draw(clip.label, score, clip.parameters.hue)
    if clip.fault is Fault.SILENT:
        wave = np.zeros_like(wave)
    if clip.fault is Fault.STILL:
        frames = np.repeat(frames[:1], len(frames), axis=0)
    if clip.start_s:
        margin = round(clip.start_s * RATE_HZ)
        wave = np.pad(wave, ((0, 0), (margin, margin)))
        frames = np.concatenate([blank(clip.start_s), frames, blank(clip.start_s)])
    return wave.astype(np.float32), frames, FRAMES_PER_S


def write_video(clip: Clip, path: Path) -> None:
    """Encode a clip's video: H.264 and AAC in an MP4 whose index (`moov`) comes last, as encoders leave it by default.

    One thread and bit-exact flags: the same clip gives the same bytes. The file appears under its name when it is
    whole.

    Args:
        clip: What to encode.
        path: Where; its folder must exist.
    """
    wave, frames, frames_per_s = synthesise(clip)
    part = path.with_suffix(".part")
    with av.open(part, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        picture = container.add_stream("libx264", rate=frames_per_s)
        picture.width = picture.height = SIDE_PIXELS
        picture.pix_fmt = "yuv420p"
        picture.options = {"preset": "ultrafast", "crf": "26", "threads": "1", "flags": "+bitexact"}
        layout = "stereo" if clip.channels == 2 else "mono"
        fast = {"aac_coder": "fast", "flags": "+bitexact", "threads": "1"}
        sound = container.add_stream("aac", rate=RATE_HZ, layout=layout, options=fast)
        sound.bit_rate = 96_000
        for position, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = position, Fraction(1, frames_per_s)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        samples = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), format="fltp", layout=layout)
        samples.sample_rate, samples.pts, samples.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    part.replace(path)
