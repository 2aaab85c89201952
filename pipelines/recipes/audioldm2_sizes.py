"""The sizes in which AudioLDM 2 is trained: a recipe each, with the parts that it has unless told otherwise."""

from collections.abc import Callable
from dataclasses import dataclass

from models.audioldm2.recipes import (
    AudioLdm2Recipe,
    audioldm2_base,
    audioldm2_large,
    audioldm2_speech_base,
    audioldm2_speech_tiny,
    audioldm2_tiny,
)
from pipelines.evaluations.made_sounds import PromptKind
from pipelines.wiring.language_of_audio import LOA_FACTOR


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A recipe, and what it is trained on unless told otherwise.

    Attributes:
        name: Of the recipe, and of what clips are encoded to.
        recipe: From the widths of its parts, the length of the run and the seed.
        seconds: Length of a sample, s.
        codec: By name; None: the dataset's own mel-vae-tiny.
        clap: By name; None: the dataset's own clap-tiny.
        text_encoder: By name; None: a T5 of the words of its captions.
        listener: By name; None: the dataset's own, of `own_listener`.
        own_listener: The recipe that makes one.
        is_speech: Whether the language model is told what is said, by the transcripts of clips; every patch is then a
            vector of the language of audio.
    """

    name: str
    recipe: Callable[..., AudioLdm2Recipe]
    seconds: float
    codec: str | None = None
    clap: str | None = None
    text_encoder: str | None = None
    listener: str | None = None
    own_listener: str = "audiomae-tiny"
    is_speech: bool = False

    @property
    def prompt(self) -> PromptKind:
        """What of a clip samples are made from."""
        return "transcript" if self.is_speech else "text"

    @property
    def factor(self) -> int:
        """Of the language of audio. Source: AudioLDM 2's published settings, 1 for speech."""
        return 1 if self.is_speech else LOA_FACTOR


TINY = Size(name="audioldm2-tiny", recipe=audioldm2_tiny, seconds=4.0)
_PUBLISHED = {
    "seconds": 10.24,
    "codec": "cvssp/audioldm2",
    "clap": "laion/clap-htsat-unfused",
    "text_encoder": "google/flan-t5-large",
    "listener": "hance-ai/audiomae",
}
BASE = Size(name="audioldm2-base", recipe=audioldm2_base, **_PUBLISHED)  # type: ignore[arg-type]
LARGE = Size(name="audioldm2-large", recipe=audioldm2_large, **_PUBLISHED)  # type: ignore[arg-type]
SPEECH_TINY = Size(
    name="audioldm2-speech-tiny",
    recipe=audioldm2_speech_tiny,
    seconds=1.28,
    own_listener="audiomae-speech-tiny",
    is_speech=True,
)
SPEECH_BASE = Size(
    name="audioldm2-speech-base",
    recipe=audioldm2_speech_base,
    is_speech=True,
    **_PUBLISHED,  # type: ignore[arg-type]
)
