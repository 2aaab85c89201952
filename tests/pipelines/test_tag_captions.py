"""The captioner `tags` and hints that tags confirm, through the verbs: with tags that are made, and by real ears."""

import csv
import shutil
from pathlib import Path

import pytest

from captioning.caption import Caption
from captioning.captioner import CaptionerIdentity
from captioning.facts.hints import confirmed_hints
from captioning.labels import LabelCaptioner
from captioning.prompt import load_prompt
from curation.dataset import Dataset
from curation.errors import ArgumentError
from pipelines.verbs.caption import caption
from pipelines.verbs.fetch import fetch
from pipelines.verbs.manifest import manifest
from pipelines.verbs.tag import tag
from pipelines.wiring.writers import with_confirmed_hints
from tests.captioning.made_facts import cut_and_tagged, dataset_of


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A dog, a dog that is not heard, and a clip of which the tags say nothing."""
    made = dataset_of(tmp_path / "dataset", {"dog": ["dog barking"], "wrong": ["dog barking"], "quiet": []}, {})
    cut_and_tagged(made, {"dog": {"Dog": 0.8, "Bark": 0.7}, "wrong": {"Rain": 0.9}, "quiet": {"Rain": 0.3}})
    return made


def sentences(dataset: Dataset, label: str) -> dict[str, str | None]:
    rows = dataset.sql("SELECT key, coalesce(text, code) AS said FROM caption WHERE label = ?", [label]).to_pylist()
    return {row["key"]: row["said"] for row in rows}


def test_tags_become_sentences_and_weak_ones_none(dataset: Dataset) -> None:
    counts = caption(dataset.path, captioner="tags").stages["caption"]
    assert (counts.requested, counts.done, dict(counts.set_aside)) == (3, 2, {"NO_LABEL": 1})
    found = sentences(dataset, "tags")
    assert "a dog barking" in str(found["dog"]).lower() and "rain" in str(found["wrong"]).lower()
    assert caption(dataset.path, captioner="tags").tally.done == 0


def test_labels_that_tags_do_not_confirm_are_not_said(dataset: Dataset) -> None:
    caption(dataset.path, captioner="label", tags="audioset", name="confirmed")
    assert sentences(dataset, "confirmed") == {
        "dog": "The sound of dog barking.",
        "wrong": "NO_LABEL",
        "quiet": "NO_LABEL",
    }
    caption(dataset.path, captioner="label", name="all")
    assert sentences(dataset, "all")["wrong"] == "The sound of dog barking."


def test_what_does_not_fit_is_named(dataset: Dataset) -> None:
    with pytest.raises(ArgumentError, match="no tags 'mn10'"):
        caption(dataset.path, captioner="tags", tags="mn10")
    with pytest.raises(ArgumentError, match="one sentence a clip, not 2"):
        caption(dataset.path, captioner="tags", candidates=2)
    with pytest.raises(ArgumentError, match=r"augment-v1 has \{facts\}"):
        caption(dataset.path, captioner="tags", prompt="augment-v1")
    listener = CaptionerIdentity(name="made", version=1, model="m", sample_rate_hz=16_000, window_s=1.0)
    asked = load_prompt("sound-v1")
    stage = Caption(captioner=listener, prompt=asked, build=LabelCaptioner, media=dataset.media)
    with pytest.raises(ArgumentError, match="says which labels are hinted at"):
        with_confirmed_hints(dataset, stage, "audioset")


TRUE = {"dog": "Dog", "rain": "Rain", "sheep": "Sheep", "clapping": "Clapping", "siren": "Siren", "pig": "Pig"}


@pytest.mark.slow
def test_real_sounds_say_what_they_are(real_data: Path, tmp_path: Path) -> None:
    """Recordings of six kinds, each listed under its own label and under that of the next kind, which is not heard."""
    sounds = real_data / "media" / "sounds" / "esc50"
    with (real_data / "media" / "sounds" / "esc50.csv").open(encoding="utf-8") as text:
        rows = [row for row in csv.DictReader(text) if row["category"] in TRUE]
    kinds = sorted(TRUE)
    wrong = {kind: kinds[(place + 1) % len(kinds)] for place, kind in enumerate(kinds)}
    with (tmp_path / "list.csv").open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(("path", "labels"))
        for row in rows:
            shutil.copy(sounds / row["filename"], tmp_path / row["filename"])
            writer.writerow((row["filename"], f'["{row["category"]}", "{wrong[row["category"]]}"]'))
    folder = tmp_path / "dataset"
    manifest("table", tmp_path / "list.csv", out=folder)
    fetch(folder, workers=0)
    tag(folder, tagger=str(real_data / "weights" / "efficientat_mn04"), workers=0)
    caption(folder, captioner="tags")
    dataset = Dataset(folder)
    hinted = dataset.sql(f"SELECT key, labels FROM ({confirmed_hints(dataset, 'audioset').sql})").to_pylist()
    path_of = "SELECT clip_id AS key, path FROM clips JOIN videos USING (video_key)"
    kind_of = {row["filename"]: row["category"] for row in rows}
    truth = {row["key"]: kind_of[row["path"]] for row in dataset.sql(path_of).to_pylist()}
    right = sum(truth[row["key"]] in (row["labels"] or ()) for row in hinted)
    leaked = sum(wrong[truth[row["key"]]] in (row["labels"] or ()) for row in hinted)
    assert len(hinted) == len(rows) >= 20
    assert right >= 0.8 * len(rows) and leaked <= 0.1 * len(rows)
    said = dataset.sql("SELECT code, text FROM caption").to_pylist()
    assert {row["code"] for row in said} <= {None, "NO_LABEL"}
    assert sum(row["code"] is None for row in said) >= 0.6 * len(rows)
