"""The quickstart's world as a dataset with pictures, a judge fitted on another world, and prompts with parts missing.

A world is drawn from a seed, so another seed gives other sounds of the same eight classes to fit a judge on.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soxr

from benchmarks.evidence.judge import Judge
from curation.dataset import Dataset
from curation.selections.selection import read_rows
from pipelines.quickstart.corpus import write_corpus, write_lists
from pipelines.quickstart.journey import WHERE
from pipelines.quickstart.phrases import QUERIES
from pipelines.quickstart.pictures import BACKGROUND
from pipelines.quickstart.sounds import RATE_HZ
from pipelines.quickstart.world import CLIP_S, make_world, synthesise
from pipelines.verbs.caption import caption
from pipelines.verbs.fetch import fetch
from pipelines.verbs.manifest import manifest
from pipelines.verbs.measure import measure
from pipelines.verbs.pack import pack
from pipelines.verbs.select import select
from pipelines.wiring.listeners import Listener

OTHER_SEED = 1
"""Of the world that the judge is fitted on."""


def make_dataset(folder: Path, seed: int) -> Dataset:
    """The world of a seed with the generations `train` and `test`; run again, it goes on where it stopped.

    Args:
        folder: For the videos, their list, and the folder `dataset`.
        seed: Of the world.
    """
    world = make_world(seed)
    write_corpus(world, folder / "videos")
    listed, _ = write_lists(world, folder)
    dataset = folder / "dataset"
    manifest("table", listed, out=dataset)
    fetch(dataset, source=[f"{(folder / 'videos').resolve()}/{{video_id}}.mp4"], workers=0)
    measure(dataset, workers=0)
    caption(dataset, captioner="label", workers=0)
    for split in ("train", "test"):
        select(dataset, split=split, where=WHERE)
        pack(dataset, selection=split)
    return Dataset(dataset)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """A held-out clip.

    Args:
        label: Its class.
        query: A sentence about its class that no caption has.
        video: Its video, of `CLIP_S` seconds.
    """

    label: str
    query: str
    video: Path


def held_out(dataset: Dataset, folder: Path) -> list[HeldOut]:
    """The held-out clips, each with one of its class's queries in turn; their videos are written to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found: list[HeldOut] = []
    for row in read_rows(dataset, "test", kept_only=True).to_pylist():
        label = row["labels"][0]
        video = folder / f"{row['clip_id']}.mp4"
        if not video.is_file():
            video.write_bytes(dataset.media.read(row["video_sha256"], ".mp4"))
        number = sum(one.label == label for one in found)
        found.append(HeldOut(label=label, query=QUERIES[label][number % len(QUERIES[label])], video=video))
    return found


def sounds_of(seed: int, rate_hz: int) -> tuple[list[npt.NDArray[np.float32]], list[str]]:
    """The sounds of a world's good clips, (T,) each, and their classes."""
    waves, labels = [], []
    for clip in make_world(seed).good:
        wave_CT, _, _ = synthesise(clip)
        begin = round(clip.start_s * RATE_HZ)
        wave_T = wave_CT[:, begin : begin + round(CLIP_S * RATE_HZ)].mean(axis=0)
        waves.append(np.asarray(soxr.resample(wave_T, RATE_HZ, rate_hz), np.float32))
        labels.append(clip.label)
    return waves, labels


def judge_of(listener: Listener, seed: int = OTHER_SEED) -> Judge:
    """A judge of the eight classes, fitted on the sounds of a world."""
    waves, labels = sounds_of(seed, listener.sample_rate_hz)
    return Judge.fit(np.stack([heard.features_ED.mean(axis=0) for heard in listener.hear(waves)]), labels)


def half_said(text: str) -> str:
    """A sentence without its second half: the words after the first half, rounded up, are left out."""
    words = text.split()
    return " ".join(words[: (len(words) + 1) // 2])


def half_seen(frames_NHW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pictures whose right half is the world's background."""
    hidden = frames_NHW3.copy()
    hidden[:, :, frames_NHW3.shape[2] // 2 :] = BACKGROUND
    return hidden


def write_changed(video: Path, out: Path, change: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]) -> Path:
    """A video with changed pictures and without sound; one that is there is kept.

    Args:
        video: What is read.
        out: Where it is written.
        change: (N, H, W, 3) uint8 RGB to the same.
    """
    if out.is_file():
        return out
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or Fraction(12)
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    part = out.with_suffix(".part")
    with av.open(part, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        picture = container.add_stream("libx264", rate=rate)
        picture.height, picture.width = frames.shape[1:3]
        picture.pix_fmt = "yuv420p"
        picture.options = {"preset": "ultrafast", "crf": "20", "threads": "1"}
        for number, pixels in enumerate(change(frames)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
    part.replace(out)
    return out


GIVEN = ("text and video", "text", "video", "half the text", "half the video", "half of both")
"""What of a held-out clip a sound is made from; all but the first lack something."""


def write_prompts(clips: Sequence[HeldOut], given: str, folder: Path) -> Path:
    """The list of prompts for `generate --prompts`, a line a clip.

    Args:
        clips: Held-out clips, whose videos lie below `folder`.
        given: One of `GIVEN`.
        folder: For the list and for the videos of which half is hidden.
    """
    lines = []
    for clip in clips:
        row: dict[str, str] = {}
        if given in ("text and video", "text"):
            row["text"] = clip.query
        if given in ("half the text", "half of both"):
            row["text"] = half_said(clip.query)
        if given in ("text and video", "video"):
            row["video"] = str(clip.video.relative_to(folder))
        if given in ("half the video", "half of both"):
            half = clip.video.with_name(f"half-{clip.video.name}")
            row["video"] = str(write_changed(clip.video, half, half_seen).relative_to(folder))
        lines.append(json.dumps(row))
    file = folder / f"prompts-{given.replace(' ', '-')}.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file
