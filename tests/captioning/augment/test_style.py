"""Styles and lengths in a prompt."""

import pytest

from captioning.augment.style import LENGTHS, STYLES, styled
from captioning.prompt import LONGEST_CHARACTERS, Prompt, load_prompt
from curation.errors import ArgumentError


def test_each_style_and_length_is_another_question() -> None:
    prompt = load_prompt("augment-v1")
    asked = {styled(prompt, style, length).sha256 for style in STYLES for length in LENGTHS}
    assert len(asked) == len(STYLES) * len(LENGTHS)
    text = styled(prompt, "vivid", "short").text
    assert STYLES["vivid"] in text and LENGTHS["short"] in text and "{facts}" in text
    assert "{style}" not in text and "{length}" not in text


def test_a_prompt_of_ones_own_needs_facts_and_no_style() -> None:
    own = Prompt(name="own", text="Shorten: {facts}")
    assert styled(own, "plain", "medium") == own
    with pytest.raises(ArgumentError, match=r"sound-v1 has no \{facts\}"):
        styled(load_prompt("sound-v1"), "plain", "medium")
    with pytest.raises(ArgumentError, match="too long"):
        styled(Prompt(name="own", text="{facts}{style}" + "x" * (LONGEST_CHARACTERS - 20)), "plain", "medium")


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ArgumentError, match="--style is one of plain, vivid, prompt, not 'poetic'"):
        styled(load_prompt("augment-v1"), "poetic", "medium")
    with pytest.raises(ArgumentError, match="--length"):
        styled(load_prompt("augment-v1"), "plain", "endless")
