"""What a clip trains goes from lists through a selection into shards, and from there into samples."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from curation.dataset import Dataset
from curation.latents import Lengths
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

BOTH = [{"type": "video_condition-music"}, {"type": "text_condition-music"}, {"type": "text_condition-music"}]


def selected(dataset: Dataset) -> dict[str, list[str]]:
    select(dataset, name="train")
    return {row["clip_id"]: row["types"] for row in read_rows(dataset, "train").to_pylist()}


def test_all_types_of_a_clip_and_of_its_video_are_its_own(tmp_path: Path) -> None:
    made = Made(tmp_path)
    several = made.clip("a", said=BOTH)
    of_video = made.clip("b", said=[{}, {"type": "video_condition-audio", "grain": "video"}])
    plain = made.clip("c", said=[{"labels": ["dog"]}])
    assert selected(made.dataset()) == {
        several: ["text_condition-music", "video_condition-music"],
        of_video: ["video_condition-audio"],
        plain: [],
    }


def test_a_dataset_from_before_is_selected_and_planned_as_one_without_types(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("a"), made.clip("b")
    dataset = made.dataset()
    for part in (tmp_path / "dataset" / "annotations").glob("*.parquet"):
        table = pq.read_table(part)
        if "type" in table.column_names:
            pq.write_table(table.drop_columns(["type"]), part)
    assert set(map(tuple, selected(dataset).values())) == {()}
    new = tmp_path / "dataset" / "selections" / "train.parquet"
    old = tmp_path / "old.parquet"
    pq.write_table(pq.read_table(new).drop_columns(["types"]), old)

    def planned(path: Path) -> list[tuple[int, str]]:
        with plan_generation(path, clips_per_shard=2, shards=Root.of(tmp_path / "shards")) as plan:
            ((_, table),) = plan.written()
        return [(row["row_hash"], json.dumps(clip_json(row, {}))) for row in table.to_pylist()]

    assert planned(old) == planned(new)


def test_another_type_is_another_row(tmp_path: Path) -> None:
    hashes = set()
    for number, said in enumerate(([], [{"type": "a"}], [{"type": "b"}], [{"type": "a"}, {"type": "b"}])):
        made = Made(tmp_path / str(number))
        made.clip("a", said=[{}, *said])
        select(made.dataset(), name="train")
        place = tmp_path / str(number) / "dataset" / "selections" / "train.parquet"
        with plan_generation(place, clips_per_shard=1, shards=Root.of(tmp_path / "shards")) as plan:
            ((_, table),) = plan.written()
        hashes.add(table["row_hash"][0].as_py())
    assert len(hashes) == 4


def test_samples_draw_one_of_a_clips_types_and_conditions_see_them(tmp_path: Path) -> None:
    made = Made(tmp_path)
    keys = {made.clip("a", said=BOTH): {"video_condition-music", "text_condition-music"}, made.clip("b"): {""}}
    dataset = made.dataset()
    select(dataset, name="train")
    shards = Shards.open(pack(dataset, "train").root)
    assert sorted("types" in shards.about(number) for number in range(2)) == [False, True]
    encode(dataset)
    samples = Samples.open([Source(dataset=dataset)], latents="blocks", lengths=LENGTHS)
    assert samples.types == {"video_condition-music", "text_condition-music"}
    plan = samples.plan(batch_size=64, seed=0)
    batch = samples.batch(plan, 0)
    found: dict[str, Counter[str]] = {}
    for key, type_ in zip(batch["keys"], batch["types"], strict=True):
        found.setdefault(key, Counter())[type_] += 1
    assert {key: set(counts) for key, counts in found.items()} == keys
    assert samples.batch(plan, 0, range(1, 64, 2))["types"] == batch["types"][1::2]
    music = Source(dataset=dataset, where="list_contains(clips.types, 'video_condition-music')")
    assert len(Samples.open([music], latents="blocks", lengths=LENGTHS)) == 1
    other = Source(dataset=dataset, where="len(clips.types) = 0")
    plain = Samples.open([other], latents="blocks", lengths=LENGTHS)
    assert plain.types == set() and "types" not in plain.batch(plain.plan(batch_size=1, seed=0), 0)


def test_a_type_in_a_table_is_read_as_it_stands(tmp_path: Path) -> None:
    from curation.lists.ingest import ingest

    dataset = Dataset.create(tmp_path / "dataset")
    file = tmp_path / "list.jsonl"
    lines = [{"path": "a.wav", "type": "text_condition-audio"}, {"path": "b.wav"}, {"path": "c.wav", "type": 3}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ingest(dataset, "table", file)
    rows = dataset.sql("SELECT line, type FROM annotations ORDER BY line").to_pylist()
    assert rows == [{"line": 1, "type": "text_condition-audio"}, {"line": 2, "type": None}]
    (reject,) = dataset.sql("SELECT reason FROM rejects").to_pylist()
    assert str(reject["reason"]).replace("'", "") == "type 3 is not a text"
