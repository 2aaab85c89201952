"""Which classes are kinds of which, and what a list's label is about."""

import csv
from pathlib import Path

import pytest

from captioning.facts.audioset import above, classes_of, named_in, narrowest, unsupported
from models.encoders.audioset_labels import AUDIOSET_LABELS


def test_every_class_has_its_place_and_none_is_a_kind_of_itself() -> None:
    assert set(above()) == set(AUDIOSET_LABELS)
    assert all(name not in higher for name, higher in above().items())
    assert above()["Bark"] == {"Dog", "Domestic animals, pets", "Animal"}
    assert above()["Growling"] >= {"Cat", "Dog", "Roaring cats (lions, tigers)", "Wild animals", "Animal"}
    assert above()["Speech"] == frozenset()


def test_of_a_class_and_a_kind_of_it_the_kind_stays() -> None:
    assert narrowest(["Animal", "Speech", "Dog", "Bark"]) == ["Speech", "Bark"]
    assert narrowest(["Bark", "Meow"]) == ["Bark", "Meow"]
    assert narrowest(["not of AudioSet", "Animal"]) == ["not of AudioSet", "Animal"]
    assert narrowest([]) == []


@pytest.mark.parametrize(
    ("label", "has", "has_not"),
    [
        ("dog barking", {"Dog", "Bark", "Yip"}, {"Cat", "Animal"}),
        ("car engine starting", {"Engine starting"}, {"Car", "Engine", "Idling"}),
        ("playing_acoustic_guitar", {"Acoustic guitar"}, {"Guitar", "Electric guitar"}),
        ("sea waves", {"Waves, surf"}, {"Water"}),
        ("Vehicle horn, car horn, honking", {"Vehicle horn, car horn, honking", "Toot"}, {"Car", "Vehicle"}),
        ("toilet_flush", {"Toilet flush"}, {"Water"}),
    ],
)
def test_classes_that_a_label_is_about(label: str, has: set[str], has_not: set[str]) -> None:
    assert has <= classes_of(label)
    assert not has_not & classes_of(label)


@pytest.mark.parametrize("label", ["playing bassoon", "slot machine", "", "_"])
def test_a_label_that_audioset_has_no_class_for_is_about_none(label: str) -> None:
    assert classes_of(label) == frozenset()


@pytest.mark.parametrize(
    ("sentence", "named"),
    [
        ("A dog barks while it rains.", {"Dog", "Bark", "Rain", "Canidae, dogs, wolves"}),
        ("An acoustic guitar.", {"Acoustic guitar", "Guitar"}),
        ("A guitar that is acoustic.", {"Guitar"}),
        ("Nothing of it.", set()),
    ],
)
def test_classes_that_a_sentence_names(sentence: str, named: set[str]) -> None:
    assert named_in(sentence) == named


def test_what_is_above_or_below_a_known_class_is_supported() -> None:
    assert unsupported(["Bark", "Dog", "Animal", "Rain", "Cat"], ["Dog"]) == ["Cat", "Rain"]
    assert unsupported(["Rain"], []) == ["Rain"]
    assert unsupported([], ["Dog"]) == []


@pytest.mark.slow
def test_most_of_vggsounds_labels_are_about_a_class(real_data: Path) -> None:
    with (real_data / "annotations" / "vggsound" / "stat.csv").open(encoding="utf-8") as file:
        labels = [row[0] for row in csv.reader(file)]
    assert (len(labels), sum(bool(classes_of(label)) for label in labels)) == (309, 224)
