"""What is used of all that was said: kinds of sources in their order, and rules over scores, older ones too."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from captioning.candidates import RULES, candidates_sql, checked_rule, choose
from captioning.score import SCORES
from curation.dataset import Dataset
from curation.schema import column, table
from curation.stage import Stage
from tests.captioning.made_facts import commit, cut_and_tagged, dataset_of, said

OLDER = pa.struct([field for field in SCORES if field.name not in ("told_words", "refusals", "contradicted")])


class ScoreMade(Stage):
    """Stands for the stage `score` of the captions `heard`."""

    NAME, VERSION, GRAIN = "score", 1, "clip"

    def __init__(self, kind: pa.DataType = SCORES) -> None:
        self.RESULTS = table("made", column("candidates", pa.list_(kind), "scores"))

    @property
    def label(self) -> str:
        return "heard"

    def identity(self) -> dict[str, Any]:
        return {"stage": "score", "columns": str(self.RESULTS)}

    def requests(self) -> str:
        return "SELECT key, audio_sha256 AS input FROM cut"


GOOD = {
    "candidate": 0,
    "clap": 0.5,
    "hedges": 0,
    "repetition": 0.0,
    "quoted_words": 0,
    "english_margin": 1.0,
    "words": 5,
}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A clip of which a model speaks, with a sentence from labels and one from tags, and one with only these two."""
    made = dataset_of(tmp_path / "dataset", {"a": ["rain"], "b": ["rain"]}, {})
    cut_and_tagged(made, {"a": {}, "b": {}})
    said(made, "heard", {"a": "Rain falls."})
    said(made, "label", {"a": "Rain.", "b": "Rain."}, model=None, made_from="label")
    said(made, "tags", {"a": "Water.", "b": "Water."}, model=None, made_from="tags")
    return made


def chosen(dataset: Dataset, rule: str | None = None) -> list[tuple[str, str]]:
    asked = choose(candidates_sql(dataset), checked_rule(dataset, rule) if rule else None)
    return [(row["clip_id"], row["source"]) for row in dataset.sql(f"{asked} ORDER BY ALL").to_pylist()]


def test_a_model_wins_over_labels_and_labels_over_tags(dataset: Dataset) -> None:
    assert chosen(dataset) == [("a", "model:heard"), ("b", "label")]
    said_of = dataset.sql(f"SELECT source FROM ({candidates_sql(dataset)}) WHERE clip_id = 'b' ORDER BY 1")
    assert said_of["source"].to_pylist() == ["label", "tags"]


@pytest.mark.parametrize(
    ("scores", "clean"),
    [
        ({}, True),
        ({"told_words": 0}, True),
        ({"told_words": 1}, False),
        ({"hedges": 1}, False),
        ({"english_margin": -1.4}, False),
        ({"words": 2}, False),
        ({"words": 61}, False),
    ],
)
def test_clean_sentences(dataset: Dataset, scores: dict[str, Any], clean: bool) -> None:
    commit(dataset, ScoreMade(), {"a": {"candidates": [{**GOOD, **scores}]}})
    assert (("a", "model:heard") in chosen(dataset, "clean")) is clean


def test_a_sentence_with_a_broken_character_is_not_clean(dataset: Dataset) -> None:
    said(dataset, "heard", {"a": "Rain f\ufffdlls on a roof.", "b": "Rain falls on a roof."})
    commit(dataset, ScoreMade(), {clip: {"candidates": [GOOD]} for clip in "ab"})
    assert ("b", "model:heard") in chosen(dataset, "clean")
    assert ("a", "model:heard") not in chosen(dataset, "clean")


def test_a_rule_may_name_the_captions_and_the_draw_without_a_score(dataset: Dataset) -> None:
    commit(dataset, ScoreMade(), {})
    assert chosen(dataset, "captions = 'tags' AND candidate = 0") == [("a", "tags"), ("b", "tags")]
    assert chosen(dataset, "candidate = 1") == []


def test_a_confirmed_sentence_repeats_no_label_that_tags_deny(dataset: Dataset) -> None:
    for count, is_chosen in ((0, True), (1, False), (None, False)):
        commit(dataset, ScoreMade(), {"a": {"candidates": [{**GOOD, "contradicted": count}]}})
        assert (("a", "model:heard") in chosen(dataset, "confirmed")) is is_chosen


def test_scores_of_an_older_dataset_do(dataset: Dataset) -> None:
    commit(dataset, ScoreMade(OLDER), {"a": {"candidates": [GOOD]}})
    assert chosen(dataset, "clean") == [("a", "model:heard")]
    assert chosen(dataset, "told_words = 0") == []
    assert set(RULES) == {"clean", "confirmed"}
