"""The verb `augment`: texts from facts by a server, what is kept of them, and what is asked once."""

import json
import pickle
from contextlib import ExitStack
from pathlib import Path

import pytest

from captioning.augment.style import styled
from captioning.cache import CAPTION_CACHE, AnswerCache
from captioning.candidates import candidates_sql, choose
from captioning.prompt import load_prompt
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.lock import writer_lock
from pipelines import follow
from pipelines.main import main
from pipelines.verbs.augment import augment
from pipelines.verbs.caption import before
from pipelines.wiring.captioners import caption_stage
from pipelines.wiring.writers import WriterOptions, augment_stage, tag_caption_stage
from tests.captioning.augment.text_server import text_server
from tests.captioning.augment.tiny_writer import qwen3
from tests.captioning.made_facts import cut_and_tagged, dataset_of, said


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A dog and rain of which a model spoke, and a clip of which nothing is known."""
    monkeypatch.setenv("FOUNDSOUND_CACHE", str(tmp_path / "cache"))
    made = dataset_of(tmp_path / "dataset", {"dog": ["dog barking"], "rain": [], "bare": []}, {})
    cut_and_tagged(made, {"dog": {"Bark": 0.9}, "rain": {"Rain": 0.9}, "bare": {}})
    said(made, "listener", {"dog": "A dog barks.", "rain": "Rain falls."})
    return made


def last_fact(question: str, before: int = 0) -> str:
    return f"About {question.splitlines()[-1].removeprefix('- ')}"


def test_texts_stand_beside_what_they_were_made_from(dataset: Dataset) -> None:
    with text_server(last_fact) as server:
        result = augment(dataset.path, writer=server.url, style="vivid", length="short", tags="audioset", workers=0)
        questions = [body["messages"][0]["content"] for body in server.asked]
    counts = result.stages["caption:writer-vivid-short"]
    assert (counts.requested, counts.done, dict(counts.set_aside)) == (3, 2, {"NO_LABEL": 1})
    assert all("vividly" in question and "at most 10 words" in question for question in questions)
    rows = dataset.sql("SELECT * FROM caption WHERE label = 'writer-vivid-short' AND code IS NULL ORDER BY key")
    dog, rain = rows.to_pylist()
    assert (dog["text"], rain["text"]) == (
        "About Described by listener: A dog barks.",
        "About Described by listener: Rain falls.",
    )
    assert (dog["made_from"], dog["model"], dog["audio_sha256"], dog["heard_s"]) == ("facts", "made/Writer", None, None)
    assert json.loads(dog["sources"])["facts"] == [
        dataset.current_facts("caption")["listener"].name,
        dataset.current_facts("tag")["audioset"].name,
    ]
    assert len(dog["prompt_sha256"]) == 64
    sources = {row["source"] for row in dataset.sql(choose(candidates_sql(dataset))).to_pylist()}
    assert sources == {"model:listener", "model:writer-vivid-short"}


def test_again_nothing_is_asked_and_the_cache_serves_another_dataset(dataset: Dataset, tmp_path: Path) -> None:
    with text_server(last_fact) as server:
        augment(dataset.path, writer=server.url, workers=0)
        asked = len(server.asked)
        augment(dataset.path, writer=server.url, workers=0)
        assert len(server.asked) == asked == 2
        other = dataset_of(tmp_path / "other", {"dog": ["dog barking"]}, {})
        cut_and_tagged(other, {"dog": {}})
        said(other, "listener", {"dog": "A dog barks."})
        augment(other.path, writer=server.url, workers=0)
        assert len(server.asked) == 2
        augment(other.path, writer=server.url, length="long", workers=0)
        assert len(server.asked) == 3
    cache = AnswerCache(tmp_path / "cache" / CAPTION_CACHE)
    assert cache.count(["sound-dog"]) == 2  # by the sound that it is about, so that a takedown finds it
    assert cache.forget(["sound-dog"]) == 2


def test_further_texts_are_drawn_by_seed(dataset: Dataset) -> None:
    with text_server(lambda question, before: f"Text {before}.") as server:
        augment(dataset.path, writer=server.url, model=WriterOptions(candidates=3, batch=1), workers=0)
        seeds = sorted(body["seed"] for body in server.asked)
    assert seeds == [0, 0, 1, 1, 2, 2]
    rows = dataset.sql("SELECT further FROM caption WHERE made_from = 'facts' AND code IS NULL").to_pylist()
    assert [len(row["further"]) for row in rows] == [2, 2]


def test_an_answer_that_repeats_the_prompt_is_set_aside(dataset: Dataset) -> None:
    with text_server(lambda question, _: question.splitlines()[0]) as server:
        result = augment(dataset.path, writer=server.url, workers=0)
    assert result.tally.set_aside["BAD_CAPTION"] == 2


def test_an_answer_in_another_language_is_set_aside(dataset: Dataset) -> None:
    german = "Ein Hund bellt zweimal auf einem Hof."
    with text_server(lambda question, _: german if "dog" in question else "Rain falls.") as server:
        result = augment(dataset.path, writer=server.url, workers=0)
    assert (result.tally.done, dict(result.tally.set_aside)) == (1, {"BAD_CAPTION": 1, "NO_LABEL": 1})


def test_a_model_in_this_process_writes_too(dataset: Dataset, tmp_path: Path) -> None:
    folder = qwen3(tmp_path / "Tiny Writer")
    result = augment(dataset.path, writer=str(folder), name="tiny", model=WriterOptions(batch=2), workers=0)
    counts = result.stages["caption:tiny"]
    assert (counts.requested, counts.pending) == (3, 0)
    assert (
        augment(dataset.path, writer=str(folder), name="tiny", model=WriterOptions(batch=1), workers=0).tally.done == 0
    )


def test_a_stage_reaches_a_worker_whole(dataset: Dataset, tmp_path: Path) -> None:
    asked = styled(load_prompt("augment-v1"), "plain", "medium")
    for writer in (str(qwen3(tmp_path / "tiny")), "http://127.0.0.1:9/v1#made/Writer"):
        stage = augment_stage(dataset, writer, asked)
        sent = pickle.loads(pickle.dumps(stage))
        assert sent.identity() == stage.identity() and sent.build().identity() == stage.captioner


def test_the_command_line_takes_what_the_function_takes(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    with text_server(last_fact) as server:
        words = ["augment", str(dataset.path), "--writer", server.url, "--style", "prompt", "--captions", "listener"]
        assert main([*words, "--candidates", "2", "--batch", "1", "--workers", "0", "--json"]) == 0
        assert len(server.asked) == 4
        assert main([*words, "--quantize", "4bit"]) == 2
    shown = json.loads(capsys.readouterr().out)
    assert shown["caption:writer-prompt-medium"]["done"] == 2


def test_a_clip_is_written_about_once_when_all_have_spoken_of_it(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(follow, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(follow, "LOOKING_SHARE", 1e9)
    said(dataset, "slow", {"dog": "A dog in a yard."})
    folder = dataset.current_facts("caption")["slow"]
    at_work = ExitStack()
    at_work.enter_context(writer_lock(dataset.folder("locks") / f"{follow.variant('caption', folder)}.lock", "slow"))

    def answer(question: str, before: int) -> str:
        if before == 0:
            assert "Described by slow: A dog in a yard." in question
            said(dataset, "slow", {"rain": "Rain on a roof."})
            at_work.close()
        return last_fact(question)

    with at_work, text_server(answer) as server:
        result = augment(dataset.path, writer=server.url, workers=0, follow=True)
        questions = [body["messages"][0]["content"] for body in server.asked]
    assert result.tally.done == len(questions) == 2
    assert sum("Described by slow" in question for question in questions) == 2, "rain waited for what slow says of it"
    assert "1 clips wait for captions or tags that no process works on" in capsys.readouterr().err


def test_hints_follow_the_tagger_too(dataset: Dataset) -> None:
    stage = tag_caption_stage(dataset)
    folder = dataset.current_facts("tag")["audioset"]
    assert before(dataset, stage) == (*follow.OF_CLIPS, f"tag-{folder.name}")
    assert before(dataset, caption_stage(dataset, "label")) == follow.OF_CLIPS


def test_what_cannot_be_read_or_asked_is_named(dataset: Dataset) -> None:
    with pytest.raises(ArgumentError, match="no captions 'nobody'"), text_server(last_fact) as server:
        augment(dataset.path, writer=server.url, captions="nobody")
    with pytest.raises(ArgumentError, match=r"has no \{facts\}"):
        augment(dataset.path, writer="http://127.0.0.1:9/v1#x", prompt="sound-v1")
