"""The verb `captions`: what is shown, which is marked as chosen, and what is written."""

import csv
import json
from datetime import datetime
from pathlib import Path

import pytest

from captioning.cache import CAPTION_CACHE, AnswerCache
from captioning.prompt import load_prompt
from curation.cut import Cut
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.facts import fact_row
from curation.keys import video_key
from curation.stage import Outcome
from pipelines.verbs.captions import captions
from pipelines.verbs.forget import forget
from tests.captioning.made_facts import cut_and_tagged, dataset_of, said
from tests.pipelines.captioned import ANSWERS, LISTENER, captioned


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Clip a of video v with two sentences, b with that of its video, c of which nothing was said."""
    made = Dataset.create(tmp_path / "dataset")
    videos = [{"video_key": video_key("youtube", key), "platform": "youtube", "video_id": key} for key in "vw"]
    made.append("videos", [{**video, "segment_ms": 0} for video in videos])
    spans = {"a": "v", "b": "v", "c": "w"}
    keys = {clip: video_key("youtube", video) for clip, video in spans.items()}
    clips = [{"clip_id": clip, "video_key": key, "origin": "segment"} for clip, key in keys.items()]
    made.append("clips", [{**clip, "start_ms": 1500, "duration_ms": 10_000} for clip in clips])
    rows = [
        {"key": "a", "grain": "clip", "line": 1, "labels": ["dog"], "captions": ["A dog, barking.", '"Woof"']},
        {"key": keys["b"], "grain": "video", "line": 2, "labels": [], "captions": ["In a yard."]},
        {"key": "c", "grain": "clip", "line": 3, "labels": ["owl"], "captions": []},
    ]
    made.append("annotations", [{**row, "list": "one"} for row in rows])
    made.add_source({"list": "one", "rows": 3, "rejected": 0})
    return made.path


def test_every_sentence_of_a_clip_is_shown_and_the_chosen_ones_are_marked(folder: Path) -> None:
    shown = str(captions(folder))
    assert shown.count("  * human:one") == 4
    assert "a  youtube v 1.5-11.5 s  [dog]" in shown
    assert "c  youtube" not in shown


def test_a_terminal_gets_no_control_characters(folder: Path) -> None:
    row = {
        "key": "c",
        "grain": "clip",
        "list": "one",
        "line": 4,
        "captions": ["An \x1b[2J owl."],
        "labels": ["o\x07wl"],
    }
    Dataset(folder).append("annotations", [row])
    shown = str(captions(folder, clip="c"))
    assert "[o wl, owl]" in shown and "An [2J owl." in shown


def test_where_nothing_was_said_that_is_said(tmp_path: Path) -> None:
    assert "foundsound caption" in str(captions(Dataset.create(tmp_path / "empty").path))


def test_one_clip_and_a_limit(folder: Path) -> None:
    assert {row["clip_id"] for row in captions(folder, clip="b").rows} == {"b"}
    assert len({row["clip_id"] for row in captions(folder, limit=1).rows}) == 1
    with pytest.raises(ArgumentError, match="'c'"):
        captions(folder, clip="c")
    with pytest.raises(ArgumentError, match="at least 1"):
        captions(folder, limit=0)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_what_is_written_reads_back(folder: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"captions{suffix}"
    result = captions(folder, out=file)
    with file.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text)) if suffix == ".csv" else [json.loads(line) for line in text]
    assert [row["text"] for row in rows] == [row["text"] for row in result.rows]
    assert {row["text"] for row in rows} == {"A dog, barking.", '"Woof"', "In a yard."}
    labels = rows[0]["labels"]
    assert (json.loads(labels) if isinstance(labels, str) else labels) == ["dog"]


def test_a_file_says_where_every_sentence_is_from(tmp_path: Path) -> None:
    dataset = captioned(tmp_path / "dataset")
    captions(dataset.path, out=tmp_path / "captions.jsonl")
    captions(dataset.path, out=tmp_path / "captions.csv")
    rows = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    texts = [text for first, further in ANSWERS.values() for text in (first, *further)]
    heard = [row for row in rows if row["captions"] == "listener"]
    assert sorted(row["text"] for row in heard) == sorted(texts)
    made = {name: heard[0][name] for name in ("model", "revision", "weights_sha256", "prompt_sha256", "heard_s")}
    assert made == {
        "model": LISTENER.model,
        "revision": LISTENER.revision,
        "weights_sha256": LISTENER.weights_sha256,
        "prompt_sha256": load_prompt("sound-v1").sha256,
        "heard_s": 1.0,
    }
    draws = {row["text"]: row["candidate"] for row in heard}
    assert [draws[text] for text in (ANSWERS["dog"][0], *ANSWERS["dog"][1])] == [0, 1, 2]
    assert all(datetime.fromisoformat(row["finished_at"]).tzinfo for row in heard)
    assert {row["model"] for row in rows if row["source"].startswith("human:")} == {None}
    with (tmp_path / "captions.csv").open(encoding="utf-8", newline="") as text:
        written = list(csv.DictReader(text))
    assert [row["weights_sha256"] or None for row in written] == [row["weights_sha256"] for row in rows]
    assert json.dumps(captions(dataset.path, out=tmp_path / "captions.jsonl").as_dict())


def test_a_structure_stands_only_beside_its_own_sentence(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "dataset", {"dog": []}, {})
    cut_and_tagged(dataset, {"dog": {}})
    whole, drawn = '{"caption": "A dog barks."}', [{"candidate": 1, "text": "A dog."}]
    said(dataset, "listener", {"dog": "A dog barks."}, structure=whole, further=drawn)
    captions(dataset.path, out=tmp_path / "captions.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["text"]: row["structure"] for row in rows} == {"A dog barks.": whole, "A dog.": None}


def test_another_kind_of_file_and_a_rule_without_scores_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"\.csv or \.jsonl"):
        captions(folder, out=tmp_path / "captions.txt")
    with pytest.raises(ArgumentError, match="foundsound score"):
        captions(folder, rule="clean")


def test_a_takedown_reaches_the_cache_of_answers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSOUND_CACHE", str(tmp_path / "cache"))
    cache = AnswerCache(tmp_path / "cache" / CAPTION_CACHE)
    cache.keep({("sound-of-a", "q"): "A dog.", ("sound-of-c", "q"): "An owl."})
    dataset = Dataset(folder)
    stage = Cut(media=dataset.media)
    facts = dataset.facts(stage)
    facts.make_current(stage)
    made = [Outcome(key=key, values={"audio_sha256": f"sound-of-{key}"}) for key in "ac"]
    facts.append(fact_row(outcome, input_hash="o", attempt=1, seconds=0.1) for outcome in made)
    touched = [one.kind for one in forget(folder, "v", dry_run=True).forgotten.touched]
    assert "cache" in touched
    assert cache.count(["sound-of-a", "sound-of-c"]) == 2
    forget(folder, "v")
    assert cache.find([("sound-of-a", "q"), ("sound-of-c", "q")]) == {("sound-of-c", "q"): "An owl."}
