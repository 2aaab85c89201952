"""The contrastive loss: its values where they are known, and who takes part."""

import math

import pytest
import torch

from models.audiox.distillation import Distillation, contrastive_loss

EVERYONE = torch.ones(4, dtype=torch.bool)


def test_vectors_that_say_nothing_cost_log_n_and_perfect_ones_nothing():
    teachers = torch.eye(4)
    same = contrastive_loss(torch.ones(4, 4), teachers, EVERYONE, 0.07)
    assert float(same) == pytest.approx(math.log(4), abs=1e-4)
    assert float(contrastive_loss(5 * teachers, teachers, EVERYONE, 0.01)) < 1e-6
    wrong = contrastive_loss(teachers.roll(1, 0), teachers, EVERYONE, 0.1)
    assert float(wrong) == pytest.approx(10 + math.log(1 + 3 * math.exp(-10)), rel=1e-3)


def test_samples_without_a_teacher_take_no_part():
    generator = torch.Generator().manual_seed(0)
    students, teachers = torch.randn(4, 6, generator=generator), torch.randn(4, 6, generator=generator)
    has = torch.tensor([True, False, True, True])
    alone = contrastive_loss(students[has], teachers[has], has[has], 0.07)
    teachers[1] = torch.nan
    torch.testing.assert_close(contrastive_loss(students, teachers, has, 0.07), alone)


def test_fewer_than_two_cost_nothing_and_still_have_a_gradient():
    students = torch.randn(4, 6, requires_grad=True)
    loss = contrastive_loss(students, torch.randn(4, 6), torch.tensor([True, False, False, False]), 0.07)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not students.grad.any()


def test_a_clip_drawn_twice_is_right_twice():
    teachers = torch.eye(4)[[0, 0, 1, 2]]
    loss = contrastive_loss(teachers, teachers, EVERYONE, 0.01)
    assert float(loss) == pytest.approx(math.log(2) / 2, abs=1e-4), "two of four cannot tell each other apart"


@pytest.mark.parametrize("settings", [{"weight": -1.0}, {"temperature": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=r"-1\.0|0\.0"):
        Distillation(**settings)
