"""What is said in clips goes from lists through a selection into shards, and from there into samples."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from curation.dataset import Dataset
from curation.latents import Extras, Lengths
from curation.samples import Samples, Source
from curation.selections.selection import read_rows, select
from curation.shards.layout import clip_json
from curation.shards.pack import pack
from curation.shards.plan import plan_generation
from curation.shards.reader import Shards
from curation.storage import Root
from tests.curation.made import RATE_HZ, Made
from tests.curation.test_samples import HOP, encode

LENGTHS = Lengths(latent_frames=(4,), latent_rate_hz=RATE_HZ / HOP, frame_rate_hz=50.0)


def selected(dataset: Dataset) -> dict[str, str | None]:
    select(dataset, name="train")
    return {row["clip_id"]: row["transcript"] for row in read_rows(dataset, "train").to_pylist()}


def test_the_first_list_that_says_something_of_the_clip_wins(tmp_path: Path) -> None:
    made = Made(tmp_path)
    of_clip = made.clip(
        "a",
        said=[
            {"transcript": "whole", "grain": "video", "list": "a"},
            {"transcript": "z"},
            {"transcript": "other", "list": "other"},
        ],
    )
    silent = made.clip("b", said=[{"labels": ["dog"]}])
    alone = made.clip("c", said=[{}, {"transcript": "all of it", "grain": "video"}])
    assert selected(made.dataset()) == {of_clip: "z", silent: None, alone: "all of it"}


def test_what_is_said_in_a_video_of_several_clips_is_said_of_none(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("a", said=[{}, {"transcript": "all of it", "grain": "video"}])
    made.clip("a", 10_000)
    assert set(selected(made.dataset()).values()) == {None}


def test_a_condition_sees_it(tmp_path: Path) -> None:
    made = Made(tmp_path)
    spoken, _ = made.clip("a", said=[{"transcript": "one"}]), made.clip("b")
    dataset = made.dataset()
    select(dataset, name="train", where="clips.transcript IS NOT NULL")
    assert [row["clip_id"] for row in read_rows(dataset, "train", kept_only=True).to_pylist()] == [spoken]


def test_shards_have_it_where_there_is_one_and_samples_bring_it(tmp_path: Path) -> None:
    made = Made(tmp_path)
    keys = {made.clip("a", said=[{"transcript": "séven"}]): "séven", made.clip("b"): ""}
    dataset = made.dataset()
    select(dataset, name="train")
    shards = Shards.open(pack(dataset, "train").root)
    about = [shards.about(number) for number in range(2)]
    assert {one["clip_id"]: one.get("transcript", "") for one in about} == keys
    assert sorted("transcript" in one for one in about) == [False, True]
    encode(dataset)
    source = Source(dataset=dataset)
    samples = Samples.open([source], latents="blocks", lengths=LENGTHS, extras=Extras(transcript=True))
    batch = samples.batch(samples.plan(batch_size=4, seed=0), 0)
    assert batch["transcripts"] == [keys[key] for key in batch["keys"]] and len(set(batch["keys"])) == 2
    plain = Samples.open([source], latents="blocks", lengths=LENGTHS)
    assert "transcripts" not in plain.batch(plain.plan(batch_size=1, seed=0), 0)


def test_a_selection_from_before_is_planned_as_one_without_transcripts(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("a"), made.clip("b")
    dataset = made.dataset()
    select(dataset, name="train")
    new = tmp_path / "dataset" / "selections" / "train.parquet"
    old = tmp_path / "old.parquet"
    pq.write_table(pq.read_table(new).drop_columns(["transcript"]), old)

    def planned(path: Path) -> list[tuple[int, str]]:
        with plan_generation(path, clips_per_shard=2, shards=Root.of(tmp_path / "shards")) as plan:
            ((_, table),) = plan.written()
        return [(row["row_hash"], json.dumps(clip_json(row, {}))) for row in table.to_pylist()]

    assert planned(old) == planned(new)
