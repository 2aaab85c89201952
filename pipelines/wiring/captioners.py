"""Captioners, and the scores of what they said."""

import json
from collections.abc import Callable
from functools import partial

from captioning.cache import CAPTION_CACHE
from captioning.candidates import further_sql
from captioning.caption import Caption
from captioning.captioner import Captioner, CaptionerIdentity
from captioning.decoding import Decoding, Drawing
from captioning.labels import LABEL_CAPTIONER, LABEL_PROMPT, LabelCaptioner
from captioning.prompt import load_prompt
from captioning.score import Score
from curation.annotated import ANNOTATED
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.facts import IDENTITY_FILE
from curation.keys import canonical
from curation.storage import cache_folder
from pipelines.wiring.embedders import load_clap

STRUCTURED_TOKENS = 768
"""Longest JSON answer, tokens. Source: ours; ten events take about 400."""


def caption_stage(
    dataset: Dataset,
    captioner: str,
    *,
    prompt: str | None = None,
    revision: str | None = None,
    called: str | None = None,
    candidates: int = 1,
    questions: int = 16,
) -> Caption:
    """The stage `caption`: sentences from labels, a model by name or folder, or a server.

    Args:
        dataset: Whose clips.
        captioner: `label`, the address of a server, a folder, or a name on the Hub.
        prompt: Name or file; None takes the captioner's own.
        revision: Commit or tag on the Hub.
        called: Label of the captions.
        candidates: Answers a clip; above 1 the others are drawn.
        questions: Questions that a server gets at once.

    Raises:
        ArgumentError: The model is of a kind that is not known here, or cannot be found.
    """
    if captioner == LABEL_CAPTIONER:
        if candidates != 1:
            raise ArgumentError(f"captioner {LABEL_CAPTIONER!r} makes one sentence a clip, not {candidates}")
        asked, identity = load_prompt(prompt or LABEL_PROMPT), LabelCaptioner().identity()
        return Caption(captioner=identity, prompt=asked, build=LabelCaptioner, media=dataset.media, called=called)
    asked = load_prompt(prompt or "sound-v1")
    decoding = Decoding(
        max_new_tokens=STRUCTURED_TOKENS if asked.is_structured else Decoding().max_new_tokens,
        drawing=Drawing(draws=candidates - 1) if candidates != 1 else None,
    )
    identity, build = _speaker(captioner, revision, decoding, questions)
    return Caption(
        captioner=identity,
        prompt=asked,
        build=build,
        media=dataset.media,
        cache=cache_folder() / CAPTION_CACHE,
        called=called,
    )


def _speaker(
    name: str, revision: str | None, decoding: Decoding, questions: int
) -> tuple[CaptionerIdentity, Callable[[], Captioner]]:
    """Who answers, and how it is made in a worker: a model in process, or a server."""
    if name.startswith(("http://", "https://")):
        from captioning.server.chat_server import ChatCaptioner, ChatServer

        server = ChatServer.at(name, concurrency=questions, decoding=decoding)
        return server.identity(), partial(ChatCaptioner, server)
    from captioning.in_process import audio_language
    from captioning.in_process.pretrained import Pretrained

    source = Pretrained.find(name, revision=revision)
    device = audio_language.default_device()
    dtype = audio_language.default_dtype(device)
    build = audio_language.builder(source, device=device, dtype=dtype, decoding=decoding)
    return audio_language.identity_of(source, dtype=dtype, decoding=decoding), build


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
    )
