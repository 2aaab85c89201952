"""`foundsound caption`: a sentence for every cut clip."""

from pathlib import Path

from curation.dataset import Dataset
from pipelines.follow import OF_CLIPS
from pipelines.runner import Job, run
from pipelines.verbs.result import StageResult
from pipelines.wiring.captioners import caption_stage


def caption(
    dataset: Path,
    /,
    *,
    captioner: str = "label",
    prompt: str | None = None,
    name: str | None = None,
    revision: str | None = None,
    candidates: int = 1,
    batch: int = 8,
    workers: int | None = None,
    address: str | None = None,
    follow: bool = False,
) -> StageResult:
    """Caption every cut clip; several captioners stand side by side, `select` chooses.

    Args:
        dataset: Folder of the dataset.
        captioner: `label` makes a sentence from the labels; otherwise an audio-language model of the Qwen2-Audio
            or Flamingo classes, by name on the Hub (Qwen/Qwen2-Audio-7B-Instruct) or by folder; or the address of a
            server that speaks OpenAI's chat protocol, as http://127.0.0.1:8000/v1 (`#NAME` picks one of its models; a
            key is taken from OPENAI_API_KEY).
        prompt: A .txt file, or the name of a prompt that comes with foundsound: sound-v1, labelled-sound-v1,
            vggsound-caps-v1, v2m-caps-v1, structured-v1 (a JSON object, checked); for labels sentence-v1, sentences-v1.
        name: Label under which the captions stand beside others; the model's name when not given.
        revision: Commit or tag on the Hub.
        candidates: Answers a clip: the most likely one, and others drawn by seed.
        batch: Clips that go through the model at once; of a server, questions under way at once.
        workers: Processes; 0 works in this process, without Ray.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
        follow: Go on with what is cut meanwhile, until nothing upstream runs any more.
    """
    opened = Dataset(dataset)
    stage = caption_stage(
        opened,
        captioner,
        prompt=prompt,
        revision=revision,
        called=name,
        candidates=candidates,
        questions=batch,
    )
    listens, is_server = stage.captioner.listens, stage.captioner.name == "chat-server"
    tally = run(
        opened,
        Job(
            stage=stage,
            queue=lambda: opened.pending(stage),
            batch_rows=16 * batch if is_server else batch if listens else 256,
            workers=workers if listens else 0,
            default_workers=1,
            gpu=True,
            address=address,
            follow=OF_CLIPS if follow else (),
        ),
    )
    return StageResult.of(opened, tally, "caption")
