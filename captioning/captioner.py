"""What a captioner is: sounds and a prompt in, as many sentences out.

Shapes: T samples. No model, file or dataset is known here; see `audio_language.py`, `chat_server.py` and `labels.py`
for captioners, `caption.py` for the stage.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from captioning.prompt import Prompt
from curation.errors import ClipError, Code


@dataclass(frozen=True, kw_only=True, slots=True)
class Sound:
    """One clip as a captioner gets it.

    Args:
        key: The clip's id.
        wave_T: Mono sound, float32 in [-1, 1]; None for a captioner that does not listen.
        sample_rate_hz: Rate of `wave_T`, Hz; None without one.
        labels: Class names of the clip, as a hint.
        frames_NHWC: What the picture shows at `picture.FRAMES_HZ`, RGB; None for a captioner that sees no frames.
        mp4: The file of the picture; None for a captioner that takes no file.
    """

    key: str
    wave_T: npt.NDArray[np.float32] | None = None
    sample_rate_hz: int | None = None
    labels: tuple[str, ...] = ()
    frames_NHWC: npt.NDArray[np.uint8] | None = None
    mp4: bytes | None = None


LATER = ("quantized", "sees")
"""Fields of an identity that older captions do not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionerIdentity:
    """What decides a captioner's sentences, beside the sound and the prompt; known before any weights are loaded.

    Args:
        name: The family of code, as `qwen2-audio`.
        version: Grows when that code gives other sentences than before.
        model: Name of the model on the Hub, or of its folder; None where no model speaks.
        revision: Commit on the Hub; None for a folder.
        weights_sha256: Hash of its safetensors files.
        settings_sha256: Hash of its configuration, tokenizer and chat template.
        dtype: Precision it computes in, as `bfloat16`.
        decoding: How sentences are drawn from it.
        sample_rate_hz: Rate at which it listens, Hz; None for one that does not listen.
        window_s: Longest sound that it hears, s; what follows in a clip is not heard.
        quantized: How the weights are kept, as `4bit`; None for whole ones.
        sees: What it is shown beside the sound: `frames` of the picture, or its `file`; None for nothing.
    """

    name: str
    version: int
    model: str | None = None
    revision: str | None = None
    weights_sha256: str | None = None
    settings_sha256: str | None = None
    dtype: str | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)
    sample_rate_hz: int | None = None
    window_s: float | None = None
    quantized: str | None = None
    sees: Literal["frames", "file"] | None = None

    def __post_init__(self) -> None:
        if (self.sample_rate_hz is None) != (self.window_s is None):
            raise ValueError(
                f"a captioner listens with a rate and a window or with neither, not {self.sample_rate_hz!r} Hz "
                f"and {self.window_s!r} s"
            )

    @property
    def listens(self) -> bool:
        """Whether it wants the sound of a clip."""
        return self.sample_rate_hz is not None

    @property
    def draws(self) -> int:
        """Answers that it gives about one clip: the most likely one, and those drawn beside it."""
        return 1 + int(self.decoding.get("drawing", {}).get("draws", 0))

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for the identity of a stage; what came later stands in it only where it is used."""
        known = dataclasses.asdict(self)
        return {name: known[name] for name in known if name not in LATER or known[name] is not None}


class Captioner(Protocol):
    """Writes a sentence about each sound, and others when asked again."""

    def identity(self) -> CaptionerIdentity:
        """What decides its sentences."""

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        """One answer a sound, in the same order: the sentence, or why there is none.

        Args:
            sounds: A batch; the answers do not depend on what stands beside a sound.
            prompt: What is asked; the same for all but for the labels filled in.
            draw: 0 for the most likely answer, above for one drawn by seed; below the identity's `draws`.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One clip that is to be asked about.

    Args:
        load: Reads the clip, or says why it cannot be; it may be called in any thread.
        draws: The answers that are wanted, by number, in rising order.
        tell: Gets each answer, by number of its draw, as soon as it is there; it may be called in any thread.
    """

    load: Callable[[], Sound | ClipError]
    draws: tuple[int, ...]
    tell: Callable[[int, str | ClipError, Sound | None], None]


@runtime_checkable
class AsksSideBySide(Protocol):
    """A captioner that has many questions under way at once, so that each clip is answered for itself."""

    def ask(self, questions: Sequence[Question], prompt: Prompt) -> None:
        """Ask about every clip, as many at once as it may; returns when all is told."""


_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters, and those that turn the direction of what follows: a terminal obeys them."""

_HALF_PAIR = re.compile(r"[\ud800-\udfff]")
"""Halves of a surrogate pair, which JSON can escape and no file can hold."""

THOUGHTS_BEGIN, THOUGHTS_END = "<think>", "</think>"
"""What stands between is no answer. Source: the chat templates of Qwen3 and Qwen3-Omni-Thinking."""


def one_line(text: str) -> str:
    """A text as it is shown and kept: on one line, without control characters; half a character becomes U+FFFD."""
    return " ".join(_UNSHOWN.sub(" ", _HALF_PAIR.sub("\ufffd", text)).split())


def checked_answer(text: str) -> str | ClipError:
    """An answer on one line, without what a model thought before it, or `BAD_CAPTION`.

    Args:
        text: What it said; one that holds no word, or nothing but a thought that did not end, is no caption.
    """
    line = one_line(text.rpartition(THOUGHTS_END)[2])
    if THOUGHTS_BEGIN in line:
        return unended(line)
    if not any(character.isalnum() for character in line):
        return ClipError(Code.BAD_CAPTION, f"the answer holds no word: {line[:80]!r}")
    return line


def unended(text: str, tokens: int | None = None) -> ClipError:
    """`BAD_CAPTION` for an answer that stopped at the bound of its tokens: a sentence that breaks off says too little.

    Args:
        text: What there is of it.
        tokens: The bound, where it is known.
    """
    bound = "the tokens allowed" if tokens is None else f"{tokens} tokens"
    return ClipError(Code.BAD_CAPTION, f"the answer did not end within {bound}: {' '.join(text.split())[:80]!r}")
