"""Which labels a captioner is told of when the sounds were tagged."""

import dataclasses
from pathlib import Path

import pytest

from captioning.caption import Caption
from captioning.captioner import CaptionerIdentity
from captioning.facts.audioset import CONFIRMED_ABOVE
from captioning.facts.hints import SAID_ABOVE, Hints, confirmed_hints, tag_hints
from captioning.facts.tags import TagCaptioner
from captioning.labels import LabelCaptioner
from captioning.prompt import Prompt, load_prompt
from curation.dataset import Dataset
from curation.errors import ArgumentError
from tests.captioning.made_facts import TagMade, commit, cut_and_tagged, dataset_of

LISTENER = CaptionerIdentity(name="made", version=1, model="made/Model", sample_rate_hz=16_000, window_s=1.0)
LABELS = {
    "dog": ["dog barking", "playing bassoon"],
    "wrong": ["dog barking"],
    "rain": ["raining", "cat meowing"],
    "bare": [],
    "untagged": ["owl hooting"],
}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A dog that is heard, one that is not, rain, a clip without labels, and one that was not tagged."""
    made = dataset_of(tmp_path / "dataset", LABELS, {})
    cut_and_tagged(
        made,
        {
            "dog": {"Yip": 0.35, "Dog": 0.31, "Speech": 0.05},
            "wrong": {"Music": 0.9, "Dog": 0.09},
            "rain": {"Rain": 0.11, "Meow": 0.1},
            "bare": {"Rain": 0.9},
            "untagged": None,
        },
    )
    return made


def stage(dataset: Dataset, hints: Hints | None, prompt: str = "vggsound-caps-v2") -> Caption:
    asked = load_prompt(prompt)
    return Caption(captioner=LISTENER, prompt=asked, build=LabelCaptioner, media=dataset.media, hints=hints)


def asked(dataset: Dataset, of: Caption) -> dict[str, list[str]]:
    return {row["key"]: row["labels"] for row in dataset.pending(of).to_pylist()}


def test_only_labels_that_a_tag_confirms_are_hints(dataset: Dataset) -> None:
    assert asked(dataset, stage(dataset, confirmed_hints(dataset, "audioset"))) == {
        "dog": ["dog barking"],  # by a kind of it; AudioSet has no bassoon
        "wrong": [],  # 0.09 is just below
        "rain": ["raining"],  # 0.11 is just above, 0.1 is not
        "bare": [],
    }
    assert CONFIRMED_ABOVE == 0.1


def test_without_tags_every_label_is_a_hint(dataset: Dataset) -> None:
    assert asked(dataset, stage(dataset, None))["wrong"] == ["dog barking"]
    assert "untagged" in asked(dataset, stage(dataset, None))


def test_tags_are_those_that_are_strong_enough_best_first(dataset: Dataset) -> None:
    of = Caption(
        captioner=TagCaptioner().identity(),
        prompt=load_prompt("tags-v1"),
        build=TagCaptioner,
        media=dataset.media,
        hints=tag_hints(dataset, "audioset"),
    )
    assert asked(dataset, of) == {"dog": ["Yip", "Dog"], "wrong": ["Music"], "rain": [], "bare": ["Rain"]}
    assert SAID_ABOVE == 0.3
    outcomes = {one.key: one for one in of.open()(dataset.pending(of).to_pylist())}
    assert outcomes["dog"].values["made_from"] == "tags"
    assert "dog yipping" in outcomes["dog"].values["text"]
    assert outcomes["rain"].error is not None and outcomes["rain"].error.code == "NO_LABEL"


def test_tags_of_a_sound_that_was_cut_anew_do_not_count(dataset: Dataset) -> None:
    commit(dataset, TagMade(), {"dog": {"tags": [{"label": "Dog", "score": 0.9}]}}, dog="an older sound")
    assert "dog" not in asked(dataset, stage(dataset, confirmed_hints(dataset, "audioset")))


def test_hints_are_part_of_what_a_caption_is(dataset: Dataset) -> None:
    hints = confirmed_hints(dataset, "audioset")
    plain, hinted = stage(dataset, None), stage(dataset, hints)
    assert "hints" not in plain.identity()
    names = {one.folder_name for one in (plain, hinted, stage(dataset, dataclasses.replace(hints, above=0.2)))}
    assert len(names) == 3


def test_a_tag_that_changes_no_hint_asks_nothing_again(dataset: Dataset) -> None:
    def inputs() -> dict[str, str]:
        of = stage(dataset, confirmed_hints(dataset, "audioset"))
        return {row["key"]: row["input"] for row in dataset.pending(of).to_pylist()}

    before = inputs()
    commit(dataset, TagMade(), {"bare": {"tags": [{"label": "Wind", "score": 0.8}]}})
    commit(dataset, TagMade(), {"wrong": {"tags": [{"label": "Bark", "score": 0.8}]}})
    assert {key for key in before if inputs()[key] != before[key]} == {"wrong"}


def test_a_contradicted_label_never_reaches_the_question(dataset: Dataset) -> None:
    prompt = load_prompt("vggsound-caps-v2")
    hinted = asked(dataset, stage(dataset, confirmed_hints(dataset, "audioset")))
    assert "dog barking" in prompt.filled(hinted["dog"]) and "bassoon" not in prompt.filled(hinted["dog"])
    bare = prompt.filled(hinted["wrong"])
    assert bare.startswith("Describe in one or two") and "dog" not in bare and "filing" not in bare and "[[" not in bare


def test_tags_that_are_not_there_are_named(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"no tags 'mn10' .there are: audioset"):
        tag_hints(dataset, "mn10")
    with pytest.raises(ArgumentError, match="there are: none"):
        confirmed_hints(dataset_of(tmp_path / "other", {"a": []}, {}), "audioset")
    with pytest.raises(ArgumentError, match="not 1"):
        tag_hints(dataset, "audioset", above=1.0)


def test_a_prompt_of_ones_own_may_have_a_hint_too() -> None:
    prompt = Prompt(name="x", text="[[About {labels}. ]]What is heard?[[ Not only {labels}?]]")
    assert prompt.filled(("rain",)) == "About rain. What is heard? Not only rain?"
    assert prompt.filled(()) == prompt.filled((" _ ",)) == "What is heard?"
    assert prompt.filled(("[[x]]",)) == "About [[x]]. What is heard? Not only [[x]]?"
