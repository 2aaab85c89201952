"""Sentences from labels, by hand."""

import pytest

from captioning.captioner import Sound
from captioning.labels import LABEL_PROMPT, LabelCaptioner
from captioning.prompt import Prompt, load_prompt
from curation.errors import ArgumentError, ClipError, Code


def sentences(*label_lists: tuple[str, ...], prompt: Prompt | None = None) -> list[str | ClipError]:
    sounds = [Sound(key=f"clip{number}", labels=labels) for number, labels in enumerate(label_lists)]
    return LabelCaptioner().caption(sounds, prompt or load_prompt(LABEL_PROMPT))


def test_one_two_and_three_labels() -> None:
    assert sentences(("dog barking",), ("rain", "wind"), ("rain", "thunder", "wind")) == [
        "The sound of dog barking.",
        "The sound of rain and wind.",
        "The sound of rain, thunder and wind.",
    ]


def test_spelling_of_lists_is_smoothed() -> None:
    assert sentences(("crackling_fire",), ("Bark",), ("MIDI",), ("R&B",), ("  Church   bells ",)) == [
        "The sound of crackling fire.",
        "The sound of bark.",
        "The sound of MIDI.",
        "The sound of R&B.",
        "The sound of church bells.",
    ]


def test_a_clip_without_labels_is_set_aside_alone() -> None:
    good, none, blank = sentences(("rain",), (), ("_ ",))
    assert good == "The sound of rain."
    assert isinstance(none, ClipError) and none.code is Code.NO_LABEL
    assert isinstance(blank, ClipError) and blank.code is Code.NO_LABEL


def test_of_several_templates_the_clips_id_picks_and_all_are_used() -> None:
    prompt = load_prompt("sentences-v1")
    sounds = [Sound(key=str(number), labels=("rain",)) for number in range(64)]
    told = LabelCaptioner().caption(sounds, prompt)
    assert LabelCaptioner().caption(sounds[::-1], prompt) == told[::-1]
    assert set(told) == {
        "The sound of rain.",
        "Rain can be heard.",
        "A recording of rain.",
        "This is what rain sounds like.",
    }


def test_a_label_is_text_and_no_template() -> None:
    assert sentences(("{labels} {0}",)) == ["The sound of {labels} {0}."]


def test_a_prompt_without_a_place_for_labels_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"sound-v1 has .Describe what"):
        sentences(("rain",), prompt=load_prompt("sound-v1"))
