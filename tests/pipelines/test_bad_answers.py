"""What is no caption is set aside with its code and said why, from a server and from a model in process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from captioning.in_process import audio_language
from captioning.prompt import load_prompt
from curation.dataset import Dataset
from pipelines.verbs.caption import caption
from pipelines.wiring.captioners import ModelOptions
from tests.captioning.chat_stand_in import Reply, chat_server
from tests.captioning.tiny_models import qwen2_audio
from tests.curation.made import Made

GOOD = "A dog barks."
GOOD_OBJECT = '{"caption": "A dog barks.", "events": [{"sound": "bark", "count": 1, "start_s": 0, "end_s": 0.1}]}'

BAD = {
    "holds no word": " \n ... \u266a",
    "not in English but in 'de'": "Ein Hund bellt zweimal im Hof.",
    "not in English but in 'zh'": "\u4e00\u53ea\u72d7\u5728\u96e8\u4e2d\u5420\u53eb\u4e24\u6b21\u3002",
    "repeats the prompt": "Describe what can be heard in this recording in one sentence.",
    "did not end": "A dog barks. " * 3_333,
}
"""What the detail says, and the answer; the last one has 10,000 tokens."""

BAD_OBJECTS = {
    "answer holds no word": "",
    "field caption holds no words but None": '{"caption": "A dog ba',
    "no JSON object": "[1, 2]",
    "not in English but in 'de'": '{"caption": "Ein Hund bellt zweimal im Hof.", "events": []}',
    "repeats the prompt": '{"caption": "one sentence that names the sources of the sounds", "scene": null}',
}


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Six clips of 0.1 s."""
    monkeypatch.setenv("FOUNDSOUND_CACHE", str(tmp_path / "cache"))
    made = Made(tmp_path)
    for number in range(len(BAD) + 1):
        made.clip(f"video-{number}")
    return made.dataset()


def check(dataset: Dataset, bad: dict[str, str], good: str) -> None:
    """Each bad answer is one row with its code and its reason, and the good one is a caption."""
    rows = dataset.sql("SELECT code, detail, text FROM caption").to_pylist()
    assert [row["text"] for row in rows if row["code"] is None] == [good]
    details = sorted(str(row["detail"]) for row in rows if row["code"] == "BAD_CAPTION")
    assert len(details) == len(bad) == len(rows) - 1
    for why in bad:
        assert sum(why in detail for detail in details) == 1, (why, details)
    assert all(len(detail) < 400 for detail in details)


@pytest.mark.parametrize(("prompt", "bad"), [("sound-v1", BAD), ("structured-v1", BAD_OBJECTS)])
def test_from_a_server(dataset: Dataset, prompt: str, bad: dict[str, str]) -> None:
    answers = [*bad.values(), GOOD if prompt == "sound-v1" else GOOD_OBJECT]
    with chat_server(lambda question, before: Reply.saying(answers[before])) as server:
        caption(dataset.path, captioner=server.url, prompt=prompt, model=ModelOptions(batch=2), workers=0)
    check(dataset, bad, GOOD)


def test_an_answer_that_a_server_cut_off(dataset: Dataset) -> None:
    answers = [*["A dog barks and then it"] * len(BAD), GOOD]

    def answer(question: Any, before: int) -> Reply:
        return Reply.saying(answers[before], finish_reason="stop" if answers[before] == GOOD else "length")

    with chat_server(answer) as server:
        result = caption(dataset.path, captioner=server.url, workers=0)
    assert (result.tally.done, result.tally.set_aside) == (1, {"BAD_CAPTION": len(BAD)})


@pytest.mark.parametrize(("prompt", "bad"), [("sound-v1", BAD), ("structured-v1", BAD_OBJECTS)])
def test_from_a_model_in_process(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt: str, bad: dict[str, str]
) -> None:
    answers = [*bad.values(), GOOD if prompt == "sound-v1" else GOOD_OBJECT]
    model = qwen2_audio(tmp_path / "Tiny Audio")
    monkeypatch.setattr(audio_language, "load_model", lambda *given: Scripted(answers, tmp_path / "Tiny Audio"))
    caption(dataset.path, captioner=str(model), prompt=prompt, model=ModelOptions(batch=4), workers=0)
    check(dataset, bad, GOOD)


class Scripted:
    """In place of a model's weights: its tokens are those of given answers, as many as its bound allows."""

    def __init__(self, answers: Sequence[str], folder: Path) -> None:
        from transformers import AutoProcessor, GenerationConfig, Qwen2AudioConfig

        self.config = Qwen2AudioConfig.from_pretrained(folder)
        self.device = torch.device("cpu")
        self._tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
        self.generation_config = GenerationConfig(eos_token_id=self._tokenizer.eos_token_id)
        self._answers = list(answers)

    def generate(self, input_ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
        said = [self._answers.pop(0) for _ in range(len(input_ids))]
        ends, bound = [self._tokenizer.eos_token_id], self.generation_config.max_new_tokens
        tokens = [torch.tensor((self._tokenizer(text)["input_ids"] + ends)[:bound]) for text in said]
        answers = torch.nn.utils.rnn.pad_sequence(tokens, True, self._tokenizer.pad_token_id)
        return torch.cat([input_ids, answers], dim=1)


def test_the_prompts_of_this_test_are_those_that_are_echoed() -> None:
    assert BAD["repeats the prompt"] in load_prompt("sound-v1").text + "."
