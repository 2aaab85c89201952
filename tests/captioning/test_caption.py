"""The stage over a made dataset: what it asks for, what it records, what is asked for again."""

import dataclasses
import json
import pickle
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from captioning.candidates import candidates_sql, checked_rule, choose
from captioning.caption import Caption
from captioning.captioner import Captioner, CaptionerIdentity, Sound
from captioning.decoding import Decoding, Drawing
from captioning.in_process.audio_language import builder, identity_of
from captioning.in_process.pretrained import Pretrained
from captioning.labels import LabelCaptioner
from captioning.prompt import Prompt, load_prompt
from captioning.score import SCORES
from curation.dataset import Dataset
from curation.errors import ArgumentError, ClipError, Code
from curation.facts import fact_row
from curation.schema import column, table
from curation.stage import Outcome, Stage
from tests.captioning.tiny_models import qwen2_audio

LISTENER = CaptionerIdentity(name="level", version=1, model="made/Level", sample_rate_hz=16_000, window_s=1.0)


class LevelCaptioner:
    """Says the length and the median of what it was given."""

    def identity(self) -> CaptionerIdentity:
        return LISTENER

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        answers: list[str | ClipError] = []
        for sound in sounds:
            assert sound.wave_T is not None
            answers.append(f"{len(sound.wave_T)} samples of {np.median(sound.wave_T):.2f}")
        return answers


class CutMade(Stage):
    """Stands for the stage `cut`."""

    NAME, VERSION, GRAIN = "cut", 1, "clip"
    RESULTS = table("made", column("audio_sha256", pa.string(), "sound"))

    def requests(self) -> str:
        return "SELECT clip_id AS key, clip_id AS input FROM clips"


class ScoreMade(Stage):
    """Stands for the stage `score` of the captions `level`."""

    NAME, VERSION, GRAIN = "score", 1, "clip"
    RESULTS = table("made", column("candidates", pa.list_(SCORES), "scores"))

    @property
    def label(self) -> str:
        return "level"

    def requests(self) -> str:
        return "SELECT clip_id AS key, clip_id AS input FROM clips"


def commit(dataset: Dataset, stage: Stage, outcomes: Sequence[Outcome], inputs: dict[str, str]) -> None:
    facts = dataset.facts(stage)
    facts.make_current(stage)
    facts.append(fact_row(o, input_hash=inputs[o.key], attempt=1, seconds=0.1) for o in outcomes)


def cut(dataset: Dataset, folder: Path, **levels: float | None) -> None:
    """Sounds of 2 s at 48 kHz with a level; a clip with None was set aside."""
    outcomes = []
    for key, level in levels.items():
        if level is None:
            outcomes.append(Outcome(key=key, error=ClipError(Code.NO_AUDIO, "made")))
            continue
        file = folder / f"{key}.flac"
        soundfile.write(file, np.full((96_000, 2), level), 48_000)
        outcomes.append(Outcome(key=key, values={"audio_sha256": dataset.media.put(file, ".flac")}))
    commit(dataset, CutMade(), outcomes, {key: f"{key}{level}{datetime.now(UTC)}" for key, level in levels.items()})


