"""Scores of candidates against sounds, people, tags and labels, in a space where everything is known."""

import dataclasses
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from captioning.score import Score, mentions
from curation.annotated import ANNOTATED
from curation.blobs import BlobWriter
from curation.dataset import Dataset
from curation.facts import fact_row
from curation.schema import column, table
from curation.stage import Outcome, Stage

WORDS = ("dog", "rain", "wind")


class CountingEmbedder:
    """A text points where its words do: one axis for each of three words, and one for all others."""

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[*(float(word in text.lower()) for word in WORDS), 0.1] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    def identity(self) -> dict[str, Any]:
        return {"class": "made"}


class CaptionMade(Stage):
    """Stands for the stage `caption`."""

    NAME, VERSION, GRAIN = "caption", 1, "clip"
    RESULTS = table(
        "made",
        column("text", pa.string(), "text"),
        column("candidate", pa.int32(), "draw"),
        column("further", pa.list_(pa.struct({"candidate": pa.int32(), "text": pa.string()})), "others"),
    )

    def requests(self) -> str:
        return "SELECT clip_id AS key, clip_id AS input FROM clips"


class EmbedMade(Stage):
    """Stands for the stage `embed`."""

    NAME, VERSION, GRAIN = "embed", 1, "clip"
    RESULTS = table(
        "made",
        column("blob", pa.string(), "blob"),
        column("offset_bytes", pa.int64(), "place"),
        column("windows", pa.int32(), "windows"),
        column("dimension", pa.int32(), "width"),
    )

    def requests(self) -> str:
        return "SELECT clip_id AS key, clip_id AS input FROM clips"


class TagMade(Stage):
    """Stands for the stage `tag`."""

    NAME, VERSION, GRAIN = "tag", 1, "clip"
    RESULTS = table("made", column("tags", pa.list_(pa.struct({"label": pa.string(), "score": pa.float32()})), "tags"))

    def requests(self) -> str:
        return "SELECT clip_id AS key, clip_id AS input FROM clips"


