"""AudioToken on small models that are trained here: do its pictures show what was heard, above chance?

    python -m benchmarks.evidence.audiotoken --out FOLDER [--seeds 0 1 2] [--clips 2400] [--listener RUN] [--save]

The quickstart's world is the dataset: 4 s of sound with pictures, eight classes, the shapes brought closer. From
nothing are trained `pictures-tiny` (text to image), `beats-tiny` (the listener), a judge of pictures and sounds on
another world, and `audiotoken-tiny` with each seed. What is judged are pictures of held-out sounds. Beside them stands
what the text-to-image model makes of the label in words: the most that a word of a sound can be expected to reach.
"""

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soxr
import torch

from benchmarks.evidence.shown import Row, keep, lines_of
from curation.dataset import Dataset
from models.audiotoken.conditioning import PLACE, PROMPT
from models.encoders.sound_picture import SoundPictureConfig, SoundPictureJudge, fit_judge, save_judge
from pipelines.evaluations.pictures import pictures
from pipelines.quickstart.corpus import HEADER
from pipelines.quickstart.pictures import BACKGROUND
from pipelines.quickstart.sounds import RATE_HZ
from pipelines.quickstart.world import CLIP_S, Clip, make_world, synthesise
from pipelines.recipes.data import open_shards
from pipelines.recipes.sounded_pictures import label_of
from pipelines.verbs.fetch import fetch
from pipelines.verbs.manifest import manifest
from pipelines.verbs.measure import measure
from pipelines.verbs.pack import pack
from pipelines.verbs.select import select
from pipelines.verbs.train import Parts, train

RESULTS = Path(__file__).parents[1] / "results"

WORLD = 13
"""Seed of the world that is learned from and held out of: 64 and 40 clips."""
OTHER_WORLD = 20
"""Of the one that the judge is fitted on."""
SIDE_PX = 64
"""Of the pictures: half of the world's, since what they show fills more of them."""
PICTURES_SEEN = 6_400
"""By the text-to-image model."""
MOMENTS = 2
"""Pictures and windows of each clip that the judge learns from."""
JUDGED_HZ = 16_000


def closer(frames_NHW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The shape of each frame in the middle of a square of `SIDE_PX`: large enough for pictures of 32 px."""
    half, found = SIDE_PX // 2, []
    padded = np.pad(frames_NHW3, ((0, 0), (half, half), (half, half), (0, 0)), constant_values=BACKGROUND)
    for frame_HW3, around_HW3 in zip(frames_NHW3, padded, strict=True):
        rows, columns = np.nonzero(np.abs(frame_HW3.astype(int) - BACKGROUND).max(axis=2) > 12)
        top, left = (0, 0) if not len(rows) else ((one.min() + one.max() + 1) // 2 for one in (rows, columns))
        found.append(around_HW3[top : top + SIDE_PX, left : left + SIDE_PX])
    return np.stack(found)


def write_closer(clip: Clip, path: Path) -> None:
    """A clip's video with its shape in the middle; one that is there is kept."""
    if path.is_file():
        return
    wave_CT, frames_NHW3, rate_hz = synthesise(clip)
    part = path.with_suffix(".part")
    with av.open(part, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        picture = container.add_stream("libx264", rate=rate_hz)
        picture.width = picture.height = SIDE_PX
        picture.pix_fmt, picture.options = "yuv420p", {"preset": "ultrafast", "crf": "18", "threads": "1"}
        layout = "stereo" if clip.channels == 2 else "mono"
        sound = container.add_stream("aac", rate=RATE_HZ, layout=layout)
        for number, pixels in enumerate(closer(frames_NHW3)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate_hz)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        samples = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave_CT), format="fltp", layout=layout)
        samples.sample_rate, samples.pts, samples.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    part.replace(path)


def make_dataset(folder: Path, seed: int = WORLD) -> Dataset:
    """The good clips of a world with the generations `train` and `test`; run again, it goes on."""
    videos, listed, dataset = folder / "videos", folder / "list.csv", folder / "dataset"
    if (dataset / "shards" / "test" / "index.json").is_file():
        return Dataset(dataset)
    videos.mkdir(parents=True, exist_ok=True)
    rows = [HEADER]
    for clip in make_world(seed).good:
        write_closer(clip, videos / f"{clip.video_id}.mp4")
        span = (f"{clip.start_s:g}", f"{CLIP_S:g}")
        rows.append((clip.video_id, *span, json.dumps([clip.label]), json.dumps(list(clip.captions)), clip.split))
    with listed.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    manifest("table", listed, out=dataset)
    fetch(dataset, source=[f"{videos.resolve()}/{{video_id}}.mp4"], workers=0)
    measure(dataset, workers=0)
    for split in ("train", "test"):
        select(dataset, split=split)
        pack(dataset, selection=split)
    return Dataset(dataset)


