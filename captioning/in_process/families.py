"""The families of audio-language models that transformers has classes for, and how each wants to be asked.

A family is a table row: what is common to all of them is in `audio_language.py`.
"""

from dataclasses import dataclass
from typing import Literal

from curation.errors import ArgumentError

SAMPLE_RATE_HZ = 16_000
"""At which every family listens, Hz: all have a Whisper encoder. Source: arXiv 2212.04356, section 2.2."""

CHUNK_S = 30.0
"""Length of one window of that encoder, s. Source: the same."""

SHORTEST_S = 0.1
"""Source: ours. The encoders make one token of 40 ms and none at all of less than 30 ms; two are the least that
transformers tells from a placeholder that was not expanded yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One kind of model.

    Args:
        name: As it stands in the identity of captions.
        version: Grows when the code of this family gives other sentences than before.
        model_type: As `config.json` names it.
        model_class: Name of the class in transformers.
        processor_class: Name of its processor's class there.
        padding: How sounds of a batch become equally long: `processor` leaves it to the processor, which fills whole
            windows of 30 s; `flat` asks it to by one option for sound and text; `longest` fills up to the longest.
        window_s: Longest sound that is heard, s.
        chunk_s: Window that its feature extractor fills, s; None for one that fills none here.
        shortest_s: Shorter sounds make no token, s.
        filled_s: Shorter sounds are filled up to it with silence that is heard, s.
        sees: Whether it can be shown the picture of a clip beside the sound.
        takes_prompt: Whether a text is asked at all.
        has_experts: Whether most of its weights are experts, which bitsandbytes leaves whole (transformers 5.23).
        max_new_tokens: Bound of an answer of its usual length.
        terms: What its published weights may be used for.
    """

    name: str
    version: int
    model_type: str
    model_class: str
    processor_class: str
    padding: Literal["processor", "flat", "longest"]
    window_s: float
    chunk_s: float | None = CHUNK_S
    shortest_s: float = SHORTEST_S
    filled_s: float = 0.0
    sees: bool = False
    takes_prompt: bool = True
    has_experts: bool = False
    max_new_tokens: int = 128
    terms: str

    @property
    def has_eyes(self) -> bool:
        """Whether its processor has parts for pictures, be they used or not."""
        return "omni" in self.model_type


VERSION = 3
"""Of all families; 2: an answer that reached the bound of its tokens is no caption; 3: nor is what a model thought
before it, and control characters are not kept. Grows for all or for one."""

_QWEN3_BLOCK_S = 1.0
"""Qwen3-Omni's encoder works on blocks of 100 frames, and fills the last one of a clip only where another block of the
batch is whole: a clip that fills none would be heard otherwise beside others than alone (transformers 5.23)."""

CAPTIONER = Family(
    name="qwen3-omni-captioner",
    version=VERSION,
    model_type="qwen3_omni_moe",
    model_class="Qwen3OmniMoeThinkerForConditionalGeneration",
    processor_class="Qwen3OmniMoeProcessor",
    padding="longest",
    window_s=30.0,
    filled_s=_QWEN3_BLOCK_S,
    chunk_s=None,
    takes_prompt=False,
    has_experts=True,
    max_new_tokens=1024,
    terms="Apache-2.0",
)
"""Qwen3-Omni-30B-A3B-Captioner: Qwen3-Omni's thinker, taught to describe a sound at length, in English, whatever it is
asked; so it is asked nothing. Source: arXiv 2509.17765 and its model card, which also recommends 30 s at most. 1024 is
ours, about 700 words."""

FAMILIES = {
    family.model_type: family
    for family in (
        # arXiv 2407.10759: one window.
        Family(
            name="qwen2-audio",
            version=VERSION,
            model_type="qwen2_audio",
            model_class="Qwen2AudioForConditionalGeneration",
            processor_class="Qwen2AudioProcessor",
            padding="flat",
            window_s=CHUNK_S,
            terms="Apache-2.0",
        ),
        # arXiv 2503.20215; the thinker of the whole model. 300 s is ours: what a caption can be about.
        Family(
            name="qwen2.5-omni",
            version=VERSION,
            model_type="qwen2_5_omni",
            model_class="Qwen2_5OmniThinkerForConditionalGeneration",
            processor_class="Qwen2_5OmniProcessor",
            padding="longest",
            window_s=300.0,
            chunk_s=None,
            sees=True,
            terms="Apache-2.0 (7B), research only (3B)",
        ),
        # arXiv 2509.17765, up to 40 minutes; 300 s is ours, as above.
        Family(
            name="qwen3-omni",
            version=VERSION,
            model_type="qwen3_omni_moe",
            model_class="Qwen3OmniMoeThinkerForConditionalGeneration",
            processor_class="Qwen3OmniMoeProcessor",
            padding="longest",
            window_s=300.0,
            filled_s=_QWEN3_BLOCK_S,
            chunk_s=None,
            sees=True,
            has_experts=True,
            terms="Apache-2.0",
        ),
        # arXiv 2507.08128: up to ten minutes, in windows one after another. A flat `padding` reaches the sound, too.
        Family(
            name="audio-flamingo-3",
            version=VERSION,
            model_type="audioflamingo3",
            model_class="AudioFlamingo3ForConditionalGeneration",
            processor_class="AudioFlamingo3Processor",
            padding="processor",
            window_s=600.0,
            terms="research only",
        ),
        # Its processor takes up to twenty minutes (`max_audio_len`).
        Family(
            name="music-flamingo",
            version=VERSION,
            model_type="musicflamingo",
            model_class="MusicFlamingoForConditionalGeneration",
            processor_class="MusicFlamingoProcessor",
            padding="processor",
            window_s=1200.0,
            terms="research only",
        ),
    )
}
"""model_type -> family."""


def family_of(model_type: str, name: str) -> Family:
    """The family of a model.

    Args:
        model_type: As its `config.json` names it.
        name: The model's name; it says whether a Qwen3-Omni is the Captioner.

    Raises:
        ArgumentError: It is none of those known here.
    """
    known = model_type.removesuffix("_thinker")  # a folder that holds the thinker alone
    if known not in FAMILIES:
        raise ArgumentError(f"{name} is a {model_type!r} model; those that caption here are {', '.join(FAMILIES)}")
    if known == CAPTIONER.model_type and is_captioner(name):
        return CAPTIONER
    return FAMILIES[known]


def is_captioner(name: str) -> bool:
    """Whether a model is Qwen3-Omni's Captioner, which only its name tells from the others of its kind.

    Args:
        name: Name on the Hub, of a folder, or as a server knows it.
    """
    return name.rstrip("/").lower().endswith("captioner")
