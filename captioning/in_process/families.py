"""The families of audio-language models that transformers has classes for, and how each wants to be asked.

A family is a table row: what is common to all of them is in `audio_language.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from curation.errors import ArgumentError

SAMPLE_RATE_HZ = 16_000
"""At which every family listens, Hz: all have a Whisper encoder. Source: arXiv 2212.04356, section 2.2."""

CHUNK_S = 30.0
"""Length of one window of that encoder, s. Source: the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One kind of model.

    Args:
        name: As it stands in the identity of captions.
        version: Grows when the code of this family gives other sentences than before.
        model_type: As `config.json` names it.
        model_class: Name of the class in transformers.
        window_s: Longest sound that is heard, s.
        shortest_s: Shorter sounds make no token, s.
        processor_options: What its processor is called with.
        terms: What its published weights may be used for.
    """

    name: str
    version: int
    model_type: str
    model_class: str
    window_s: float
    shortest_s: float
    processor_options: Mapping[str, Any] = field(default_factory=dict)
    terms: str


SHORTEST_S = 0.1
"""Source: ours. The encoders make one token of 40 ms and none at all of less than 30 ms; two are the least that
transformers tells from a placeholder that was not expanded yet."""

FAMILIES = {
    family.model_type: family
    for family in (
        # arXiv 2407.10759: one window.
        Family(
            name="qwen2-audio",
            version=1,
            model_type="qwen2_audio",
            model_class="Qwen2AudioForConditionalGeneration",
            window_s=CHUNK_S,
            shortest_s=SHORTEST_S,
            processor_options={"return_tensors": "pt", "padding": True, "sampling_rate": SAMPLE_RATE_HZ},
            terms="Apache-2.0",
        ),
        # arXiv 2507.08128: up to ten minutes, in windows one after another. A flat `padding` reaches the sound, too.
        Family(
            name="audio-flamingo-3",
            version=1,
            model_type="audioflamingo3",
            model_class="AudioFlamingo3ForConditionalGeneration",
            window_s=600.0,
            shortest_s=SHORTEST_S,
            terms="research only",
        ),
        # Its processor takes up to twenty minutes (`max_audio_len`).
        Family(
            name="music-flamingo",
            version=1,
            model_type="musicflamingo",
            model_class="MusicFlamingoForConditionalGeneration",
            window_s=1200.0,
            shortest_s=SHORTEST_S,
            terms="research only",
        ),
    )
}
"""model_type -> family."""


def family_of(model_type: str, name: str) -> Family:
    """The family of a model.

    Args:
        model_type: As its `config.json` names it.
        name: The model's name, for the message.

    Raises:
        ArgumentError: It is none of those known here.
    """
    if model_type not in FAMILIES:
        raise ArgumentError(f"{name} is a {model_type!r} model; those that caption here are {', '.join(FAMILIES)}")
    return FAMILIES[model_type]
