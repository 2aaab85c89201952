"""What recipes take from a dataset: sounds and texts of a generation of shards, a fitted codec, and batches."""

import hashlib
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile
import soxr
import torch
from torch import Tensor

from curation.dataset import Dataset
from curation.encode import Encode, with_channels
from curation.encode_frames import EncodeFrames
from curation.encode_text import EncodeText, pending_texts
from curation.errors import ArgumentError
from curation.latents import Extras, Lengths, Members
from curation.names import plain_name
from curation.samples import Samples, Source
from curation.seen import is_seen
from curation.shards.batches import BatchPlan
from curation.shards.generation import INDEX_FILE
from curation.shards.reader import Shards
from curation.storage import Root
from curation.takedowns.watch import TakedownWatch
from models.audiox.encoder_source import EncoderSource
from models.codecs.closed_form import MdctPca, MdctPcaConfig
from models.training.world import World
from pipelines.runner import Job, run_in_turn
from pipelines.wiring.codecs import encode_stage, load_numpy_codec
from pipelines.wiring.frame_encoders import encode_frames_stage
from pipelines.wiring.language_of_audio import LOA_FACTOR, encode_sound_stage
from pipelines.wiring.text_encoders import TEXTS_AT_ONCE, encode_text_stage
from retrieval_index.neighbours import read_neighbours_manifest

FITTING_CLIPS = 256
"""Sounds that a closed-form codec is fitted on. Source: ours; components change by less than a percent beyond."""


def whole_frames_s(seconds: float, latent_rate_hz: float) -> float:
    """Length of the whole latent frames in so many seconds, s.

    Raises:
        ArgumentError: There is none.
    """
    frames = math.floor(round(seconds * latent_rate_hz, 6))
    if frames < 1:
        raise ArgumentError(f"--seconds {seconds:g} is less than a latent frame of {1 / latent_rate_hz:g} s")
    return frames / latent_rate_hz


def open_shards(dataset: Dataset, generation: str) -> Shards:
    """The shards of a generation; who reads them stops when one of its clips is taken down.

    Raises:
        ArgumentError: There is no such generation.
        StoppedError: A takedown of one of its clips has begun and not come to its end.
    """
    root = _generation(dataset, generation)
    keys = [chunk for offsets in Shards.open(root).offsets() for chunk in offsets["key"].chunks]
    return Shards(root, check=TakedownWatch(dataset, pa.chunked_array(keys, pa.string()).combine_chunks()).check)


def _generation(dataset: Dataset, name: str) -> Root:
    root = dataset.root("shards") / plain_name(name, "generation")
    if not root.exists(INDEX_FILE):
        raise ArgumentError(f"{dataset.path} has no generation {name!r}; run `foundsound pack` first")
    return root


def generation_identity(dataset: Dataset, generation: str) -> dict[str, str]:
    """Name and content of a generation, so that a run is not resumed with other data.

    Raises:
        ArgumentError: There is no such generation.
    """
    content = _generation(dataset, generation).read(INDEX_FILE)
    return {"generation": generation, "index_sha256": hashlib.sha256(content).hexdigest()}


def data_identity(
    sources: Sequence[Source], *, seconds: float, also_seconds: Sequence[float] = (), extras: Extras | None = None
) -> dict[str, Any]:
    """Content of all that is trained on, and how it is mixed, so that a run is not resumed with other data.

    Args:
        sources: What is trained on.
        seconds: Length of a sample, s.
        also_seconds: Other lengths of samples, s.
        extras: What samples have beside.

    Raises:
        ArgumentError: There is no such generation.
    """
    first, *others = sources
    identity: dict[str, Any] = {**generation_identity(first.dataset, first.generation), "seconds": seconds}
    if also_seconds:
        identity["also_seconds"] = sorted(set(also_seconds))
    if others or first.weight is not None or first.where is not None:
        identity["mixed"] = [
            {**generation_identity(one.dataset, one.generation), "weight": one.weight, "where": one.where}
            for one in sources
        ]
    if extras is not None and extras.before:
        identity["before"] = True
    if extras is not None and extras.teachers is not None:
        facts = [source.dataset.current_facts("embed").get(extras.teachers) for source in sources]
        identity["teachers"] = [None if folder is None else folder.name for folder in facts]
    if extras is not None and extras.said is not None:
        facts = [source.dataset.current_facts("embed_text").get(extras.said) for source in sources]
        identity["said"] = [None if folder is None else folder.name for folder in facts]
    if extras is not None and (near := extras.neighbours) is not None:
        folders = [source.dataset.folder("neighbours") / near.name for source in sources]
        stored = [read_neighbours_manifest(folder)["files"]["neighbours"]["sha256"] for folder in folders]
        identity["neighbours"] = {"stored": stored, "most": near.most}
    for stage, kept in (("encode_sound", "heard"), ("encode_frames", "seen")):
        if extras is not None and (name := getattr(extras, kept)) is not None:
            facts = [source.dataset.current_facts(stage).get(name) for source in sources]
            identity[kept] = [None if folder is None else folder.name for folder in facts]
    return identity


