"""The judge of sounds: shapes, and that its frozen opinion is its opinion."""

import copy

import pytest
import torch

from models.codecs.discriminator import DiscriminatorConfig, StftDiscriminator

CONFIG = DiscriminatorConfig(channels=2, windows_samples=(64, 32), filters=4)


@pytest.fixture
def judge():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return StftDiscriminator(CONFIG)


def sounds():
    return torch.rand(3, 2, 256, generator=torch.Generator().manual_seed(1)) - 0.5


def test_marks_and_features_of_each_resolution(judge):
    verdict = judge(sounds())
    # 256 samples are (256 - 64) / 16 + 1 frames of 33 bins, halved three times
    assert [tuple(marks.shape) for marks in verdict.marks] == [(3, 1, 13, 5), (3, 1, 29, 3)]
    assert [len(features) for features in verdict.features] == [5, 5]
    assert verdict.features[0][0].shape == (3, 4, 13, 33)


def test_frozen_weights_judge_alike_and_get_no_gradient(judge):
    waves = sounds().requires_grad_()
    frozen, free = judge.frozen(waves), judge(waves)
    for one, other in zip(frozen.marks, free.marks, strict=True):
        assert torch.equal(one, other)
    sum(marks.sum() for marks in frozen.marks).backward()
    assert all(parameter.grad is None for parameter in judge.parameters())
    assert float(waves.grad.abs().sum()) > 0


def test_it_can_be_copied_after_use(judge):
    judge(sounds())
    judge.frozen(sounds())
    assert torch.equal(copy.deepcopy(judge)(sounds()).marks[0], judge(sounds()).marks[0])


@pytest.mark.parametrize(
    "changes", [{"channels": 0}, {"filters": 0}, {"windows_samples": ()}, {"windows_samples": (8,)}]
)
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match="got"):
        DiscriminatorConfig(**changes)
