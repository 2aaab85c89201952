"""What the verb `caption` spends on a clip beside its model, ms, against the bound of 5 ms.

The captioner answers at once. All else is real: a dataset of 2,000 clips of 10 s in stereo at 48 kHz, its tables,
files found, decoded and resampled, answers cached, checked and committed, in this process and by a Ray actor. Then the
same with a captioner that takes 20 ms a clip without using a processor, as a GPU does, so that what is done meanwhile
costs nothing. The verb works as it does with a GPU: a worker gets several batches at a time, and reads one while the
model works on another. Importing torch is the model's, and done before.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks import Measured
from benchmarks._made_clips import captionable
from captioning.cache import CAPTION_CACHE
from captioning.caption import Caption
from captioning.captioner import CaptionerIdentity, Sound
from captioning.prompt import Prompt, load_prompt
from captioning.sound import heard
from curation.dataset import Dataset
from curation.errors import ClipError
from pipelines.verbs.caption import caption
from pipelines.wiring.captioners import ModelOptions

BOUND_MS = 5.0
MODEL_MS = 20.0
"""What a clip takes a model of 7 B parameters on one GPU, in batches: about 50 clips a second. Source: ours."""

SECONDS = 10.0
STEADY = (0.1, 0.9)
"""The share of the answers between which the rate of Ray's actors is taken: starting them is paid once."""


RUNS = (("at_once", 0.0, 0), ("beside_model", MODEL_MS, 0), ("at_once_ray", 0.0, 1), ("beside_model_ray", MODEL_MS, 1))
"""Name of a run, what its model takes, ms a clip, and Ray actors; 0 works in this process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Knowing:
    """A captioner that knows what to say, and takes so long, ms a clip."""

    name: str
    takes_ms: float

    def identity(self) -> CaptionerIdentity:
        """Told apart by its name."""
        return CaptionerIdentity(
            name="knowing", version=1, model=f"made/{self.name}", sample_rate_hz=16_000, window_s=30.0
        )

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        """The same sentence about every clip."""
        time.sleep(self.takes_ms * len(sounds) / 1000)
        return ["A dog barks while rain falls on the roof of a house."] * len(sounds)


def stage_of(captioner: Knowing, cache: Path, dataset: Dataset, *arguments: Any, **options: Any) -> Caption:
    """In place of the wiring's stage."""
    return Caption(
        captioner=captioner.identity(),
        prompt=load_prompt("sound-v1"),
        build=partial(Knowing, name=captioner.name, takes_ms=captioner.takes_ms),
        media=dataset.media,
        cache=cache,
        batch=options["options"].batch,
    )


def clip_ms(dataset: Dataset, captioner: Knowing, cache: Path, *, workers: int, batch: int) -> float:
    """Wall time of the verb a clip, ms; with Ray the time between the answers in the middle of the run."""
    with (
        patch("pipelines.verbs.caption.caption_stage", partial(stage_of, captioner, cache)),
        patch("pipelines.verbs.caption.gpu_count", lambda address: 1),
    ):
        begun = time.perf_counter()
        result = caption(dataset.path, captioner="made", model=ModelOptions(batch=batch), workers=workers)
        seconds = time.perf_counter() - begun
    done = result.tally.done
    if result.tally.set_aside or not done:
        raise RuntimeError(f"{done} clips were captioned, others set aside: {result.tally.set_aside}")
    if workers == 0:
        return 1000 * seconds / done
    ended = "SELECT epoch(finished_at) AS ended FROM caption WHERE model = ? ORDER BY ended"
    at_s = dataset.sql(ended, [captioner.identity().model])["ended"].to_pylist()
    first, last = (int(share * len(at_s)) for share in STEADY)
    return 1000 * float(at_s[last] - at_s[first]) / (last - first)


def reading_ms(dataset: Dataset, clips: int = 100) -> float:
    """Decoding and resampling of one sound by one thread, ms."""
    paths = [
        dataset.media.open_path(row["audio_sha256"], ".flac")
        for row in dataset.sql(f"SELECT audio_sha256 FROM cut LIMIT {clips}").to_pylist()
    ]
    begun = time.perf_counter()
    for path in paths:
        heard(path, sample_rate_hz=16_000, window_s=30.0)
    return 1000 * (time.perf_counter() - begun) / len(paths)


def measure(clips: int = 2000, batch: int = 16, seconds: float = SECONDS, ray: bool = True) -> Measured:
    import torch  # noqa: F401

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = captionable(folder / "dataset", clips, seconds=seconds)
        found = {"reading_one_thread_ms": reading_ms(dataset, min(clips, 100))}
        for run, takes_ms, workers in RUNS if ray else RUNS[:2]:
            captioner = Knowing(name=run, takes_ms=takes_ms)
            cache = folder / f"{run}-{CAPTION_CACHE}"
            found[f"{run}_ms"] = clip_ms(dataset, captioner, cache, workers=workers, batch=batch) - takes_ms
    return {
        "ratio": BOUND_MS / found["beside_model_ms"],
        "peer": f"the bound of {BOUND_MS:.0f} ms a clip, beside a model that takes {MODEL_MS:.0f} ms",
        **found,
        "clips": clips,
        "clip_s": seconds,
        "batch": batch,
        "processors": len(os.sched_getaffinity(0)),
    }
