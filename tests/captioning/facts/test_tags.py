"""Sentences from tags, by hand."""

import pytest

from captioning.captioner import Sound
from captioning.facts.tags import TAG_PROMPT, TagCaptioner, said
from captioning.prompt import Prompt, load_prompt
from curation.errors import ArgumentError, ClipError, Code

PLAIN = Prompt(name="made-v1", text="The sound of {labels}.")


def sentence(*tags: str) -> str | ClipError:
    (only,) = TagCaptioner().caption([Sound(key="clip", labels=tags)], PLAIN)
    return only


def test_the_best_come_first_and_only_the_narrowest() -> None:
    assert sentence("Animal", "Dog", "Bark", "Speech") == "The sound of a dog barking and people talking."
    assert sentence("Rain", "Thunder") == "The sound of rain and thunder."
    assert sentence("Thunder", "Rain") == "The sound of thunder and rain."


def test_three_at_most_and_no_phrase_twice() -> None:
    assert said(["Rain", "Thunder", "Wind", "Car"]) == ["rain", "thunder", "wind"]
    assert said(["Bark", "Bow-wow", "Rain"]) == ["a dog barking", "rain"]


def test_a_room_is_not_a_sound() -> None:
    assert sentence("Inside, small room", "Rain") == "The sound of rain."


@pytest.mark.parametrize("tags", [(), ("Silence",), ("Inside, small room", "Sound effect")])
def test_a_clip_of_which_tags_say_nothing_is_set_aside_alone(tags: tuple[str, ...]) -> None:
    none, good = TagCaptioner().caption([Sound(key="a", labels=tags), Sound(key="b", labels=("Rain",))], PLAIN)
    assert isinstance(none, ClipError) and none.code is Code.NO_LABEL
    assert good == "The sound of rain."


def test_the_clips_id_picks_the_template_and_all_are_used() -> None:
    prompt = load_prompt(TAG_PROMPT)
    sounds = [Sound(key=str(number), labels=("Bark",)) for number in range(64)]
    told = TagCaptioner().caption(sounds, prompt)
    assert TagCaptioner().caption(sounds[::-1], prompt) == told[::-1]
    assert set(told) == {
        "The sound of a dog barking.",
        "A dog barking can be heard.",
        "A recording of a dog barking.",
        "In this recording, a dog barking can be heard.",
    }


def test_a_prompt_without_a_place_for_tags_is_refused() -> None:
    with pytest.raises(ArgumentError, match="'tags' takes templates"):
        TagCaptioner().caption([Sound(key="a", labels=("Rain",))], load_prompt("sound-v1"))