_DATA = re.compile(r"(?P<path>[^@:?]+)(@(?P<generation>[^@:?]+))?(:(?P<weight>[^:?]+))?([?](?P<where>.+))?", re.DOTALL)


def source_of(word: str, *, generation: str) -> Source:
    """What a word of `--data` names: `DATASET[@GENERATION][:WEIGHT][?CONDITION]`.

    Args:
        word: As `v2m@music:0.7?tag.music_ratio > 0.5`.
        generation: Where the word names none.

    Raises:
        ArgumentError: It is not of that form.
    """
    match = _DATA.fullmatch(word)
    try:
        weight = None if match is None or match["weight"] is None else float(match["weight"])
    except ValueError:
        match = None
    if match is None:
        raise ArgumentError(f"--data {word!r}: give DATASET[@GENERATION][:WEIGHT][?CONDITION], as vgg:0.3")
    dataset = Dataset(Path(match["path"]))
    return Source(dataset=dataset, generation=match["generation"] or generation, weight=weight, where=match["where"])


def sounds(shards: Shards, sample_rate_hz: int, channels: int, numbers: list[int]) -> Iterator[np.ndarray]:
    """Some clips' sounds at a rate: (channels, T) float32 each."""
    for number in numbers:
        content = shards.read(number, ("flac",))["flac"]
        wave_TC, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        if rate_hz != sample_rate_hz:
            wave_TC = soxr.resample(wave_TC, rate_hz, sample_rate_hz, quality="HQ")
        yield with_channels(np.asarray(wave_TC, np.float32), channels)


def fitted_codec(dataset: Dataset, generation: str, *, name: str, config: MdctPcaConfig, seed: int) -> Path:
    """The folder of a closed-form codec; fitted on a seeded draw of the generation's sounds unless it is there."""
    folder = dataset.folder("codecs") / name
    if (folder / "codec.json").is_file():
        return folder
    shards = open_shards(dataset, generation)
    drawn = sorted(np.random.default_rng(seed).permutation(len(shards))[:FITTING_CLIPS].tolist())
    waves = (torch.from_numpy(wave) for wave in sounds(shards, config.sample_rate_hz, config.channels, drawn))
    MdctPca.fit(waves, config).save(folder)
    return folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """What clips are encoded to.

    Args:
        codec: A codec by folder or name.
        name: Name of the latents.
        frame_rate_hz: Pictures a second.
        frame_size_px: Their side, px.
        text: What encodes their texts; None: nothing does.
        listener: An AudioMAE by run, file, folder or name, whose language of audio is kept of windows as long as a
            sample; None: none.
        loa_factor: Of the language of audio: 8 for sounds and music, 1 for speech.
        frames: What encodes their pictures, where `encode --frame-encoder` was asked to keep its tokens; None: nothing.
    """

    codec: str
    name: str
    frame_rate_hz: float
    frame_size_px: int
    text: EncoderSource | None = None
    listener: str | None = None
    loa_factor: int = LOA_FACTOR
    frames: EncoderSource | None = None

    def stage(self, dataset: Dataset) -> Encode:
        """The stage that makes it of a dataset's clips."""
        return encode_stage(
            dataset,
            self.codec,
            called=self.name,
            frame_rate_hz=self.frame_rate_hz,
            frame_size_px=self.frame_size_px,
        )

    def are_seen(self, sources: Sequence[Source]) -> bool:
        """Whether tokens of pictures are kept for this encoding.

        Raises:
            ArgumentError: They are of another encoder or of other pictures, or only some of the datasets have them.
        """
        if self.frames is None:
            return False
        lines = {one.path: self._line(one) for one in (source.dataset for source in sources)}
        seen = {
            source.dataset.path: is_seen(source.dataset, self._frames_stage(source.dataset), lines[source.dataset.path])
            for source in sources
        }
        if lacking := [path for path, is_there in seen.items() if not is_there and any(seen.values())]:
            raise ArgumentError(
                f"{lacking[0]} has no tokens {self.name!r} of pictures and another dataset of this run has: "
                f"{lines[lacking[0]]}"
            )
        return any(seen.values())

    def _line(self, dataset: Dataset) -> str:
        """The command that keeps tokens of pictures."""
        return (
            f"foundsound encode {dataset.path} --codec {self.codec} --name {self.name} --frame-rate-hz "
            f"{self.frame_rate_hz:g} --frame-size-px {self.frame_size_px} --frame-encoder "
            f"{'' if self.frames is None else self.frames.path}"
        )

    def _frames_stage(self, dataset: Dataset) -> EncodeFrames:
        if self.frames is None:
            raise TypeError("this encoding has no encoder of pictures")
        return encode_frames_stage(
            dataset,
            self.frames,
            called=self.name,
            frame_rate_hz=self.frame_rate_hz,
            frame_size_px=self.frame_size_px,
        )

    def run(self, sources: Sequence[Source]) -> None:
        """Encode what is pending of the clips of some datasets, and of the texts that are trained on."""
        is_seen = self.are_seen(sources)
        for dataset in {source.dataset.path: source.dataset for source in sources}.values():
            for stage in (self.stage(dataset), *((self._frames_stage(dataset),) if is_seen else ())):
                run_in_turn(dataset, Job(stage=stage, queue=partial(dataset.pending, stage), batch_rows=32, gpu=True))
        if self.text is None:
            return
        for source in sources:
            texts = encode_text_stage(source.dataset, self.text, called=self.name)
            queue = partial(_pending_texts, source, texts)
            run_in_turn(source.dataset, Job(stage=texts, queue=queue, batch_rows=TEXTS_AT_ONCE, gpu=True))

    def listen(self, sources: Sequence[Source], window_s: float) -> None:
        """Hear what is pending of the clips of some datasets, in windows of so many seconds, if there is a listener."""
        for dataset in {source.dataset.path: source.dataset for source in sources}.values():
            if self.listener is not None:
                stage = encode_sound_stage(
                    dataset, self.listener, window_s=window_s, factor=self.loa_factor, called=self.name
                )
                run_in_turn(dataset, Job(stage=stage, queue=partial(dataset.pending, stage), batch_rows=32, gpu=True))


