"""Conditions: absent ones are an empty token and nothing else; pictures keep their place and time."""

import numpy as np
import pytest
import torch

from models.audiox.adapters import Adapters, Conditioner
from models.audiox.conditioning import FramePatches, evenly_spaced


@pytest.fixture
def conditioner():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"text_width": 6, "frame_width": 48, "frame_patches": 4, "latent_channels": 4, "context_width": 12}
        return Conditioner(Adapters(), **sizes).requires_grad_(False)


def real_tokens(context, row):
    return context.tokens_BLC[row][context.mask_BL[row]]


def test_features_are_padded_and_masked(encoders, frames):
    features = encoders.features(["a dog barks", "rain"], frames, torch.tensor([True, False]))
    assert features.text_BLT.shape == (2, 3, 6)
    assert features.text_mask_BL.tolist() == [[True] * 3, [True, False, False]]
    assert torch.equal(features.text_BLT[1, 1:], torch.zeros(2, 6)), "the encoder's own padding does not come through"
    assert features.frames_BNPV.shape == (2, 3, 4, 48)
    assert features.has_text_B.tolist() == [True, True]
    assert features.has_frames_B.tolist() == [True, False]


def test_a_text_is_the_same_alone_and_beside_others(encoders):
    alone = encoders.features(["rain"], None, None).text_BLT[0, :1]
    beside = encoders.features(["a dog barks", "rain"], None, None).text_BLT[1, :1]
    assert torch.equal(alone, beside)


def test_each_sample_has_its_tokens_or_the_empty_one(encoders, conditioner, frames):
    features = encoders.features(["a dog barks", ""], frames, torch.tensor([False, True]))
    context = conditioner(features)
    assert context.mask_BL.sum(1).tolist() == [3 + 1, 1 + 3 * 4]
    assert torch.equal(real_tokens(context, 0)[-1], conditioner.empty_frames_C)
    assert torch.equal(real_tokens(context, 1)[0], conditioner.empty_text_C)


def test_emptied_features_are_the_two_empty_tokens_whatever_was_there(encoders, conditioner, frames):
    context = conditioner(encoders.features(["a dog barks", "rain"], frames, None).emptied())
    empty = torch.stack([conditioner.empty_text_C, conditioner.empty_frames_C])
    for row in range(2):
        assert torch.equal(real_tokens(context, row), empty)


def test_keeping_takes_away_only(encoders, frames):
    features = encoders.features(["a dog barks", ""], frames, torch.tensor([True, True]))
    kept = features.keeping(torch.tensor([True, True]), torch.tensor([False, True]))
    assert kept.has_text_B.tolist() == [True, False], "what is absent does not come back"
    assert kept.has_frames_B.tolist() == [False, True]


def test_pictures_differ_by_time_and_patches_by_place(conditioner, encoders):
    grey = torch.full((1, 3, 8, 8, 3), 100, dtype=torch.uint8)
    tokens = conditioner(encoders.features([""], grey, None)).tokens_BLC[0, -12:].reshape(3, 4, 12)
    for one, other in ((tokens[0, 0], tokens[1, 0]), (tokens[1, 0], tokens[2, 0]), (tokens[0, 0], tokens[0, 1])):
        assert float((one - other).abs().max()) > 1e-3


def test_patches_are_the_pixels_in_reading_order():
    values = np.zeros((1, 1, 4, 4, 3), dtype=np.uint8)
    values[0, 0, :2, 2:] = 255
    patches = FramePatches(pictures=1, side_px=4, patch_px=2).frame_features(torch.from_numpy(values))
    assert patches.shape == (1, 1, 4, 12)
    assert patches.mean(-1).flatten().tolist() == pytest.approx([-1, 1, -1, -1])


def test_shrinking_a_picture_takes_means():
    values = torch.zeros(1, 1, 8, 8, 3, dtype=torch.uint8)
    values[..., ::2, :] = 255
    patches = FramePatches(pictures=1, side_px=4, patch_px=4).frame_features(values)
    torch.testing.assert_close(patches, torch.zeros(1, 1, 1, 48), atol=1e-6, rtol=0)


def test_pictures_are_picked_evenly_from_first_to_last():
    frames = torch.arange(9).reshape(1, 9, 1, 1, 1).expand(1, 9, 1, 1, 3)
    assert evenly_spaced(frames, 3)[0, :, 0, 0, 0].tolist() == [0, 4, 8]
    assert evenly_spaced(frames, 20).shape[1] == 9


def test_texts_and_pictures_of_different_number_are_refused(encoders, frames):
    with pytest.raises(ValueError, match="1 texts and pictures of 2"):
        encoders.features(["a"], frames, None)


def test_patches_that_do_not_fill_the_picture_are_refused():
    with pytest.raises(ValueError, match="30 is not a whole number of patches of 16"):
        FramePatches(side_px=30)
