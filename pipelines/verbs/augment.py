"""`foundsound augment`: captions that a model of texts writes from all that is known of a clip."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc
from cyclopts import Parameter

from captioning.augment.style import styled
from captioning.caption import Caption
from captioning.facts.known import spoken_of
from captioning.prompt import load_prompt
from curation.dataset import Dataset
from curation.stage import Stage
from pipelines.runner import Job, run
from pipelines.verbs.caption import BATCHES_AT_ONCE, QUESTIONS_AT_ONCE, before, processes
from pipelines.verbs.result import StageResult
from pipelines.wiring.captioners import check_device_map, gpu_count, is_address
from pipelines.wiring.writers import AS_IT_IS, MODEL, WriterOptions, augment_stage

PROMPT = "augment-v1"
"""What a writer is asked when no other prompt is given."""


def augment(
    dataset: Path,
    /,
    *,
    writer: str,
    style: Literal["plain", "vivid", "prompt"] = "plain",
    length: Literal["short", "medium", "long"] = "medium",
    captions: Annotated[str | None, Parameter(name="--captions")] = None,
    tags: Annotated[str | None, Parameter(name="--tags")] = None,
    prompt: str = PROMPT,
    name: str | None = None,
    model: Annotated[WriterOptions, Parameter(name="*")] = AS_IT_IS,
    workers: int | None = None,
    address: str | None = None,
    follow: bool = False,
) -> StageResult:
    """Write captions from labels, tags and the captions that are there, in a style and length; they stand beside those.

    Args:
        dataset: Folder of the dataset.
        writer: A causal language model with a chat template, by name on the Hub (Qwen/Qwen3-4B-Instruct-2507) or by
            folder; or the address of a server that speaks OpenAI's chat protocol, as http://127.0.0.1:8000/v1 (`#NAME`
            picks one of its models; a key is taken from OPENAI_API_KEY).
        style: `plain` as people describe sounds, `vivid` with texture and space, `prompt` as one asks a generator.
        length: At most 10 words, 10 to 20, or 25 to 50.
        captions: Names of captions that are read, separated by commas; all that no writer made when not given.
        tags: Name of tags that are read; labels then count only where tags confirm them.
        prompt: A .txt file with {facts}, and {style} and {length} if it wants them, or the name of one that comes with
            foundsound.
        name: Label under which the captions stand; the writer's name, style and length when not given.
        model: How the writer is asked, and how it is loaded where it works in this process.
        workers: Processes, one for each GPU where there are any; 0 works in this process, without Ray, as a server is
            asked when not given.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
        follow: Go on with what is captioned and tagged meanwhile, until nothing upstream runs any more; a clip is
            written about once, when all that are read have spoken of it. Start them before.
    """
    opened = Dataset(dataset)
    check_device_map(model.device_map, workers, address)
    is_model = not is_address(writer)
    gpus = gpu_count(address) if is_model else 0
    stage = augment_stage(
        opened,
        writer,
        styled(load_prompt(prompt), style, length),
        captions=None if captions is None else [part.strip() for part in captions.split(",") if part.strip()],
        tags=tags,
        called=name or f"{MODEL}-{style}-{length}",
        options=model,
        device="cuda" if gpus else "cpu",
    )
    job = _job(opened, stage, model, gpus if is_model else None, workers, address)
    if follow:
        job = replace(job, queue=lambda: _spoken_of(opened, stage), follow=before(opened, stage))
    result = StageResult.of(opened, run(opened, job), "caption")
    if follow:
        _tell_of_rest(opened, stage)
    return result


def _tell_of_rest(dataset: Dataset, stage: Caption) -> None:
    """Says on standard error how many clips were not written about, if any."""
    if left := dataset.pending(stage).num_rows:
        said = "clips wait for captions or tags that no process works on; run those commands, then this again"
        print(f"{left:,} {said}", file=sys.stderr)


def _spoken_of(dataset: Dataset, stage: Caption) -> pa.Table:
    """What is pending and of which all have spoken that are read."""
    hints = stage.hints
    if hints is None:
        raise ValueError("a writer has facts to read")
    known = spoken_of(dataset, hints)  # before facts are read, so that these hold all that was said by then
    rows = dataset.pending(stage)
    return rows.filter(pc.is_in(rows["key"], known))


def _job(
    dataset: Dataset, stage: Stage, model: WriterOptions, gpus: int | None, workers: int | None, address: str | None
) -> Job:
    """The work on a stage; `gpus` is None where a server writes."""
    return Job(
        stage=stage,
        queue=lambda: dataset.pending(stage),
        batch_rows=(QUESTIONS_AT_ONCE if gpus is None else BATCHES_AT_ONCE) * model.batch,
        workers=processes(workers, address, gpus) if model.device_map is None else 0,
        default_workers=max(1, gpus or 0),
        gpu=gpus is not None,
        address=address,
    )
