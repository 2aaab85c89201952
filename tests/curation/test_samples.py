"""`encode` and what is drawn of it: spans, spreads, pictures, mixtures, buckets; each row a function of its place."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from curation.dataset import Dataset
from curation.encode import JPEG_ABOVE_PX, Encode, pack_jpegs, read_frames
from curation.errors import ArgumentError, StoppedError
from curation.latents import Lengths
from curation.samples import Samples, Source
from curation.selections.selection import select
from curation.shards.pack import pack
from curation.stored_latents import decode_jpegs
from pipelines.runner import Job, run
from tests.curation.made import RATE_HZ, Made

HOP = 80
LENGTHS = Lengths(latent_frames=(4,), latent_rate_hz=RATE_HZ / HOP, frame_rate_hz=50.0)


@dataclass(frozen=True)
class Blocks:
    """Ten latent frames of 0.1 s: (number of the frame, mean of its samples)."""

    sample_rate_hz: int = RATE_HZ
    channels: int = 1
    spread: float | None = None

    def encode(self, wave_CT: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        mean_F = wave_CT[0].reshape(-1, HOP).mean(axis=1)
        latents = np.stack([np.arange(len(mean_F)), mean_F], axis=1).astype(np.float32)
        return latents, None if self.spread is None else np.full_like(latents, self.spread)


class Broken(Blocks):
    def encode(self, wave_CT: np.ndarray) -> tuple[np.ndarray, None]:
        return np.full((10, 2), np.inf, np.float32), None


def made(folder: Path, videos: Sequence[str], **knobs: Any) -> Dataset:
    """A dataset with the clips packed as `train` and encoded."""
    written = Made(folder)
    folder.mkdir(exist_ok=True)
    for number, video in enumerate(videos):
        said = [{"captions": [f"{video} one", f"{video} two"]}] if number % 2 else [{"labels": [video]}]
        written.clip(video, picture=number % 3 == 0, said=said)
    dataset = written.dataset()
    select(dataset, name="train")
    pack(dataset, "train")
    encode(dataset, **knobs)
    return dataset


def encode(dataset: Dataset, codec: Blocks | None = None, **knobs: Any) -> None:
    used = codec or Blocks()
    stage = Encode(
        codec={"class": "Blocks", "spread": used.spread},
        build=lambda: used,
        media=dataset.media,
        blobs=dataset.root("latents"),
        called="blocks",
        frame_rate_hz=50.0,
        **knobs,
    )
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=4, workers=0))


def samples_of(*sources: Source, lengths: Lengths = LENGTHS) -> Samples:
    return Samples.open(sources, latents="blocks", lengths=lengths)


VIDEOS = tuple(f"v{number}" for number in range(7))


def test_a_row_is_a_span_of_its_clip_with_its_pictures_and_one_of_its_texts(tmp_path: Path) -> None:
    samples = samples_of(Source(dataset=made(tmp_path, VIDEOS)))
    assert (len(samples), samples.too_short) == (7, 0)
    plan = samples.plan(batch_size=64, seed=3)
    batch = samples.batch(plan, 0)
    assert batch["latents"].shape == (64, 4, 2) and batch["latents"].dtype == np.float16
    starts = batch["latents"][:, 0, 0]
    np.testing.assert_array_equal(batch["latents"][:, :, 0], starts[:, None] + np.arange(4))
    assert set(starts.tolist()) == set(range(7)), "every start that leaves four frames"
    assert batch["frames"].shape == (64, 2, 32, 32, 3) and batch["frames"].dtype == np.uint8
    assert not batch["frames"][~batch["has_frames"]].any()
    texts = {f"{video} {which}" for video in VIDEOS[1::2] for which in ("one", "two")} | set(VIDEOS[::2])
    assert set(batch["texts"]) == texts
    assert Counter(Counter(batch["keys"]).values()).keys() <= {9, 10}, "64 of 7 clips"


def test_ranks_and_threads_make_the_rows_that_one_makes(tmp_path: Path) -> None:
    samples = samples_of(Source(dataset=made(tmp_path, VIDEOS, codec=Blocks(spread=0.5))))
    plan = samples.plan(batch_size=6, seed=0)
    whole = samples.batch(plan, 5)
    for rank in range(3):
        part = samples.batch(plan, 5, range(rank, 6, 3))
        assert part["keys"] == whole["keys"][rank::3] and part["texts"] == whole["texts"][rank::3]
        np.testing.assert_array_equal(part["latents"], whole["latents"][rank::3])


def test_latents_with_a_spread_are_drawn_from_it(tmp_path: Path) -> None:
    samples = samples_of(Source(dataset=made(tmp_path, VIDEOS, codec=Blocks(spread=0.5))))
    plan = samples.plan(batch_size=2_000, seed=1)
    latents = samples.batch(plan, 0)["latents"]
    noise = latents[:, 1:, 0] - latents[:, :1, 0] - np.arange(1, 4)
    assert noise.std() == pytest.approx(0.5 * 2**0.5, rel=0.05)


def test_large_pictures_are_kept_as_jpeg(tmp_path: Path) -> None:
    side = JPEG_ABOVE_PX + 16
    dataset = made(tmp_path, VIDEOS, frame_size_px=side)
    (row,) = dataset.sql("SELECT frames, frames_size_bytes FROM encode WHERE frames > 0 LIMIT 1").to_pylist()
    assert 0 < row["frames_size_bytes"] < row["frames"] * side * side * 3
    large = samples_of(Source(dataset=dataset))
    batch = large.batch(large.plan(batch_size=64, seed=3), 0)
    small = samples_of(Source(dataset=made(tmp_path / "small", VIDEOS)))
    raw = small.batch(small.plan(batch_size=64, seed=3), 0)
    assert batch["frames"].shape == (64, 2, side, side, 3)
    assert batch["keys"] == raw["keys"]
    np.testing.assert_allclose(batch["frames"].mean(axis=(2, 3, 4)), raw["frames"].mean(axis=(2, 3, 4)), atol=3)


def test_a_moment_has_the_picture_that_is_shown_then(tmp_path: Path) -> None:
    """Pictures at 0, 0.5 and 1 s, seen five times a second; the last one stays for half a second."""
    file = tmp_path / "slow.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for level in (40, 120, 200):
            pixels = np.full((16, 16, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    levels = read_frames(file, 5.0, 8).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [40, 40, 40, 120, 120, 200, 200, 200], atol=4)


def test_packed_pictures_come_back_in_any_order() -> None:
    ramp = np.broadcast_to(np.arange(0, 240, 3, dtype=np.uint8)[:, None, None], (80, 80, 3))
    frames = np.stack([ramp, 255 - ramp, np.zeros_like(ramp)])
    found = decode_jpegs(pack_jpegs(frames), [2, 0, 0, 1])
    np.testing.assert_allclose(found, frames[[2, 0, 0, 1]], atol=3)


def test_sources_are_mixed_by_weight_and_condition(tmp_path: Path) -> None:
    few, many = made(tmp_path / "few", ["a", "b"]), made(tmp_path / "many", VIDEOS)
    samples = samples_of(
        Source(dataset=few, weight=3.0),
        Source(dataset=many, weight=1.0, where="videos.video_id IN ('v0', 'v1')"),
    )
    assert len(samples) == 4
    batch = samples.batch(samples.plan(batch_size=10_000, seed=0), 0)
    of_few = sum(text[0] in "ab" for text in batch["texts"])
    assert of_few == 7_500
    assert {text[:2] for text in batch["texts"] if text[0] == "v"} == {"v0", "v1"}
    with pytest.raises(ArgumentError, match="every source of data a weight, or none"):
        samples_of(Source(dataset=few, weight=1.0), Source(dataset=many)).plan(batch_size=1, seed=0)
    with pytest.raises(ArgumentError, match=r"no clip of .*many.* is long enough or meets"):
        nothing = Source(dataset=many, weight=1.0, where="videos.video_id = 'nobody'")
        samples_of(Source(dataset=few, weight=1.0), nothing).plan(batch_size=1, seed=0)


def test_a_clip_is_in_the_bucket_of_the_longest_length_that_it_fills(tmp_path: Path) -> None:
    dataset = made(tmp_path, VIDEOS)
    lengths = Lengths(latent_frames=(3, 10, 20), latent_rate_hz=RATE_HZ / HOP, frame_rate_hz=50.0)
    samples = samples_of(Source(dataset=dataset), lengths=lengths)
    assert samples.batch(samples.plan(batch_size=4, seed=0), 0)["latents"].shape == (4, 10, 2)
    with pytest.raises(ArgumentError, match=r"none of the 7 clips has 11 latent frames.*--seconds"):
        samples_of(Source(dataset=dataset), lengths=Lengths(latent_frames=(11,), latent_rate_hz=1.0, frame_rate_hz=1.0))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    dataset = made(tmp_path, VIDEOS)
    with pytest.raises(ArgumentError, match=r"7 of 7 clips of generation 'train' of .* have no latents 'other'"):
        Samples.open([Source(dataset=dataset)], latents="other", lengths=LENGTHS)
    with pytest.raises(ArgumentError, match=r"weight of .* must be above 0, not 0"):
        Source(dataset=dataset, weight=0.0)
    with pytest.raises(ArgumentError, match="ascending"):
        Lengths(latent_frames=(4, 4), latent_rate_hz=1.0, frame_rate_hz=1.0)


def test_latents_that_are_not_finite_stop_the_stage(tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="not finite for clip"):
        made(tmp_path, VIDEOS[:1], codec=Broken())