def make_judge(folder: Path, seed: int = OTHER_WORLD) -> Path:
    """A judge of the eight classes, fitted on another world; one that is there is kept."""
    if (folder / "config.json").is_file():
        return folder
    seen, heard, labels = [], [], []
    for number, clip in enumerate(make_world(seed).good):
        wave_CT, frames, rate_hz = synthesise(clip)
        rng = np.random.default_rng([seed, number])
        begin = round(clip.start_s * RATE_HZ)
        wave_T = soxr.resample(wave_CT.mean(axis=0)[begin : begin + round(CLIP_S * RATE_HZ)], RATE_HZ, JUDGED_HZ)
        inside = closer(frames[round(clip.start_s * rate_hz) : round((clip.start_s + CLIP_S) * rate_hz)])
        for _ in range(MOMENTS):
            start = int(rng.integers(len(wave_T) - 3 * JUDGED_HZ))
            heard.append(torch.from_numpy(np.float32(wave_T[start : start + 3 * JUDGED_HZ])))
            seen.append(inside[int(rng.integers(len(inside)))])
            labels.append(clip.label)
    config = SoundPictureConfig(labels=tuple(sorted(set(labels))), width=8, batch=24, steps=150)
    return save_judge(fit_judge(seen, heard, labels, config=config), config, folder)


def by_words(dataset: Dataset, run: Path, judge: Path, *, steps: int, guidance: float) -> dict[str, float]:
    """AIC of what the text-to-image model makes of the labels of the held-out clips in words."""
    from diffusers import StableDiffusionPipeline

    shards = open_shards(dataset, "test")
    labels = [label_of(shards, number) for number in range(len(shards))]
    pipeline = StableDiffusionPipeline.from_pretrained(str(run / "model"), low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    made: list[Any] = []
    for first in range(0, len(labels), 8):
        part = labels[first : first + 8]
        generators = [torch.Generator().manual_seed(first + row) for row in range(len(part))]
        prompts = [PROMPT.replace(PLACE, label) for label in part]
        found = pipeline(prompts, num_inference_steps=steps, guidance_scale=guidance, generator=generators)
        made += [np.asarray(picture) for picture in found.images]
    seen = SoundPictureJudge.from_pretrained(judge).classes_seen(made)
    return {"aic %": 100 * float(np.mean([one == other for one, other in zip(seen, labels, strict=True)]))}


def evidence(
    folder: Path,
    *,
    seeds: Sequence[int] = (0,),
    clips: int = 2_400,
    listener: Path | None = None,
    steps: int = 20,
    guidance: float = 2.0,
) -> list[Row]:
    """All of it, as a table; run again, it goes on where it stopped.

    Args:
        folder: For everything.
        seeds: Of the runs of AudioToken.
        clips: Clips that each of them sees.
        listener: A BEATs; `beats-tiny` is trained on the same sounds when not given.
        steps: Of the solver.
        guidance: How strongly words are followed.
    """
    dataset = make_dataset(folder)
    runs = dataset.folder("runs")
    train("pictures-tiny", data=[str(dataset.path)], clips=PICTURES_SEEN)
    if listener is None:
        train("beats-tiny", data=[str(dataset.path)])
    judge = make_judge(folder / "judge")
    words = by_words(dataset, runs / "pictures-tiny", judge, steps=steps, guidance=guidance)
    rows: list[Row] = [{"made of": "the label in words", **words}]
    for seed in seeds:
        run = runs / f"audiotoken-tiny-{seed}"
        parts = Parts(pictures=str(runs / "pictures-tiny"), listener=str(listener or runs / "beats-tiny"))
        train("audiotoken-tiny", data=[str(dataset.path)], seed=seed, clips=clips, out=run, parts=parts)
        judged = pictures(
            run, real=f"{dataset.path}@test", judge=[f"own:{judge}"], steps=steps, guidance=guidance, seed=seed
        )
        table = judged.tables[0]
        rows += [{"made of": row.of, "seed": seed, **_percent(asdict(row))} for row in table.rows]
    return rows


def _percent(row: Mapping[str, Any]) -> dict[str, float | None]:
    """A row of `evaluate pictures` as it is shown; FID has no unit."""
    shares = {f"{name} %": None if row[name] is None else 100 * row[name] for name in ("aic", "ais", "iis")}
    return {**shares, "fid": row["fid"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the runs of AudioToken")
    parser.add_argument("--clips", type=int, default=2_400, help="clips seen by a run of AudioToken")
    parser.add_argument("--listener", type=Path, help="run of a BEATs; one is trained on the same sounds if not given")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/evidence-audiotoken.json")
    given = parser.parse_args()
    rows = evidence(given.out.resolve(), seeds=given.seeds, clips=given.clips, listener=given.listener)
    print("\n".join(lines_of(rows)), flush=True)
    if given.save:
        listener = "beats-tiny of the same sounds" if given.listener is None else "another BEATs"
        about = {"seeds": given.seeds, "clips": given.clips, "pictures": PICTURES_SEEN, "listener": listener}
        keep(RESULTS / "evidence-audiotoken.json", {"pictures": rows}, **about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
