"""Captioners, and the scores of what they said."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from captioning.cache import CAPTION_CACHE
from captioning.candidates import further_sql
from captioning.caption import Caption
from captioning.captioner import Captioner, CaptionerIdentity
from captioning.decoding import Decoding, Drawing
from captioning.facts.known import experts_of
from captioning.in_process.families import CAPTIONER, Family, family_of, is_captioner
from captioning.in_process.loading import DeviceMap, Quantization
from captioning.labels import LABEL_CAPTIONER, LABEL_PROMPT, LabelCaptioner
from captioning.prompt import NO_PROMPT, Prompt, load_prompt
from captioning.score import Score
from curation.annotated import ANNOTATED
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.facts import IDENTITY_FILE
from curation.keys import canonical
from curation.storage import cache_folder
from pipelines.engine import start_ray
from pipelines.wiring.embedders import load_clap

STRUCTURED_TOKENS = 768
"""Longest JSON answer, tokens. Source: ours; ten events take about 400."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """How a model is asked, and how it is loaded where it works in this process.

    Args:
        batch: Clips that go through the model at once; of a server, questions under way at once.
        picture: Show the picture of each clip beside its sound, to a Qwen2.5-Omni, a Qwen3-Omni or a server; a clip
            without one is set aside.
        quantize: Keep the weights in 8bit or 4bit (bitsandbytes), for a model that is larger than the GPU; it answers a
            little differently then.
        device_map: auto spreads a model that is larger than one GPU over all of this machine (accelerate); otherwise
            every GPU gets the whole model.
    """

    batch: int = 8
    picture: bool = False
    quantize: Quantization | None = None
    device_map: DeviceMap | None = None


AS_IT_IS = ModelOptions()
"""As a model is asked where nothing else is said."""


def is_address(captioner: str) -> bool:
    """Whether a captioner is a server."""
    return captioner.startswith(("http://", "https://"))


def gpu_count(address: str | None) -> int:
    """GPUs of this machine, or of a Ray cluster."""
    if address is None:
        import torch

        return torch.cuda.device_count()
    start_ray(address)
    import ray

    return int(ray.cluster_resources().get("GPU", 0))


def check_device_map(device_map: DeviceMap | None, workers: int | None, address: str | None) -> None:
    """Refuse several processes where one takes all GPUs of this machine.

    Raises:
        ArgumentError: Both are asked for.
    """
    if device_map is not None and (workers or address is not None):
        raise ArgumentError(
            "--device-map gives all GPUs of this machine to one process; leave --workers and --address out"
        )


def caption_stage(
    dataset: Dataset,
    captioner: str,
    *,
    prompt: str | None = None,
    revision: str | None = None,
    called: str | None = None,
    candidates: int = 1,
    options: ModelOptions = AS_IT_IS,
    device: str | None = None,
) -> Caption:
    """The stage `caption`: sentences from labels, a model by name or folder, or a server.

    Args:
        dataset: Whose clips.
        captioner: `label`, the address of a server, a folder, or a name on the Hub.
        prompt: Name or file; None takes the captioner's own.
        revision: Commit or tag on the Hub.
        called: Label of the captions.
        candidates: Answers a clip; above 1 the others are drawn.
        options: How a model is asked and loaded.
        device: Where a model of this process computes, as `cuda`; None takes a CUDA device if this machine has one.

    Raises:
        ArgumentError: The model is of a kind that is not known here, cannot be found, or does not take what is asked.
    """
    if captioner == LABEL_CAPTIONER:
        if candidates != 1:
            raise ArgumentError(f"captioner {LABEL_CAPTIONER!r} makes one sentence a clip, not {candidates}")
        asked, identity = load_prompt(prompt or LABEL_PROMPT), LabelCaptioner().identity()
        return Caption(captioner=identity, prompt=asked, build=LabelCaptioner, media=dataset.media, called=called)
    drawing = Drawing(draws=candidates - 1) if candidates != 1 else None
    make = _served if is_address(captioner) else partial(_loaded, revision=revision, device=device)
    asked, identity, build = make(captioner, prompt, drawing, options)
    return Caption(
        captioner=identity,
        prompt=asked,
        build=build,
        media=dataset.media,
        cache=cache_folder() / CAPTION_CACHE,
        batch=options.batch,
        called=called,
    )


Speaker = tuple[Prompt, CaptionerIdentity, Callable[[], Captioner]]
"""What is asked, who answers, and how it is made in a worker."""


def _served(address: str, prompt: str | None, drawing: Drawing | None, options: ModelOptions) -> Speaker:
    from captioning.server.chat_server import ChatCaptioner, ChatServer

    if options.quantize is not None or options.device_map is not None:
        raise ArgumentError(
            f"--quantize and --device-map load a model in this process; {address} loaded its own: leave them out"
        )
    server = ChatServer.at(address, concurrency=options.batch, sees=options.picture)
    asked, decoding = _asked(server.model, CAPTIONER if is_captioner(server.model) else None, prompt, drawing)
    server = dataclasses.replace(server, decoding=decoding)
    return asked, server.identity(), partial(ChatCaptioner, server)


def _loaded(
    name: str,
    prompt: str | None,
    drawing: Drawing | None,
    options: ModelOptions,
    *,
    revision: str | None,
    device: str | None,
) -> Speaker:
    from captioning.in_process import audio_language
    from captioning.in_process.pretrained import Pretrained

    source = Pretrained.find(name, revision=revision)
    asked, decoding = _asked(name, family_of(source.model_type(), source.name_or_path), prompt, drawing)
    device = device or audio_language.default_device()
    dtype = audio_language.default_dtype(device)
    build = audio_language.builder(
        source,
        device=device,
        dtype=dtype,
        decoding=decoding,
        quantize=options.quantize,
        device_map=options.device_map,
        sees=options.picture,
    )
    identity = audio_language.identity_of(
        source, dtype=dtype, decoding=decoding, quantize=options.quantize, sees=options.picture
    )
    return asked, identity, build


def _asked(name: str, family: Family | None, prompt: str | None, drawing: Drawing | None) -> tuple[Prompt, Decoding]:
    """The prompt, and how long an answer to it may be.

    Raises:
        ArgumentError: The model takes no prompt, and one is given.
    """
    takes_prompt = family is None or family.takes_prompt
    asked = load_prompt(prompt or ("sound-v1" if takes_prompt else NO_PROMPT))
    if not takes_prompt and asked.name != NO_PROMPT:
        raise ArgumentError(
            f"{name} describes a sound whatever it is asked, and was taught no prompt: leave --prompt out, or take the "
            "Instruct model of its kind"
        )
    bound = family.max_new_tokens if family is not None else Decoding().max_new_tokens
    return asked, Decoding(max_new_tokens=STRUCTURED_TOKENS if asked.is_structured else bound, drawing=drawing)


def score_stage(
    dataset: Dataset,
    captions: str,
    embedder: str,
    *,
    vectors: str = "clap",
    tags: str | None = None,
    revision: str | None = None,
) -> Score:
    """The stage `score` over the captions of one name.

    Raises:
        ArgumentError: Captions, vectors or tags of that name are not there, or the vectors are another embedder's.
    """
    for stage, name, verb in (("caption", captions, "caption"), ("embed", vectors, "embed"), ("tag", tags, "tag")):
        known = dataset.current_facts(stage)
        if name is not None and name not in known:
            raise ArgumentError(
                f"{dataset.path} has no {name!r} of stage {stage!r} (there are: {', '.join(sorted(known)) or 'none'}); "
                f"run `foundsound {verb}` first"
            )
    identity = load_clap(embedder, revision).identity()
    made_by = json.loads((dataset.current_facts("embed")[vectors] / IDENTITY_FILE).read_text(encoding="utf-8"))
    if made_by["embedder"] != json.loads(canonical(identity)):
        raise ArgumentError(
            f"the vectors {vectors!r} were not made by {embedder}; give the embedder that made them, or embed again"
        )
    return Score(
        captions=captions,
        embedder=identity,
        annotated=ANNOTATED,
        build=partial(load_clap, embedder, revision),
        vectors=vectors,
        blobs=dataset.root("vectors"),
        further=further_sql(dataset),
        tags=tags,
        experts=experts_of(dataset, captions),
    )
