"""A takedown stops who reads the clip at that moment, before anything of it can be silence, and nobody else."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from curation.dataset import Dataset
from curation.errors import StoppedError
from curation.keys import clip_id, video_key
from curation.samples import Source
from curation.shards.reader import Shards
from curation.takedowns.deny import deny
from curation.takedowns.forget import forget
from curation.takedowns.watch import TakedownWatch
from tests.curation.test_samples import VIDEOS, made, samples_of


def only_denied(dataset: Dataset, video: str) -> None:
    """The first moment of a takedown: the deny list is written, and nothing else has changed."""
    key = video_key("youtube", video)
    deny(dataset.path, [{"platform": "youtube", "video_id": video, "video_key": key, "denied_at": datetime.now(UTC)}])


def test_a_takedown_stops_who_reads_the_clip(tmp_path: Path) -> None:
    dataset = made(tmp_path, VIDEOS)
    samples = samples_of(Source(dataset=dataset))
    others = samples_of(
        Source(dataset=dataset, where="clips.clip_id <> '{}'".format(clip_id("youtube", "v3", 0, 10_000)))
    )
    plans = [one.plan(batch_size=4, seed=0) for one in (samples, others)]
    before = samples.batch(plans[0], 0)
    forget(dataset, ["never_seen1"])
    assert samples.batch(plans[0], 0)["keys"] == before["keys"], "the list has grown, and none of these clips is in it"
    only_denied(dataset, "v3")
    gone = clip_id("youtube", "v3", 0, 10_000)
    with pytest.raises(StoppedError, match=f"1 of the clips of .* were taken down, {gone} among them"):
        samples.batch(plans[0], 1)
    with pytest.raises(StoppedError, match="taken down"):
        samples_of(Source(dataset=dataset))
    assert gone not in others.batch(plans[1], 0)["keys"]
    forget(dataset, [])
    with pytest.raises(StoppedError, match="taken down"):
        samples.batch(plans[0], 2)
    left = samples_of(Source(dataset=dataset))
    assert len(left) == len(VIDEOS) - 1
    assert gone not in left.batch(left.plan(batch_size=12, seed=0), 0)["keys"]


def test_whoever_reads_shards_may_be_stopped_too(tmp_path: Path) -> None:
    dataset = made(tmp_path, VIDEOS)
    root = dataset.root("shards") / "train"
    keys = pa.array(Shards.open(root).keys)
    shards = Shards(root, check=TakedownWatch(dataset, keys).check)
    assert set(shards.read(0, ("flac",))) == {"flac"}
    only_denied(dataset, "v3")
    with pytest.raises(StoppedError, match="taken down"):
        shards.read(0, ("flac",))
    assert set(Shards.open(root).read(0, ("flac",))) == {"flac"}
