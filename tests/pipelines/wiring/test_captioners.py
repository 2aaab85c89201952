"""Which captioner and prompt a command line means, before anything is loaded."""

import json
from pathlib import Path

import pytest

from captioning.caption import Caption
from captioning.decoding import Decoding
from captioning.in_process.families import CAPTIONER
from captioning.prompt import load_prompt
from curation.dataset import Dataset
from curation.errors import ArgumentError
from pipelines.runner import Job, Tally
from pipelines.verbs import caption as verb
from pipelines.verbs.caption import caption
from pipelines.wiring.captioners import STRUCTURED_TOKENS, ModelOptions, caption_stage, gpu_count
from tests.captioning.chat_stand_in import Reply, chat_server
from tests.captioning.tiny_models import qwen2_audio
from tests.captioning.tiny_omni import qwen3_omni


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset.create(tmp_path / "dataset")


def bound(stage_decoding: dict) -> int:
    return int(stage_decoding["max_new_tokens"])


def test_a_model_is_asked_about_the_sound_unless_another_prompt_is_given(dataset: Dataset, tmp_path: Path) -> None:
    folder = str(qwen2_audio(tmp_path / "Tiny-Audio"))
    plain = caption_stage(dataset, folder, options=ModelOptions(batch=3))
    assert plain.prompt == load_prompt("sound-v1") and plain.batch == 3
    assert bound(plain.captioner.decoding) == Decoding().max_new_tokens
    structured = caption_stage(dataset, folder, prompt="structured-v1")
    assert bound(structured.captioner.decoding) == STRUCTURED_TOKENS
    silent = caption_stage(dataset, folder, prompt="none")
    assert silent.prompt.text == ""
    assert len({stage.folder_name for stage in (plain, structured, silent)}) == 3
    names = set(plain.identity()["captioner"])
    assert not names & {"sees", "quantized"}, "captions that were made before these were known keep their identity"
    with pytest.raises(ArgumentError, match="is shown no picture"):
        caption_stage(dataset, folder, options=ModelOptions(picture=True))
    with pytest.raises(ArgumentError, match="--batch must be at least 1"):
        caption_stage(dataset, folder, options=ModelOptions(batch=0))


def test_a_captioner_takes_no_prompt_in_process_or_served(dataset: Dataset, tmp_path: Path) -> None:
    folder = str(qwen3_omni(tmp_path / "Tiny-Omni-Captioner"))
    with chat_server(lambda question, before: Reply.saying("a tone"), models=("Qwen/Made-Captioner",)) as server:
        for name in (folder, server.url):
            stage = caption_stage(dataset, name)
            assert stage.prompt == load_prompt("none")
            assert bound(stage.captioner.decoding) == CAPTIONER.max_new_tokens
            with pytest.raises(ArgumentError, match="leave --prompt out"):
                caption_stage(dataset, name, prompt="sound-v1")
    json.dumps(stage.identity())


def test_a_server_is_shown_the_file_and_loads_nothing(dataset: Dataset) -> None:
    with chat_server(lambda question, before: Reply.saying("a tone")) as server:
        stage = caption_stage(dataset, server.url, options=ModelOptions(picture=True, batch=5))
        assert stage.captioner.sees == "file" and stage.build().identity() == stage.captioner
        blind = caption_stage(dataset, server.url)
        assert stage.folder_name != blind.folder_name
        for options in (ModelOptions(quantize="4bit"), ModelOptions(device_map="auto")):
            with pytest.raises(ArgumentError, match="loaded its own"):
                caption_stage(dataset, server.url, options=options)


def test_every_gpu_gets_a_model_and_batches_to_sort(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def note(dataset: Dataset, job: Job) -> Tally:
        jobs.append(job)
        return Tally()

    monkeypatch.setattr(verb, "run", note)
    monkeypatch.setattr(verb, "gpu_count", lambda address: 3)
    folder = str(qwen2_audio(tmp_path / "Tiny-Audio"))
    caption(dataset.path, captioner=folder, model=ModelOptions(batch=5))
    monkeypatch.setattr(verb, "gpu_count", lambda address: 0)
    caption(dataset.path, captioner=folder, model=ModelOptions(batch=5))
    caption(dataset.path, captioner="label")
    gpus, cpu, label = jobs
    assert (gpus.default_workers, gpus.gpu, gpus.batch_rows) == (3, True, verb.BATCHES_AT_ONCE * 5)
    assert (cpu.default_workers, cpu.workers, cpu.batch_rows) == (1, None, 5)
    assert (label.workers, label.gpu) == (0, False)
    precisions = [job.stage.captioner.dtype for job in (gpus, cpu) if isinstance(job.stage, Caption)]
    assert precisions == ["bfloat16", "float32"]


def test_a_server_is_asked_from_this_process_unless_others_are_wanted(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    monkeypatch.setattr(verb, "run", lambda dataset, job: jobs.append(job) or Tally())
    server = "http://127.0.0.1:9/v1#made/Model"
    for given in ({}, {"workers": 2}, {"address": "127.0.0.1:1"}):
        caption(dataset.path, captioner=server, **given)
    assert [job.workers for job in jobs] == [0, 2, None]


def test_all_gpus_for_one_model_are_given_to_this_process(dataset: Dataset) -> None:
    for elsewhere in ({"workers": 2}, {"address": "127.0.0.1:1"}):
        with pytest.raises(ArgumentError, match="leave --workers and --address out"):
            caption(dataset.path, captioner="made/Model", model=ModelOptions(device_map="auto"), **elsewhere)
    assert gpu_count(None) >= 0
