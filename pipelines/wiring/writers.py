"""Captions from what is known of clips: tags by templates, hints that tags confirm, texts by a model of texts."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from captioning.cache import CAPTION_CACHE
from captioning.caption import Caption
from captioning.captioner import Captioner, CaptionerIdentity
from captioning.decoding import Decoding, Drawing
from captioning.facts.hints import confirmed_hints, tag_hints
from captioning.facts.known import known_hints
from captioning.facts.tags import TAG_CAPTIONER, TAG_PROMPT, TagCaptioner
from captioning.in_process.loading import DeviceMap, Quantization
from captioning.prompt import Prompt, load_prompt
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.storage import cache_folder
from pipelines.wiring.captioners import is_address

DEFAULT_TAGS = "audioset"
"""The name that `tag` gives."""


def tag_caption_stage(
    dataset: Dataset,
    *,
    tags: str | None = None,
    prompt: str | None = None,
    called: str | None = None,
    candidates: int = 1,
) -> Caption:
    """The stage `caption` with sentences made from tags.

    Args:
        dataset: Whose clips.
        tags: Name of the tags; None takes `DEFAULT_TAGS`.
        prompt: Name or file of the templates; None takes `TAG_PROMPT`.
        called: Label of the captions.
        candidates: Must be 1.

    Raises:
        ArgumentError: There are no such tags, or several sentences a clip are asked for.
    """
    if candidates != 1:
        raise ArgumentError(f"captioner {TAG_CAPTIONER!r} makes one sentence a clip, not {candidates}")
    return Caption(
        captioner=TagCaptioner().identity(),
        prompt=load_prompt(prompt or TAG_PROMPT),
        build=TagCaptioner,
        media=dataset.media,
        hints=tag_hints(dataset, tags or DEFAULT_TAGS),
        called=called,
    )


def with_confirmed_hints(dataset: Dataset, stage: Caption, tags: str | None) -> Caption:
    """The stage with a hint of only those labels that tags confirm; the stage as it is for None.

    Raises:
        ArgumentError: There are no such tags, or the prompt has no place for labels.
    """
    if tags is None:
        return stage
    if not stage.prompt.wants_labels:
        raise ArgumentError(
            f"--tags {tags} says which labels are hinted at, and prompt {stage.prompt.name} has no {{labels}}: give "
            "one that has, such as vggsound-caps-v2, or leave --tags out"
        )
    return dataclasses.replace(stage, hints=confirmed_hints(dataset, tags))


@dataclass(frozen=True, kw_only=True, slots=True)
class WriterOptions:
    """How a writer is asked, and how it is loaded where it works in this process.

    Args:
        revision: Commit or tag on the Hub.
        candidates: Texts a clip: the most likely one, and others drawn by seed.
        batch: Clips that go through the model at once; of a server, questions under way at once.
        quantize: Keep the weights in 8bit or 4bit (bitsandbytes), for a model that is larger than the GPU.
        device_map: auto spreads a model that is larger than one GPU over all of this machine (accelerate).
    """

    revision: str | None = None
    candidates: int = 1
    batch: int = 8
    quantize: Quantization | None = None
    device_map: DeviceMap | None = None

    @property
    def decoding(self) -> Decoding:
        """How answers are found."""
        return Decoding(drawing=Drawing(draws=self.candidates - 1) if self.candidates != 1 else None)


MODEL = "{model}"

AS_IT_IS = WriterOptions()
"""As a writer is asked where nothing else is said."""


def augment_stage(
    dataset: Dataset,
    writer: str,
    prompt: Prompt,
    *,
    captions: Sequence[str] | None = None,
    tags: str | None = None,
    called: str | None = None,
    options: WriterOptions = AS_IT_IS,
    device: str | None = None,
) -> Caption:
    """The stage `caption` with texts that a model writes from facts.

    Args:
        dataset: Whose clips.
        writer: A folder, a name on the Hub, or the address of a server.
        prompt: What is asked, as `captioning.augment.style.styled` gives it.
        captions: Names of the captions that are read; None takes all that were not made from others.
        tags: Name of the tags that are read; None reads none.
        called: Label of the captions, in which `MODEL` stands for the writer's name; None takes that name.
        options: How the writer is asked and loaded.
        device: Where a model of this process computes, as `cuda`; None takes a CUDA device if this machine has one.

    Raises:
        ArgumentError: There are no such captions or tags, or the model cannot be found.
    """
    identity, build = (_served if is_address(writer) else partial(_loaded, device=device))(writer, options)
    return Caption(
        captioner=identity,
        prompt=prompt,
        build=build,
        media=dataset.media,
        cache=cache_folder() / CAPTION_CACHE,
        batch=options.batch,
        hints=known_hints(dataset, captions=captions, tags=tags),
        called=called and called.replace(MODEL, str(identity.model).rpartition("/")[2]),
    )


Writer = tuple[CaptionerIdentity, Callable[[], Captioner]]
"""Who writes, and how it is made in a worker."""


def _served(address: str, options: WriterOptions) -> Writer:
    from captioning.augment import chat_writer
    from captioning.server.chat_server import ChatServer

    if (options.revision, options.quantize, options.device_map) != (None, None, None):
        raise ArgumentError(
            f"--revision, --quantize and --device-map load a model in this process; {address} loaded its own: leave "
            "them out"
        )
    server = ChatServer.at(address, concurrency=options.batch, decoding=options.decoding)
    return chat_writer.identity_of(server), partial(chat_writer.ChatWriter, server)


def _loaded(name: str, options: WriterOptions, *, device: str | None) -> Writer:
    from captioning.augment import text_model
    from captioning.in_process.audio_language import default_device, default_dtype
    from captioning.in_process.loading import Placement
    from captioning.in_process.pretrained import Pretrained

    source = Pretrained.find(name, revision=options.revision)
    device = device or default_device()
    dtype = default_dtype(device)
    placement = Placement(device=device, dtype=dtype, quantize=options.quantize, device_map=options.device_map)
    identity = text_model.identity_of(source, dtype=dtype, decoding=options.decoding, quantize=options.quantize)
    return identity, text_model.builder(source, placement, decoding=options.decoding)