def annotate(dataset: Dataset, name: str, *rows: tuple[str, str, list[str], list[str]]) -> None:
    dataset.append(
        "annotations",
        [
            {"key": key, "grain": grain, "list": name, "line": line, "labels": labels, "captions": captions}
            for line, (key, grain, labels, captions) in enumerate(rows, 1)
        ],
    )
    dataset.add_source({"list": name, "rows": len(rows), "rejected": 0})


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Clips a, b of video v, c of w; d of w could not be cut."""
    made = Dataset.create(tmp_path / "dataset")
    videos = {"a": "v", "b": "v", "c": "w", "d": "w"}
    made.append("videos", [{"video_key": key, "platform": "youtube", "video_id": key} for key in ("v", "w")])
    made.append("clips", [{"clip_id": clip, "video_key": video, "origin": "segment"} for clip, video in videos.items()])
    annotate(made, "one", ("a", "clip", ["rain", "dog"], []), ("v", "video", ["rain"], ["It pours."]))
    annotate(made, "two", ("a", "clip", ["wind"], ["A dog barks.", "Rain."]), ("d", "clip", ["owl"], []))
    cut(made, tmp_path, a=0.25, b=0.5, c=0.75, d=None)
    return made


def label_stage(dataset: Dataset, **options: str) -> Caption:
    return Caption(
        captioner=LabelCaptioner().identity(),
        prompt=load_prompt("sentence-v1"),
        build=LabelCaptioner,
        media=dataset.media,
        **options,
    )


DRAWING = dataclasses.replace(LISTENER, decoding={"drawing": Drawing(draws=3).as_dict()})


class DrawingCaptioner:
    """Answers with the draw; the most likely answer about the loudest sound is none, and draws 2 and 3 are alike."""

    asked: ClassVar[list[tuple[str, int]]] = []

    def identity(self) -> CaptionerIdentity:
        return DRAWING

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        self.asked.extend((sound.key, draw) for sound in sounds)
        return [
            ClipError(Code.BAD_CAPTION, "made")
            if draw == 0 and sound.wave_T is not None and np.median(sound.wave_T) > 0.7
            else f"answer {min(draw, 2)}"
            for sound in sounds
        ]


def drawing_stage(dataset: Dataset, cache: Path | None) -> Caption:
    prompt = Prompt(name="made-v1", text="What?")
    return Caption(captioner=DRAWING, prompt=prompt, build=DrawingCaptioner, media=dataset.media, cache=cache)


def level_stage(dataset: Dataset, text: str = "How loud?", build: type[Captioner] = LevelCaptioner) -> Caption:
    prompt = Prompt(name="loud-v1", text=text)
    return Caption(captioner=LISTENER, prompt=prompt, build=build, media=dataset.media)


def run(dataset: Dataset, stage: Caption) -> dict[str, str]:
    """Work on all that is pending as one batch; returns key -> text or code."""
    rows = dataset.pending(stage).to_pylist()
    outcomes = pickle.loads(pickle.dumps(stage)).open()(rows)
    assert [o.key for o in outcomes] == [row["key"] for row in rows]
    commit(dataset, stage, outcomes, {row["key"]: row["input"] for row in rows})
    return {o.key: o.error.code.value if o.error else o.values["text"] for o in outcomes}


def test_labels_of_the_clip_and_its_video_become_one_sentence(dataset: Dataset) -> None:
    assert run(dataset, label_stage(dataset)) == {
        "a": "The sound of dog, rain and wind.",
        "b": "The sound of rain.",
        "c": "NO_LABEL",
    }
    assert run(dataset, label_stage(dataset)) == {}


def test_the_sound_is_heard_at_the_captioners_rate_within_its_window(dataset: Dataset) -> None:
    stage = level_stage(dataset)
    assert run(dataset, stage) == {
        "a": "16000 samples of 0.25",
        "b": "16000 samples of 0.50",
        "c": "16000 samples of 0.75",
    }
    (row,) = dataset.sql("SELECT * FROM caption WHERE key = 'a'").to_pylist()
    (sha256,) = dataset.sql("SELECT audio_sha256 FROM cut WHERE key = 'a'")["audio_sha256"].to_pylist()
    assert row["label"] == "level" and row["model"] == "made/Level" and row["state"] == "done"
    assert row["heard_s"] == 1.0 and row["candidate"] == 0 and row["decoding"] == "{}"
    assert row["prompt_sha256"] == stage.prompt.sha256 and row["audio_sha256"] == sha256


def test_draws_stand_beside_the_most_likely_answer(dataset: Dataset) -> None:
    run(dataset, drawing_stage(dataset, None))
    rows = {row["key"]: row for row in dataset.sql("SELECT * FROM caption").to_pylist()}
    assert (rows["a"]["candidate"], rows["a"]["text"]) == (0, "answer 0")
    assert rows["a"]["further"] == [{"candidate": n, "text": f"answer {n}"} for n in (1, 2)]
    assert (rows["c"]["candidate"], rows["c"]["text"]) == (1, "answer 1")
    assert rows["c"]["further"] == [{"candidate": 2, "text": "answer 2"}]
    said = dataset.sql(candidates_sql(dataset) + " ORDER BY ALL").to_pylist()
    assert [row["text"] for row in said if row["clip_id"] == "c"] == ["answer 1", "answer 2"]


def test_what_was_paid_for_is_not_asked_again_in_another_dataset(dataset: Dataset, tmp_path: Path) -> None:
    cache = tmp_path / "answers.sqlite"
    DrawingCaptioner.asked.clear()
    first = run(dataset, drawing_stage(dataset, cache))
    assert len(DrawingCaptioner.asked) == 3 * 4
    other = Dataset.create(tmp_path / "other")
    other.append("videos", [{"video_key": "x", "platform": "youtube", "video_id": "x"}])
    other.append("clips", [{"clip_id": "e", "video_key": "x", "origin": "segment"}])
    annotate(other, "any", ("e", "clip", [], []))
    cut(other, tmp_path, e=0.25)
    DrawingCaptioner.asked.clear()
    assert run(other, drawing_stage(other, cache)) == {"e": first["a"]}
    assert DrawingCaptioner.asked == []


def test_what_went_wrong_is_not_kept_in_the_cache(dataset: Dataset, tmp_path: Path) -> None:
    cache = tmp_path / "answers.sqlite"
    stage = drawing_stage(dataset, cache)
    rows = dataset.pending(stage).to_pylist()
    stage.open()(rows)
    DrawingCaptioner.asked.clear()
    stage.open()(rows)
    assert DrawingCaptioner.asked == [("c", 0)]


def test_only_what_is_read_is_asked_for_again(dataset: Dataset, tmp_path: Path) -> None:
    labels, plain, hinted = label_stage(dataset), level_stage(dataset), level_stage(dataset, "Is it {labels}?")
    for stage in (labels, plain, hinted):
        run(dataset, stage)
    annotate(dataset, "three", ("b", "clip", ["hail"], []), ("c", "clip", [], ["Nothing new."]))

    def pending() -> list[list[str]]:
        return [dataset.pending(stage)["key"].to_pylist() for stage in (labels, plain, hinted)]

    assert pending() == [["b"], [], ["b"]]
    cut(dataset, tmp_path, c=0.1)
    assert pending() == [["b"], ["c"], ["b", "c"]]


def test_a_sound_without_samples_is_set_aside_and_the_batch_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 48_000)
    sha256 = dataset.media.put(tmp_path / "empty.wav", ".flac")
    rows = dataset.pending(level_stage(dataset)).to_pylist()
    rows[1] |= {"audio_sha256": sha256}
    outcomes = level_stage(dataset).open()(rows)
    assert [o.error.code.value if o.error else "done" for o in outcomes] == ["done", "EMPTY", "done"]


def test_the_identity_is_what_decides_the_sentences(dataset: Dataset) -> None:
    stage = label_stage(dataset)
    named = label_stage(dataset, called="Mine & yours")
    assert (stage.label, named.label) == ("label", "mine-yours")
    assert stage.identity() == named.identity()
    assert stage.identity()["prompt"] == load_prompt("sentence-v1").sha256
    assert level_stage(dataset).identity() != level_stage(dataset, "Loud?").identity()
    json.dumps(stage.identity())


def test_a_captioner_that_is_not_the_one_named_stops_the_run(dataset: Dataset) -> None:
    with pytest.raises(ArgumentError, match="run the same command again"):
        level_stage(dataset, build=LabelCaptioner).open()
    with pytest.raises(ArgumentError, match="hears nothing"):
        dataclasses.replace(label_stage(dataset), prompt=load_prompt("sound-v1"))


def test_a_model_from_a_folder_captions_the_dataset(dataset: Dataset, tmp_path: Path) -> None:
    source = Pretrained.find(qwen2_audio(tmp_path / "Tiny Audio"))
    decoding = Decoding(max_new_tokens=64)
    stage = Caption(
        captioner=identity_of(source, dtype="float32", decoding=decoding),
        prompt=load_prompt("labelled-sound-v1"),
        build=builder(source, device="cpu", dtype="float32", decoding=decoding),
        media=dataset.media,
    )
    told = run(dataset, stage)
    assert told["c"] == "NO_LABEL" and told["a"] and told["b"]
    (row,) = dataset.sql("SELECT * FROM caption WHERE key = 'a'").to_pylist()
    assert (row["label"], row["model"], row["heard_s"]) == ("tiny-audio", "Tiny Audio", 2.0)
    assert row["weights_sha256"] == source.weights_sha256
    assert json.loads(row["decoding"]) == {"max_new_tokens": 64, "strategy": "greedy"}


def chosen(dataset: Dataset) -> dict[str, list[tuple[str, str]]]:
    rows = dataset.sql(f"SELECT * FROM ({choose(candidates_sql(dataset))}) ORDER BY clip_id, source, text").to_pylist()
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        found.setdefault(row["clip_id"], []).append((row["source"], row["text"]))
    return found


def test_people_are_chosen_before_models_and_models_before_labels(dataset: Dataset) -> None:
    people = {
        "a": [("human:one", "It pours."), ("human:two", "A dog barks."), ("human:two", "Rain.")],
        "b": [("human:one", "It pours.")],
    }
    assert chosen(dataset) == people
    annotate(dataset, "three", ("c", "clip", ["hail"], []))
    run(dataset, label_stage(dataset))
    assert chosen(dataset) == {**people, "c": [("label", "The sound of hail.")]}
    run(dataset, level_stage(dataset))
    assert chosen(dataset) == {**people, "c": [("model:level", "16000 samples of 0.75")]}
    said = dataset.sql(f"SELECT source FROM ({candidates_sql(dataset)}) WHERE clip_id = 'c' ORDER BY 1")
    assert said["source"].to_pylist() == ["label", "model:level"]


def test_a_caption_of_a_sound_that_was_cut_anew_is_no_candidate(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset, level_stage(dataset))
    assert "c" in chosen(dataset)
    cut(dataset, tmp_path, c=0.1)
    assert "c" not in chosen(dataset)
    assert run(dataset, level_stage(dataset)) == {"c": "16000 samples of 0.10"}
    assert chosen(dataset)["c"] == [("model:level", "16000 samples of 0.10")]


class ObjectCaptioner:
    """Says an object about each sound, cut off for the loudest, and the prompt itself for the softest."""

    def identity(self) -> CaptionerIdentity:
        return LISTENER

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        whole = '{"caption": "A tone.", "events": [{"sound": "a tone", "start_s": 0, "end_s": 1}]}'
        levels = [float(np.median(sound.wave_T)) for sound in sounds if sound.wave_T is not None]
        return [whole[:12] if level > 0.7 else prompt.text if level < 0.3 else f"```{whole}```" for level in levels]


def test_a_structured_answer_is_checked_and_kept_whole(dataset: Dataset) -> None:
    prompt = load_prompt("structured-v1")
    stage = Caption(captioner=LISTENER, prompt=prompt, build=ObjectCaptioner, media=dataset.media)
    assert run(dataset, stage) == {"a": "BAD_CAPTION", "b": "A tone.", "c": "BAD_CAPTION"}
    rows = {row["key"]: row for row in dataset.sql("SELECT * FROM caption").to_pylist()}
    assert json.loads(rows["b"]["structure"])["events"][0]["end_s"] == 1.0
    assert "repeats the prompt" in rows["a"]["detail"]
    assert "caption" in rows["c"]["detail"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("dog " * 20, None),
        ("dog " * 21, Code.BAD_CAPTION),
        ("d" * 320, None),
        ("d" * 321, Code.BAD_CAPTION),
    ],
)
def test_an_answer_that_is_longer_than_its_tokens_can_be_is_none(dataset: Dataset, answer: str, code: Code) -> None:
    listener = dataclasses.replace(LISTENER, decoding=Decoding(max_new_tokens=20).as_dict())
    prompt = Prompt(name="made-v1", text="Was ist zu h\u00f6ren?")
    stage = Caption(captioner=listener, prompt=prompt, build=LevelCaptioner, media=dataset.media)
    checked = stage._checked(answer.strip(), None)
    assert (checked.code if isinstance(checked, ClipError) else None) is code


def test_a_rule_chooses_by_scores_and_spares_people(dataset: Dataset) -> None:
    run(dataset, drawing_stage(dataset, None))
    with pytest.raises(ArgumentError, match="foundsound score"):
        checked_rule(dataset, "clean")
    scores = {field.name: None for field in SCORES}
    good = {**scores, "words": 5, "repetition": 0.0, "hedges": 0, "quoted_words": 0, "english_margin": 2.0}
    of_c = [{**good, "candidate": 1, "clap": 0.1, "hedges": 1}, {**good, "candidate": 2, "clap": 0.4}]
    made = [Outcome(key="c", values={"candidates": of_c})]
    commit(dataset, ScoreMade(), made, {"c": "c"})
    said = candidates_sql(dataset)

    def texts(rule: str | None) -> dict[str, list[str]]:
        rows = dataset.sql(f"SELECT * FROM ({choose(said, rule)}) ORDER BY ALL").to_pylist()
        return {clip: [row["text"] for row in rows if row["clip_id"] == clip] for clip in "abc"}

    assert texts(None)["c"] == ["answer 1", "answer 2"]
    assert texts(checked_rule(dataset, "clean")) == {**texts(None), "c": ["answer 2"]}
    assert texts(checked_rule(dataset, "clap > 0.3"))["c"] == ["answer 2"]
    stolen = dataset.path / "stolen"
    for wrong in (
        "loudness > 3",
        f"true)); COPY (SELECT 1) TO '{stolen}'; SELECT * FROM (SELECT 1 WHERE (true",
    ):
        with pytest.raises(ArgumentError, match="no condition over text, source"):
            checked_rule(dataset, wrong)
    assert not stolen.exists()
