"""How classes are said: all of them as words, none with brackets or enumerations."""

from captioning.facts.audioset import above
from captioning.facts.phrases import PHRASES, UNSAID, phrase


def test_every_class_is_said_or_left_out_on_purpose() -> None:
    assert set(PHRASES) | UNSAID <= set(above())
    said = {name: phrase(name) for name in above()}
    assert {name for name, words in said.items() if words is None} == UNSAID
    assert [words for words in said.values() if words is not None and (not words or set(words) & set("(),"))] == []


def test_by_hand() -> None:
    assert phrase("Bark") == "a dog barking"
    assert phrase("Cutlery, silverware") == "cutlery"
    assert phrase("Reversing beeps") == "reversing beeps"
    assert phrase("Middle Eastern music") == "Middle Eastern music"
    assert phrase("Silence") is None
    assert phrase("Some class (of another tagger)") == "some class"