def commit(dataset: Dataset, stage: Stage, **values: dict[str, Any]) -> None:
    facts = dataset.facts(stage)
    facts.make_current(stage)
    facts.append(
        fact_row(Outcome(key=key, values=row), input_hash=key, attempt=1, seconds=0.1) for key, row in values.items()
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A clip with the sound of a dog, labelled dog and wind; one that nobody says anything of."""
    made = Dataset.create(tmp_path / "dataset")
    made.append("videos", [{"video_key": "v", "platform": "youtube", "video_id": "v"}])
    made.append("clips", [{"clip_id": clip, "video_key": "v", "origin": "list"} for clip in "ab"])
    rows = [
        {
            "key": "a",
            "grain": "clip",
            "list": "one",
            "line": 1,
            "labels": ["dog", "wind"],
            "captions": ["A dog barks."],
        },
        {"key": "b", "grain": "clip", "list": "one", "line": 2, "labels": [], "captions": []},
    ]
    made.append("annotations", rows)
    made.add_source({"list": "one", "rows": 2, "rejected": 0})
    further = [{"candidate": 1, "text": "Rain falls."}]
    commit(
        made,
        CaptionMade(),
        a={"text": "A dog barks loudly.", "candidate": 0, "further": further},
        b={"text": "Rain in the wind.", "candidate": 0, "further": None},
    )
    writer = BlobWriter(made.folder("vectors"))
    places = {
        key: writer.append(np.array(vectors, np.float16))
        for key, vectors in {"a": [[1, 0, 0, 0], [0.8, 0.6, 0, 0]], "b": [[0, 1, 0, 0]]}.items()
    }
    writer.sync()
    commit(
        made,
        EmbedMade(),
        **{
            key: {"blob": p.blob, "offset_bytes": p.offset_bytes, "windows": p.shape[0], "dimension": p.shape[1]}
            for key, p in places.items()
        },
    )
    return made


def stage_of(dataset: Dataset, tags: str | None = None) -> Score:
    return Score(
        captions="caption",
        embedder=CountingEmbedder().identity(),
        annotated=ANNOTATED,
        build=CountingEmbedder,
        vectors="embed",
        blobs=dataset.folder("vectors"),
        tags=tags,
    )


def scored(dataset: Dataset, stage: Score) -> dict[str, dict[str, Any]]:
    outcomes = pickle.loads(pickle.dumps(stage)).open()(dataset.pending(stage).to_pylist())
    return {outcome.key: dict(outcome.values) for outcome in outcomes}


def test_every_candidate_is_compared_with_the_mean_of_the_windows(dataset: Dataset) -> None:
    sound_D = np.array([0.9, 0.3, 0, 0]) / np.hypot(0.9, 0.3)
    barks, rain = scored(dataset, stage_of(dataset))["a"]["candidates"]
    assert (barks["candidate"], rain["candidate"]) == (0, 1)
    assert barks["clap"] == pytest.approx(sound_D[0] / np.hypot(1, 0.1), abs=1e-3)
    assert rain["clap"] == pytest.approx(sound_D[1] / np.hypot(1, 0.1), abs=1e-3)


def test_agreement_with_people_is_null_where_nobody_spoke(dataset: Dataset) -> None:
    found = scored(dataset, stage_of(dataset))
    barks, rain = found["a"]["candidates"]
    assert barks["human_clap"] == pytest.approx(1.0, abs=1e-3)
    assert rain["human_clap"] < 0.1
    assert barks["human_rouge_l"] > 0.8 > rain["human_rouge_l"] == 0.0
    (alone,) = found["b"]["candidates"]
    assert (alone["human_clap"], alone["human_rouge_l"], alone["tags_clap"]) == (None, None, None)


def test_a_label_that_the_sound_contradicts_is_low_and_its_mention_known(dataset: Dataset) -> None:
    found = scored(dataset, stage_of(dataset))["a"]
    labels = {one["label"]: one["clap"] for one in found["labels"]}
    assert labels["dog"] > 0.9 and labels["wind"] < 0.1
    assert [one["mentions"] for one in found["candidates"]] == [["dog"], []]


def test_tags_that_are_sure_enough_are_compared_with(dataset: Dataset) -> None:
    tags = [{"label": "Dog", "score": 0.8}, {"label": "Rain", "score": 0.2}]
    commit(dataset, TagMade(), a={"tags": tags}, b={"tags": [{"label": "Rain", "score": 0.29}]})
    found = scored(dataset, stage_of(dataset, tags="tag"))
    barks, rain = found["a"]["candidates"]
    assert barks["tags_clap"] == pytest.approx(1.0, abs=1e-3) and rain["tags_clap"] < 0.1
    assert found["b"]["candidates"][0]["tags_clap"] is None


def test_a_label_that_is_repeated_against_the_tags_is_counted(dataset: Dataset) -> None:
    assert scored(dataset, stage_of(dataset))["a"]["candidates"][0]["contradicted"] is None
    tags = [{"label": "Rain", "score": 0.8}, {"label": "Dog", "score": 0.1}]
    commit(dataset, TagMade(), a={"tags": tags})
    barks, rain = scored(dataset, stage_of(dataset, tags="tag"))["a"]["candidates"]
    assert (barks["contradicted"], rain["contradicted"]) == (1, 0)
    commit(dataset, TagMade(), a={"tags": [{"label": "Bark", "score": 0.11}]})
    assert scored(dataset, stage_of(dataset, tags="tag"))["a"]["candidates"][0]["contradicted"] == 0


def test_classes_that_nobody_named_are_counted(dataset: Dataset) -> None:
    found = scored(dataset, stage_of(dataset))
    barks, rain = found["a"]["candidates"]  # labels are dog and wind
    assert (barks["unsupported"], rain["unsupported"]) == (0, 1)
    assert found["b"]["candidates"][0]["unsupported"] is None
    commit(dataset, TagMade(), a={"tags": [{"label": "Rain", "score": 0.8}]})
    assert [one["unsupported"] for one in scored(dataset, stage_of(dataset, tags="tag"))["a"]["candidates"]] == [0, 0]


def test_the_captions_that_others_were_written_from_support_them(dataset: Dataset) -> None:
    class Heard(CaptionMade):
        @property
        def label(self) -> str:
            return "heard"

    commit(dataset, Heard(), b={"text": "Thunder and rain.", "candidate": 0, "further": None})
    stage = dataclasses.replace(stage_of(dataset), experts=("heard",))
    (one,) = scored(dataset, stage)["b"]["candidates"]  # `Rain in the wind.`
    assert one["unsupported"] == 1
    assert stage.folder_name != stage_of(dataset).folder_name


def test_only_a_change_is_scored_again(dataset: Dataset) -> None:
    stage = stage_of(dataset)
    requests = {row["key"]: row["input"] for row in dataset.pending(stage).to_pylist()}
    outcomes = stage.open()(dataset.pending(stage).to_pylist())
    facts = dataset.facts(stage)
    facts.make_current(stage)
    facts.append(fact_row(one, input_hash=requests[one.key], attempt=1, seconds=0.1) for one in outcomes)
    assert dataset.pending(stage).num_rows == 0
    commit(dataset, CaptionMade(), b={"text": "Something else.", "candidate": 0, "further": None})
    assert dataset.pending(stage)["key"].to_pylist() == ["b"]


@pytest.mark.parametrize(
    ("sentence", "label", "named"),
    [
        ("a dog barks", "dog barking", True),
        ("a dog runs", "dog barking", False),
        ("church bells ring", "church_bell", True),
        ("someone speaks", "", False),
    ],
)
def test_mentions(sentence: str, label: str, named: bool) -> None:
    assert mentions(sentence.split(), label) is named
