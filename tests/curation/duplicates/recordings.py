"""Sounds with a known relation to each other, as a dataset whose facts are taken by the real stages."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from curation import keys
from curation.dataset import Dataset
from curation.duplicates.chromaprint import Print
from curation.stage import Stage
from tests.curation.made import MadeCut, MadeFetch, MadeMeasure, write_facts

RATE_HZ = 16_000
Sound = npt.NDArray[np.float64]


def melody(seed: int, seconds: float = 10.0) -> Sound:
    """Notes of a quarter of a second, three at a time, over quiet noise: no two seeds are alike."""
    random = np.random.default_rng([17, seed])
    step = RATE_HZ // 4
    time_s = np.arange(step) / RATE_HZ
    notes = []
    for _ in range(int(np.ceil(seconds * 4))):
        pitches_hz = 220 * 2 ** (random.integers(0, 36, size=3) / 12)
        notes.append(np.sin(2 * np.pi * pitches_hz[:, None] * time_s).sum(axis=0))
    sound = 0.2 * np.concatenate(notes)[: round(seconds * RATE_HZ)]
    return sound + 0.002 * random.standard_normal(len(sound))


def write_dataset(folder: Path, sounds: Sequence[dict[str, Any]], *, printed: bool = True) -> Dataset:
    """A dataset of cut sounds, fetched, cut, measured and, if `printed`, fingerprinted.

    Each of `sounds` has `video_id` and `sound`, and may have `start_ms`, `duration_ms`, `split` and `bandwidth_hz`.
    """
    dataset = Dataset.create(folder)
    dataset.set_config(sources=[{"list": "listed", "rows": 0, "rejected": 0}])
    videos, clips, said, fetched, cut, measured = [], [], [], [], [], []
    for line, row in enumerate(sounds, 1):
        start_ms, duration_ms = row.get("start_ms", 0), row.get("duration_ms", 10_000)
        key = keys.video_key("youtube", row["video_id"])
        clip_id = keys.clip_id("youtube", row["video_id"], start_ms, duration_ms)
        span = {"clip_id": clip_id, "start_ms": start_ms, "duration_ms": duration_ms}
        file = folder / "sound.flac"
        samples = np.round(32_767 * np.clip(row["sound"], -1, 1)).astype("<i2")
        soundfile.write(file, samples, RATE_HZ, subtype="PCM_16")
        files = {"audio_sha256": dataset.media.put(file, ".flac"), "sample_rate_hz": RATE_HZ}
        numbers = {
            "pcm_sha256": hashlib.sha256(samples.tobytes()).hexdigest(),
            "bandwidth_hz": row.get("bandwidth_hz", 8_000.0),
            "duration_s": len(samples) / RATE_HZ,
        }
        videos.append({"video_key": key, "platform": "youtube", "video_id": row["video_id"]})
        clips.append({"video_key": key, "origin": "list", **span})
        said.append({"key": clip_id, "grain": "clip", "list": "listed", "line": line, "split": row.get("split")})
        fetched.append((key, "done", {"licence": None, "duration_s": 10.0, "original_sha256": "original"}, key))
        cut.append((clip_id, "done", files, "original"))
        measured.append((clip_id, "done", numbers, files["audio_sha256"]))
    for name, rows in (("videos", videos), ("clips", clips), ("annotations", said)):
        dataset.append(name, rows)
    write_facts(dataset, MadeFetch(), fetched)
    write_facts(dataset, MadeCut(), cut)
    write_facts(dataset, MadeMeasure(), measured)
    if printed:
        run_stage(dataset, Print(media=dataset.media))
    return dataset


def run_stage(dataset: Dataset, stage: Stage) -> None:
    """Run a stage on all that is pending, in this process."""
    pending = dataset.pending(stage).to_pylist()
    outcomes = stage.open()(pending)
    inputs = {row["key"]: row["input"] for row in pending}
    for outcome in outcomes:
        write_facts(dataset, stage, [(outcome.key, "done", dict(outcome.values), inputs[outcome.key])])


def clip_of(row: dict[str, Any]) -> str:
    """The clip_id of a row of `sounds`."""
    return keys.clip_id("youtube", row["video_id"], row.get("start_ms", 0), row.get("duration_ms", 10_000))
