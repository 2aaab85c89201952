"""Masks: as often and as long as asked, and a function of the generator alone."""

import numpy as np
import pytest

from models.audiox.masking import ConditionDrop, Masking, PatchMask, SpanMask, default_masking
from models.training.step import sample_rngs


def test_conditions_are_dropped_as_often_as_asked():
    drop = ConditionDrop(everything=0.1, text=0.2, frames=0.5, audio=0.3)
    text, frames, _ = np.array([drop.draw(rng) for rng in sample_rngs(0, 0, 8_000)]).T
    audio = np.array([drop.draw_audio(rng) for rng in sample_rngs(0, 0, 8_000)])
    assert text.mean() == pytest.approx(0.9 * 0.8, abs=0.015)
    assert frames.mean() == pytest.approx(0.9 * 0.5, abs=0.015)
    assert audio.mean() == pytest.approx(0.7, abs=0.015)
    assert (~text & ~frames).mean() == pytest.approx(0.1 + 0.9 * 0.2 * 0.5, abs=0.015)
    assert drop.draw(np.random.default_rng(1)) == drop.draw(np.random.default_rng(1))
    assert ConditionDrop(everything=1.0).draw(np.random.default_rng(1)) == (False, False, False)


def runs(shown):
    """How many runs of hidden elements there are."""
    return int((np.diff(np.concatenate([[True], shown, [True]]).astype(int)) == -1).sum())


@pytest.mark.parametrize("length", [1, 7, 100])
def test_a_span_is_one_run_of_a_length_within_its_bounds(length):
    mask = SpanMask(probability=1.0, least=0.7, most=0.9)
    drawn = [mask.draw(rng, length) for rng in sample_rngs(3, 0, 500)]
    hidden = [int((~shown).sum()) for shown in drawn]
    assert min(hidden) >= round(0.7 * length)
    assert max(hidden) <= round(0.9 * length)
    assert max(runs(shown) for shown in drawn) == 1
    if length == 100:
        assert np.mean(hidden) == pytest.approx(80, abs=1)
        first = [int(np.argmin(shown)) for shown in drawn]
        assert min(first) == 0, "the span reaches both ends"
        assert max(place + count for place, count in zip(first, hidden, strict=True)) == 100


def test_a_span_is_as_frequent_as_asked_and_may_be_everything():
    drawn = [SpanMask(probability=0.25, least=1.0).draw(rng, 10) for rng in sample_rngs(0, 0, 4_000)]
    assert np.mean([not shown.any() for shown in drawn]) == pytest.approx(0.25, abs=0.02)
    assert all(shown.all() or not shown.any() for shown in drawn)
    assert all(SpanMask().draw(rng, 10).all() for rng in sample_rngs(0, 0, 50)), "off by default"


def test_patches_are_hidden_at_the_same_places_over_neighbouring_pictures():
    mask = PatchMask(probability=1.0, least=0.25, most=0.5, least_time=0.4)
    for rng in sample_rngs(1, 0, 200):
        shown = mask.draw(rng, 10, 16)
        touched = ~shown.all(axis=1)
        assert 4 <= touched.sum() <= 10
        assert runs(~touched) == 1
        places = {tuple(row) for row in shown[touched]}
        assert len(places) == 1
        assert 4 <= sum(not one for one in places.pop()) <= 8


def test_masks_are_a_function_of_seed_and_row_alone():
    masking = default_masking()
    rngs = [sample_rngs(7, 12, 4)[2], sample_rngs(7, 14, 1)[0], sample_rngs(8, 14, 1)[0]]
    one, same, other = [(masking.text.draw(rng, 40), masking.audio.draw(rng, 40)) for rng in rngs]
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_published_span_of_sound_is_the_default():
    assert Masking().audio == SpanMask(probability=1.0, least=0.7, most=1.0)
    assert ConditionDrop().everything == 0.1


def test_the_larger_recipes_show_some_prompts_of_sound_whole():
    masks = [default_masking().audio.draw(rng, 40) for rng in sample_rngs(0, 0, 2_000)]
    shown = np.mean([mask.all() for mask in masks])
    assert shown == pytest.approx(0.2, abs=0.03)
    assert max(mask.sum() for mask in masks if not mask.all()) == 12


@pytest.mark.parametrize(
    ("make", "said"),
    [(lambda: ConditionDrop(text=1.5), r"ConditionDrop\.text is 1\.5"), (lambda: SpanMask(probability=-0.1), r"-0\.1"),
     (lambda: SpanMask(least=0.6, most=0.5), r"0\.6 is above most 0\.5"), (lambda: PatchMask(least_time=2), "2")],
)  # fmt: skip
def test_ratios_out_of_range_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
