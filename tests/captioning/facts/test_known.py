"""What a writer is told of a clip: every source, in its order, and nothing of another sound."""

from pathlib import Path

import pytest

from captioning.caption import Caption
from captioning.captioner import CaptionerIdentity
from captioning.facts.hints import Hints
from captioning.facts.known import LONGEST_LINE, experts, experts_of, facts_read, known_hints, spoken_of
from captioning.labels import LabelCaptioner
from captioning.prompt import Prompt, load_prompt
from curation.dataset import Dataset
from curation.errors import ArgumentError, ClipError
from tests.captioning.made_facts import CutMade, commit, cut_and_tagged, dataset_of, said

WRITER = CaptionerIdentity(name="made", version=1, model="made/Writer")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A dog of which people, two models and a tagger speak; rain with a wrong label; a clip that nobody knows."""
    labels = {"dog": ["dog barking"], "rain": ["cat meowing"], "bare": []}
    made = dataset_of(tmp_path / "dataset", labels, {"dog": ["A dog.", "Woof\nwoof."]})
    cut_and_tagged(made, {"dog": {"Bark": 0.9, "Dog": 0.8}, "rain": {"Rain": 0.9}, "bare": {"Rain": 0.1}})
    said(made, "one", {"dog": "A dog barks.", "rain": "Rain falls."})
    said(made, "two", {"dog": "x"}, structure='{"caption": "A dog barks twice.", "events": []}')
    return made


def stage(dataset: Dataset, hints: Hints) -> Caption:
    asked = load_prompt("augment-v1")
    return Caption(captioner=WRITER, prompt=asked, build=LabelCaptioner, media=dataset.media, hints=hints, called="w")


def lines(dataset: Dataset, hints: Hints) -> dict[str, list[str]]:
    return {row["key"]: row["labels"] for row in dataset.pending(stage(dataset, hints)).to_pylist()}


def test_every_source_has_its_lines(dataset: Dataset) -> None:
    found = lines(dataset, known_hints(dataset, tags="audioset"))
    assert found["dog"] == [
        "Filed by people under: dog barking",
        "Heard by a tagger: Bark; Dog",
        "Described by a person: A dog.",
        "Described by a person: Woof\nwoof.",
        "Described by one: A dog barks.",
        'Described by two: {"caption": "A dog barks twice.", "events": []}',
    ]
    assert found["rain"] == ["Heard by a tagger: Rain", "Described by one: Rain falls."]  # no cat is heard
    assert found["bare"] == []


def test_sources_can_be_chosen(dataset: Dataset) -> None:
    found = lines(dataset, known_hints(dataset, captions=["one"]))
    assert found["rain"] == ["Filed by people under: cat meowing", "Described by one: Rain falls."]
    assert lines(dataset, known_hints(dataset, captions=[]))["rain"] == ["Filed by people under: cat meowing"]


def test_a_clip_is_spoken_of_when_all_that_are_read_have_spoken(dataset: Dataset) -> None:
    everybody = known_hints(dataset, tags="audioset")
    assert sorted(facts_read(dataset, everybody).values()) == ["caption", "caption", "tag"]
    assert spoken_of(dataset, everybody).to_pylist() == ["dog"]
    assert sorted(spoken_of(dataset, known_hints(dataset, captions=["one"])).to_pylist()) == ["dog", "rain"]
    said(dataset, "two", {"rain": "Rain."})
    assert sorted(spoken_of(dataset, everybody).to_pylist()) == ["dog", "rain"]
    commit(dataset, CutMade(), {"new": {"audio_sha256": "sound-new"}})
    assert "new" not in spoken_of(dataset, everybody).to_pylist()
    assert "new" in spoken_of(dataset, known_hints(dataset, captions=[])).to_pylist()


def test_which_facts_were_read_is_known(dataset: Dataset) -> None:
    hints = known_hints(dataset, tags="audioset")
    folders = [dataset.current_facts("caption")[name].name for name in ("one", "two")]
    assert hints.identity()["facts"] == [*folders, dataset.current_facts("tag")["audioset"].name]
    fewer = known_hints(dataset, captions=["one"], tags="audioset")
    assert stage(dataset, hints).folder_name != stage(dataset, fewer).folder_name


def test_what_a_writer_wrote_is_no_fact(dataset: Dataset) -> None:
    written = stage(dataset, known_hints(dataset))
    dataset.facts(written).make_current(written)
    assert sorted(dataset.current_facts("caption")) == ["one", "two", "w"]
    assert sorted(experts(dataset)) == ["one", "two"]
    assert experts_of(dataset, "w") == ("one", "two") and experts_of(dataset, "one") == ()
    assert known_hints(dataset).identity() == known_hints(dataset, captions=["one", "two"]).identity()


def test_a_sentence_from_labels_or_tags_is_no_fact_unless_it_is_asked_for(dataset: Dataset) -> None:
    made = LabelCaptioner()
    of = Caption(
        captioner=made.identity(), prompt=load_prompt("sentence-v1"), build=LabelCaptioner, media=dataset.media
    )
    commit(dataset, of, {"rain": {"text": "The sound of cat meowing.", "further": []}})
    assert not any("cat" in line for line in lines(dataset, known_hints(dataset, tags="audioset"))["rain"])
    assert (
        "Described by label: The sound of cat meowing."
        in lines(dataset, known_hints(dataset, captions=["label"]))["rain"]
    )


def test_captions_of_an_older_sound_are_left_out(dataset: Dataset) -> None:
    commit(dataset, CutMade(), {"dog": {"audio_sha256": "another sound"}}, dog="again")
    assert "Described by one: A dog barks." not in lines(dataset, known_hints(dataset))["dog"]


def test_a_new_caption_asks_about_its_clip_again(dataset: Dataset) -> None:
    before = {row["key"]: row["input"] for row in dataset.pending(stage(dataset, known_hints(dataset))).to_pylist()}
    said(dataset, "one", {"rain": "Heavy rain falls."})
    after = {row["key"]: row["input"] for row in dataset.pending(stage(dataset, known_hints(dataset))).to_pylist()}
    assert {key for key in before if before[key] != after[key]} == {"rain"}


def test_a_long_line_is_cut(dataset: Dataset) -> None:
    said(dataset, "one", {"rain": "x" * 5_000})
    (line,) = (one for one in lines(dataset, known_hints(dataset))["rain"] if "by one" in one)
    assert len(line) == LONGEST_LINE


def test_facts_stand_in_the_prompt_a_line_each() -> None:
    prompt = Prompt(name="x", text="Known:\n{facts}")
    assert prompt.wants_labels and prompt.wants_facts
    assert prompt.filled(("A: b", "C:\nd {labels}")) == "Known:\n- A: b\n- C: d {labels}"
    with pytest.raises(ClipError, match="NO_LABEL"):
        prompt.filled(())


def test_what_is_not_there_is_named(dataset: Dataset) -> None:
    with pytest.raises(ArgumentError, match=r"no captions 'three' \(there are: one, two\)"):
        known_hints(dataset, captions=["three"])
    with pytest.raises(ArgumentError, match="no tags"):
        known_hints(dataset, tags="mn10")
