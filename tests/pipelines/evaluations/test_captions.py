"""`evaluate captions`: what is scored, what is left out and said so, and what the metrics of others lack."""

import json
import sys
from pathlib import Path

import pytest

from captioning.metrics.agreement import agreement, leave_one_out
from captioning.metrics.words import words
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.selections.selection import select
from pipelines.evaluations.aac import METRICS, outside_scores
from pipelines.evaluations.captions import PEOPLE, captions
from tests.curation.made import MadeMeasure, write_facts
from tests.pipelines.captioned import ANSWERS, captioned
from tests.pipelines.captioned import PEOPLE as SAID
from tests.retrieval_index.tones import clip_of, tone_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return captioned(tmp_path_factory.mktemp("judged") / "dataset")


def test_every_captioner_is_judged_by_all_captions_of_people(dataset: Dataset) -> None:
    found = captions(dataset.path)
    assert found.clips == 5
    one, other = sorted(found.judged, key=lambda judged: judged.name)
    assert (one.name, other.name) == ("label", "listener")
    both = sorted(("dog", "rain"), key=clip_of)
    expected = agreement(
        [words(ANSWERS[name][0]) for name in both], [[words(text) for text in SAID[name]] for name in both]
    )
    assert other.scores == expected and expected.clips == 2
    assert one.scores is not None and one.scores.clips == 1
    assert found.people == leave_one_out([[words(text) for text in said] for said in SAID.values()])


def test_what_is_left_out_is_counted(dataset: Dataset) -> None:
    (listener,) = captions(dataset.path, captions=["listener"]).judged
    assert listener.left_out == {"BAD_CAPTION": 1, "OTHER_SOUND": 1, "PENDING": 1}
    assert listener.unreferenced == 1, "nobody said anything of the wind"
    assert listener.scores is not None
    assert listener.scores.clips + sum(listener.left_out.values()) == captions(dataset.path).clips


def test_the_table_and_json_say_the_same(dataset: Dataset) -> None:
    found = captions(dataset.path)
    text, said = str(found), found.as_dict()
    for name in ("listener", "label"):
        scores = said["captions"][name]
        row = next(line for line in text.splitlines() if line.strip().startswith(f"{name} "))
        cells = [f"{scores[key]:.4f}" for key in ("cider_d", "rouge_l", "bleu_1", "bleu_2", "bleu_3", "bleu_4")]
        assert row.split() == [name, str(scores["clips"]), *cells]
    assert PEOPLE in said and said[PEOPLE]["clips"] == 2
    assert "2 of 5 clips with captions by people; left out: 1 BAD_CAPTION, 1 OTHER_SOUND, 1 PENDING" in text
    assert "protocol: references: all captions by people" in text
    assert json.loads(json.dumps(said)) == said


def test_only_the_clips_of_a_selection(dataset: Dataset) -> None:
    sounds = dataset.sql("SELECT key, audio_sha256 FROM cut").to_pylist()
    measured = {"loudness_lufs": -20.0, "duration_s": 1.0}
    write_facts(dataset, MadeMeasure(), [(row["key"], "done", measured, row["audio_sha256"]) for row in sounds])
    select(dataset, name="dogs", where=f"clips.clip_id = '{clip_of('dog')}'")
    found = captions(dataset.path, captions=["listener"], selection="dogs")
    assert found.clips == 1 and found.judged[0].unreferenced == 0
    assert found.judged[0].scores is not None
    assert found.judged[0].scores.rouge_l == pytest.approx(1.0)


def test_what_cannot_be_judged_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"no captions 'nobody' \(there are: label, listener\)"):
        captions(dataset.path, captions=["nobody"])
    bare = tone_dataset(tmp_path / "bare", {})
    with pytest.raises(ArgumentError, match="foundsound caption"):
        captions(bare.path)
    with pytest.raises(ArgumentError, match="no program"):
        outside_scores(["a"], [["b"]], tmp_path / "python")


def test_metrics_of_others_are_never_made_up(dataset: Dataset) -> None:
    """This environment has no aac-metrics: a line says so, and how to get it."""
    text = str(captions(dataset.path))
    assert "SPIDEr-FL and FENSE: not measured: aac-metrics is not here; python -m venv aac" in text
    said = captions(dataset.path).as_dict()["captions"]["listener"]
    assert said["spider_fl"] is None and said["fense"] is None and set(said["missing"]) == set(METRICS)


def stand_in(folder: Path, body: str) -> Path:
    """A Python that has a package aac_metrics of these lines."""
    (folder / "aac_metrics").mkdir(parents=True)
    (folder / "aac_metrics" / "__init__.py").write_text(body)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def test_a_package_that_is_there_is_asked_and_may_not_use_a_network(tmp_path: Path) -> None:
    body = """
import socket
def evaluate(candidates, references, metrics):
    assert candidates == ["a dog"] and references == [["a dog", "un chien é"]]
    print("something else")
    if metrics == ["fense"]:
        socket.create_connection(("127.0.0.1", 9))
    return {"spider_fl": 0.25, "spider": 0.5}, {}
"""
    spider, fense = outside_scores(["a dog"], [["a dog", "un chien é"]], stand_in(tmp_path, body))
    assert (spider.name, spider.value, spider.missing) == ("spider_fl", 0.25, "")
    assert (fense.name, fense.value) == ("fense", None)
    assert "nothing is fetched here" in fense.missing
