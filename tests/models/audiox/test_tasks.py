"""Tasks: every published type has one, and a mixture draws only what a row has the conditions for."""

from collections import Counter

import numpy as np
import pytest

from models.audiox.tasks import CONDITIONS, Task, TaskMix, check_types, task_of
from models.training.step import sample_rngs


@pytest.mark.parametrize(
    ("type_", "task"),
    [
        ("text_condition-audio", Task(text=True)),
        ("video_condition-music", Task(video=True, is_music=True)),
        ("text+video_condition-audio", Task(text=True, video=True)),
        ("image_condition-audio", Task(video=True, is_still=True)),
        ("audio_condition-audio", Task(text=True, audio=True)),
        ("audio_condition-music", Task(text=True, audio=True, is_music=True)),
        ("uni_condition-audio", Task(text=True, video=True, audio=True)),
    ],
)
def test_a_type_says_what_is_shown(type_, task):
    assert task_of(type_) == task


@pytest.mark.parametrize("type_", ["", "text", "smell_condition-audio", "text_condition-speech"])
def test_an_unknown_type_is_refused(type_):
    with pytest.raises(ValueError, match=type_ or "type ''"):
        task_of(type_)


def kind_of(task):
    return (task.text, task.video, task.is_still, task.audio)


def test_a_mixture_draws_by_weight():
    mix = TaskMix(weights={"text": 1, "video": 2, "audio": 1}, music=0.25)
    drawn = [mix.draw(rng, has_text=True, has_video=True) for rng in sample_rngs(0, 0, 8_000)]
    counts = Counter(kind_of(task) for task in drawn)
    assert counts[(True, False, False, False)] / 8_000 == pytest.approx(0.25, abs=0.02)
    assert counts[(False, True, False, False)] / 8_000 == pytest.approx(0.5, abs=0.02)
    assert np.mean([task.is_music for task in drawn]) == pytest.approx(0.25, abs=0.02)


def test_a_row_never_trains_what_it_lacks():
    mix = TaskMix(weights=dict.fromkeys(CONDITIONS, 1.0))
    for rng in sample_rngs(0, 0, 300):
        task = mix.draw(rng, has_text=False, has_video=True)
        assert task.video or task.audio
    for rng in sample_rngs(0, 0, 300):
        task = mix.draw(rng, has_text=True, has_video=False)
        assert not task.video
    nothing = [TaskMix(weights={"text": 1}).draw(rng, has_text=False, has_video=True) for rng in sample_rngs(0, 0, 5)]
    assert nothing == [Task()] * 5


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"weights": {"smell": 1}}, "smell"), ({"weights": {"text": -1}}, "-1"), ({"weights": {}}, "not all 0"),
     ({"weights": {"text": 1}, "music": 2}, "2")],
)  # fmt: skip
def test_mixtures_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        TaskMix(**settings)


def test_types_that_a_network_cannot_train_are_named_before_it_begins():
    check_types({"text_condition-audio", "video_condition-music"}, reads_sound=False)
    check_types({"uni_condition-music"}, reads_sound=True)
    with pytest.raises(ValueError, match="'uni_condition-music' have a prompt of sound, which this network"):
        check_types({"text_condition-audio", "uni_condition-music"}, reads_sound=False)
    with pytest.raises(ValueError, match="type 'song' is unknown"):
        check_types({"song"}, reads_sound=True)
