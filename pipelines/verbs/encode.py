"""`foundsound encode`: every cut clip as latents, once; its captions, what a listener hears and CLIP sees as tokens.

And what that will take, before it is begun.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from curation.dataset import Dataset
from curation.encode import Encode
from curation.encode_frames import EncodeFrames
from curation.encode_sound import EncodeSound
from curation.encode_text import EncodeText
from curation.errors import ArgumentError
from pipelines.verbs.of_clips import run_of_clips
from pipelines.verbs.result import StageResult
from pipelines.wiring.codecs import encode_stage
from pipelines.wiring.frame_encoders import encode_frames_stage, frame_source
from pipelines.wiring.language_of_audio import LOA_FACTOR, encode_sound_stage
from pipelines.wiring.text_encoders import TEXTS_AT_ONCE, encode_text_stage, text_source

BATCH = 32
"""Clips a worker gets at a time."""

PROBED = 8
"""Clips that `--plan` encodes to see what one takes. Source: ours; lengths of clips differ more than their bytes a
second do."""

CLIP_TOKENS_BYTES = 50 * 50 * 768 * 2
"""What CLIP's tokens of 50 pictures take, which are therefore made within the step unless they are asked for: 50 tokens
of 768 float16 numbers each. Source: CLIP ViT-B/32 at 224 px, arXiv 2103.00020."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodePlan:
    """What encoding would write.

    Args:
        pending: Clips that are to be encoded.
        probed: Clips that were encoded for it, and thrown away.
        latents_bytes: Of a clip, on average.
        frames_bytes: Of a clip's pictures, on average.
        pending_texts: Texts that are to be encoded.
        tokens_bytes: Of a text, on average.
        pending_sounds: Clips that are to be listened to.
        heard_bytes: Of a clip's windows, on average.
        sees: Whether tokens of pictures are kept.
        pending_sights: Clips whose pictures are to be seen.
        seen_bytes: Of the tokens of a clip's pictures, on average.
    """

    pending: int
    probed: int
    latents_bytes: float
    frames_bytes: float
    pending_texts: int = 0
    tokens_bytes: float = 0.0
    pending_sounds: int = 0
    heard_bytes: float = 0.0
    sees: bool = False
    pending_sights: int = 0
    seen_bytes: float = 0.0

    @property
    def total_bytes(self) -> float:
        """Of all that are pending."""
        of_clips = self.pending * (self.latents_bytes + self.frames_bytes) + self.pending_sights * self.seen_bytes
        return of_clips + self.pending_texts * self.tokens_bytes + self.pending_sounds * self.heard_bytes

    def as_dict(self) -> dict[str, Any]:
        """The numbers, bytes."""
        return {
            "pending": self.pending,
            "probed": self.probed,
            "latents_bytes": self.latents_bytes,
            "frames_bytes": self.frames_bytes,
            "pending_texts": self.pending_texts,
            "tokens_bytes": self.tokens_bytes,
            "pending_sounds": self.pending_sounds,
            "heard_bytes": self.heard_bytes,
            "pending_sights": self.pending_sights,
            "seen_bytes": self.seen_bytes,
            "total_bytes": self.total_bytes,
        }

    def __str__(self) -> str:
        if not (self.pending or self.pending_texts or self.pending_sounds or self.pending_sights):
            return "every clip is encoded"
        kept = f"{_size(self.latents_bytes)} of latents and {_size(self.frames_bytes)} of pictures a clip"
        texts = f", {self.pending_texts} texts of {_size(self.tokens_bytes)}" if self.pending_texts else ""
        if self.pending_sounds:
            texts += f", {self.pending_sounds} sounds to hear of {_size(self.heard_bytes)}"
        return (
            f"{self.pending} clips to encode: {kept} (measured on {self.probed}){texts}, {_size(self.total_bytes)} in "
            f"total\n{self._sights()}"
        )

    def _sights(self) -> str:
        """What the tokens of pictures take, or would."""
        if self.sees:
            every, total = _size(self.seen_bytes), _size(self.seen_bytes * self.pending_sights)
            return (
                f"of these are tokens of pictures: {every} a clip, {total} for {self.pending_sights} clips with "
                "pictures; training reads them and runs no CLIP"
            )
        every, total = _size(CLIP_TOKENS_BYTES), _size(CLIP_TOKENS_BYTES * self.pending)
        return (
            f"CLIP's tokens would add {every} a clip, {total}: so pictures are stored, and CLIP sees them within the "
            "step, unless --frame-encoder asks for them"
        )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def planned(
    dataset: Dataset,
    stage: Encode,
    texts: EncodeText | None = None,
    sounds: EncodeSound | None = None,
    frames: EncodeFrames | None = None,
) -> EncodePlan:
    """Encode a few pending clips and texts, hear and see a few, into a folder that goes again; say what all will take.

    Raises:
        ArgumentError: Nothing has been cut yet.
    """
    if not dataset.has_stage("cut"):
        raise ArgumentError(f"nothing has been cut on {dataset.path}; run `foundsound fetch` first")
    pending = dataset.pending(stage)
    rows = pending.slice(0, PROBED).to_pylist()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = replace(stage, blobs=Path(folder)).open()(rows) if rows else []
        written = sum(path.stat().st_size for path in Path(folder).rglob("*.bin"))
    values = [outcome.values for outcome in outcomes if outcome.error is None]
    count = max(len(values), 1)
    latents = sum(
        2 * one["latent_frames"] * one["latent_channels"] * (1 if one["std_offset_bytes"] is None else 2)
        for one in values
    )
    return EncodePlan(
        pending=pending.num_rows,
        probed=len(values),
        latents_bytes=latents / count,
        frames_bytes=(written - latents) / count,
        **({} if texts is None else _planned_tokens(dataset, texts, "pending_texts", "tokens_bytes")),
        **({} if sounds is None else _planned_tokens(dataset, sounds, "pending_sounds", "heard_bytes")),
        sees=frames is not None,
        **({} if frames is None else _planned_tokens(dataset, frames, "pending_sights", "seen_bytes")),
    )