def _pending_texts(source: Source, stage: EncodeText) -> pa.Table:
    said = Members.of(source.dataset, source.generation, source.where).said()
    return pending_texts(source.dataset, stage, said)


def latent_samples(
    sources: Sequence[Source],
    encoding: Encoding,
    *,
    seconds: Sequence[float],
    world: World,
    extras: Extras | None = None,
    raw: bool = False,
) -> Samples:
    """Encode what is pending, in one process for all, and open the clips of the sources.

    Args:
        sources: What is trained on.
        encoding: What clips are encoded to.
        seconds: Lengths of samples, s.
        world: The processes that train together.
        extras: What samples have beside; tokens of texts and of sounds they have where the encoding makes such, but for
            what has neighbours, which have them instead; those of pictures, where they are kept, in place of pictures.
        raw: Encode nothing beforehand: sounds and pictures of the shards are decoded, and sounds encoded, as they are
            drawn.

    Raises:
        ArgumentError: Something that is asked for is missing, or no clip is long enough.
    """
    if encoding.listener is not None and len(seconds) != 1:
        raise ArgumentError(f"what is heard belongs to samples of one length, not of {list(seconds)} s")
    loaded = load_numpy_codec(encoding.codec, str(world.device) if raw else "cpu")
    rate_hz = loaded.codec.latent_rate_hz
    lengths = Lengths(
        latent_frames=tuple(sorted({math.floor(round(one * rate_hz, 6)) for one in seconds})),
        latent_rate_hz=rate_hz,
        frame_rate_hz=encoding.frame_rate_hz,
    )
    extras = extras or Extras()
    of_neighbours = extras.neighbours is not None  # what is encoded of clips is then read of the neighbours alone
    if encoding.listener is not None and not of_neighbours:
        extras = replace(extras, heard=encoding.name)
    if world.is_first:
        encoding.listen(sources, lengths.latent_frames[0] / rate_hz)
    world.wait()
    if raw:
        return Samples.open_raw(
            sources,
            codec=loaded,
            hop_samples=loaded.codec.hop_samples,
            frame_size_px=encoding.frame_size_px,
            lengths=lengths,
            extras=extras,
        )
    if world.is_first:
        encoding.run(sources)
    world.wait()
    if encoding.text is not None and not of_neighbours:
        extras = replace(extras, tokens=encoding.name)
    if encoding.are_seen(sources):
        extras = replace(extras, seen=encoding.name)
    return Samples.open(sources, latents=encoding.name, lengths=lengths, extras=extras)


def batches_of(samples: Samples, plan: BatchPlan) -> Callable[[int, range], dict[str, Any]]:
    """The function that gives rows of batch b as torch tensors."""

    def batch_at(number: int, rows: range) -> dict[str, Any]:
        made = samples.batch(plan, number, rows)
        return {key: _tensor(value, widens=key != "seen") for key, value in made.items()}  # CLIP's are large

    return batch_at


def _tensor(value: Any, *, widens: bool) -> Tensor | Any:
    """An array as a tensor, float32 where it is float16 and may widen: torch widens ten times as fast as NumPy."""
    if not isinstance(value, np.ndarray):
        return value
    tensor = torch.from_numpy(value)
    return tensor.float() if widens and tensor.dtype == torch.float16 else tensor
