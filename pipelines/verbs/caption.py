"""`foundsound caption`: a sentence for every cut clip."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypedDict

from cyclopts import Parameter

from captioning.caption import Caption
from captioning.facts.known import facts_read
from captioning.facts.tags import TAG_CAPTIONER
from captioning.labels import LABEL_CAPTIONER
from curation.dataset import Dataset
from pipelines.follow import OF_CLIPS, variant
from pipelines.runner import Job, run
from pipelines.verbs.result import StageResult
from pipelines.wiring.captioners import AS_IT_IS, ModelOptions, caption_stage, check_device_map, gpu_count, is_address
from pipelines.wiring.writers import tag_caption_stage, with_confirmed_hints

BATCHES_AT_ONCE = 8
"""Batches that a worker with a GPU gets at a time: it sorts their clips by length, and reads one while the model works
on another. Source: ours; reading the first batch is all that the model waits for. On a CPU there is one at a time:
reading beside the model gains nothing there, and progress shows sooner."""

QUESTIONS_AT_ONCE = 16
"""Questions for each one under way that a worker gets at a time for a server. Source: ours."""

WITHOUT_LISTENING = 256
"""Clips at a time where sentences are made from words. Source: ours."""


class _Asked(TypedDict):
    prompt: str | None
    called: str | None
    candidates: int


def caption(
    dataset: Path,
    /,
    *,
    captioner: str = "label",
    prompt: str | None = None,
    tags: str | None = None,
    name: str | None = None,
    revision: str | None = None,
    candidates: int = 1,
    model: Annotated[ModelOptions, Parameter(name="*")] = AS_IT_IS,
    workers: int | None = None,
    address: str | None = None,
    follow: bool = False,
) -> StageResult:
    """Caption every cut clip; several captioners stand side by side, `select` chooses.

    Args:
        dataset: Folder of the dataset.
        captioner: `label` makes a sentence from the labels, `tags` one from what `tag` heard; otherwise an
            audio-language model (Qwen2-Audio, Qwen2.5-Omni, Qwen3-Omni and its Captioner, Audio Flamingo 3, Music
            Flamingo) by name on the Hub (Qwen/Qwen2-Audio-7B-Instruct) or by folder; or the address of a server that
            speaks OpenAI's chat protocol, as http://127.0.0.1:8000/v1 (`#NAME` picks one of its models; a key is taken
            from OPENAI_API_KEY; `vllm serve Qwen/Qwen2.5-Omni-7B --port 8000` starts one).
        prompt: A .txt file, `none`, or the name of a prompt that comes with foundsound: sound-v1, labelled-sound-v1,
            vggsound-caps-v2 (labels as a hint, where there are any; v1 needs one), v2m-caps-v1 (music), structured-v1
            (a JSON object, checked); for labels sentence-v1, sentences-v1; for tags tags-v1.
        tags: Name of tags: hint only at labels that they confirm; for the captioner `tags` those that it says.
        name: Label under which the captions stand beside others; the model's name when not given.
        revision: Commit or tag on the Hub.
        candidates: Answers a clip: the most likely one, and others drawn by seed.
        model: How a model is asked, and how it is loaded where it works in this process.
        workers: Processes, one for each GPU where there are any; 0 works in this process, without Ray, as a server is
            asked when not given.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
        follow: Go on with what is cut meanwhile (of hints and the captioner `tags`: and tagged), until nothing upstream
            runs any more.
    """
    opened = Dataset(dataset)
    check_device_map(model.device_map, workers, address)
    is_model = captioner not in (LABEL_CAPTIONER, TAG_CAPTIONER) and not is_address(captioner)
    gpus = gpu_count(address) if is_model else 0
    asked: _Asked = {"prompt": prompt, "called": name, "candidates": candidates}
    if captioner == TAG_CAPTIONER:
        stage = tag_caption_stage(opened, tags=tags, **asked)
    else:
        device = "cuda" if gpus else "cpu"
        stage = caption_stage(opened, captioner, revision=revision, options=model, device=device, **asked)
        stage = with_confirmed_hints(opened, stage, tags)
    job = _job(opened, stage, model, gpus if is_model else None, workers, address)
    return StageResult.of(opened, run(opened, replace(job, follow=before(opened, stage) if follow else ())), "caption")


def before(dataset: Dataset, stage: Caption) -> tuple[str, ...]:
    """What a stage of captions follows: the way to a cut clip, and whose facts its prompt is filled with."""
    read = facts_read(dataset, stage.hints) if stage.hints else {}
    return (*OF_CLIPS, *(variant(name, folder) for folder, name in read.items()))


def processes(workers: int | None, address: str | None, gpus: int | None) -> int | None:
    """How many processes work: a server is asked from this one, where its silence can be told, unless more are wanted.

    Args:
        workers: As it was given.
        address: Of a Ray cluster.
        gpus: How many there are; None where no model works in the processes.
    """
    return 0 if gpus is None and workers is None and address is None else workers


def _job(
    dataset: Dataset, stage: Caption, model: ModelOptions, gpus: int | None, workers: int | None, address: str | None
) -> Job:
    """The work on a stage; `gpus` is None where no model works in the workers."""
    at_once = QUESTIONS_AT_ONCE if gpus is None else BATCHES_AT_ONCE if gpus else 1
    return Job(
        stage=stage,
        queue=lambda: dataset.pending(stage),
        batch_rows=at_once * model.batch if stage.captioner.listens else WITHOUT_LISTENING,
        workers=processes(workers, address, gpus) if stage.captioner.listens and model.device_map is None else 0,
        default_workers=max(1, gpus or 0),
        gpu=gpus is not None,
        address=address,
    )