def _planned_tokens(
    dataset: Dataset, stage: EncodeText | EncodeSound | EncodeFrames, pending: str, mean_bytes: str
) -> dict[str, Any]:
    """What tokens add to a plan; equal texts of a worker are kept once, which is not counted."""
    wanted = dataset.pending(stage)
    rows = wanted.slice(0, PROBED).to_pylist()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = replace(stage, blobs=Path(folder)).open()(rows) if rows else []
    written = sum(outcome.values["tokens_size_bytes"] for outcome in outcomes)
    return {pending: wanted.num_rows, mean_bytes: written / max(len(outcomes), 1)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Listening:
    """What a listener hears of clips, beside their latents.

    Args:
        listener: An AudioMAE by run, file, folder or name on the Hub, whose language of audio is kept of every clip.
        window_s: Length of a window, s, that of training samples; all that it hears at once when not given.
        loa_factor: Of the language of audio: 8 for sounds and music, 1 for speech.
    """

    listener: str | None = None
    window_s: float | None = None
    loa_factor: int = LOA_FACTOR

    def __post_init__(self) -> None:
        if self.listener is None and (self.window_s is not None or self.loa_factor != LOA_FACTOR):
            raise ArgumentError("--window-s and --loa-factor say how --listener listens; give one")

    def stage(self, dataset: Dataset, called: str) -> EncodeSound | None:
        """The stage that does it; None without a listener."""
        if self.listener is None:
            return None
        return encode_sound_stage(dataset, self.listener, window_s=self.window_s, factor=self.loa_factor, called=called)


NOTHING_HEARD = Listening()


def encode(
    dataset: Path,
    /,
    *,
    codec: str,
    name: str,
    frame_rate_hz: float = 5.0,
    frame_size_px: int = 32,
    text_encoder: str | None = None,
    frame_encoder: str | None = None,
    listening: Annotated[Listening, Parameter(name="*")] = NOTHING_HEARD,
    workers: int | None = None,
    address: str | None = None,
    follow: bool = False,
    plan: bool = False,
) -> StageResult | EncodePlan:
    """Encode every cut clip into latents, and its captions; `train` does it by itself for its own codec.

    Args:
        dataset: Folder of the dataset.
        codec: A run of a codec, a folder with a fitted one, an AutoencoderOobleck, or vae + vocoder.
        name: Name of the latents.
        frame_rate_hz: Pictures kept a second.
        frame_size_px: Their side, px.
        text_encoder: A CLAP or T5 by name on the Hub or by folder, by which captions are encoded too, once each.
        frame_encoder: A CLIP by name on the Hub or by folder, whose tokens of every picture are kept too; training then
            reads them and does not run it, and they take several times the room of the pictures (see --plan).
        listening: What a listener hears of clips.
        workers: Processes; 0 works in this process, without Ray.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
        follow: Go on with what is cut meanwhile, until nothing upstream runs any more.
        plan: Only say how many bytes would be written.
    """
    opened = Dataset(dataset)
    stage = encode_stage(opened, codec, called=name, frame_rate_hz=frame_rate_hz, frame_size_px=frame_size_px)
    texts = None if text_encoder is None else encode_text_stage(opened, text_source(text_encoder), called=name)
    sounds = listening.stage(opened, name)
    frames = None
    if frame_encoder is not None:
        frames = encode_frames_stage(
            opened,
            frame_source(frame_encoder),
            called=name,
            frame_rate_hz=frame_rate_hz,
            frame_size_px=frame_size_px,
        )
    if plan:
        return planned(opened, stage, texts, sounds, frames)
    result = run_of_clips(opened, stage, batch=BATCH, workers=workers, address=address, follow=follow)
    tally, names = result.tally, [stage.NAME]
    for more, batch in ((texts, TEXTS_AT_ONCE), (sounds, BATCH), (frames, BATCH)):
        if more is not None:
            tally = tally.plus(run_of_clips(opened, more, batch=batch, workers=workers, address=address).tally)
            names.append(more.NAME)
    return StageResult.of(opened, tally, *names)
