"""Prompts: any mix of them, checked, and sounds brought to the length that is made."""

import numpy as np
import pytest
import torch

from models.audiox.prompts import Prompts
from models.diffusion.latent_scale import LatentScale

PICTURE = np.zeros((4, 4, 3), np.uint8)
VIDEO = np.zeros((3, 4, 4, 3), np.uint8)
SOUND = np.zeros((1, 100), np.float32)


def test_kinds_are_brought_together():
    prompts = Prompts.of(
        ["rain", "", ""], {"video": [None, VIDEO, None], "image": [None, None, PICTURE], "music": [SOUND, None, None]},
        channels=2,
    )  # fmt: skip
    assert len(prompts) == 3
    assert [None if video is None else len(video) for video in prompts.videos] == [None, 3, 1]
    assert prompts.sounds[0].shape == (2, 100)
    assert prompts.are_before == [True, False, False]
    assert prompts.has_sound
    assert not prompts.part(slice(1, 3)).has_sound
    assert prompts.part(slice(1, 3)).texts == ["", ""]


def test_sounds_of_another_number_of_channels_are_averaged():
    stereo = np.stack([np.ones(5), 3 * np.ones(5)]).astype(np.float32)
    (sound,) = Prompts.of(None, {"audio": [stereo]}, channels=1).sounds
    assert sound.tolist() == [[2.0] * 5]


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        (["rain"], {"video": [VIDEO, VIDEO]}, "1 and 2 sounds"),
        (None, {"video": [VIDEO], "image": [PICTURE]}, "both video and image"),
        (None, {"audio": [SOUND], "music": [SOUND]}, "both audio and music"),
        (None, {"video": [VIDEO.astype(np.float32)]}, "a video is torch.float32"),
        (None, {"image": [VIDEO]}, "a picture is"),
        (None, {"audio": [SOUND[0]]}, r"a sound is torch.float32 \(100,\)"),
        (["rain"], {"gaps": [(0.0, 1.0)]}, "gaps are of audio"),
        (None, {"audio": [SOUND], "gaps": [(0.5, 0.5)]}, r"from 0\.5 to 0\.5"),
        (None, {"audio": [SOUND * np.nan]}, "not finite"),
        (None, {"music": [np.full((2, 9), 1e300)]}, "not finite"),
        (None, {"audio": []}, "no prompt"),
    ],
)
def test_prompts_that_make_no_sense_are_refused(text, more, said):
    with pytest.raises(ValueError, match=said):
        Prompts.of(text, more, channels=1)


def test_pictures_of_two_sizes_are_refused(encoders):
    prompts = Prompts.of(None, {"video": [VIDEO, np.zeros((2, 8, 8, 3), np.uint8)]}, channels=1)
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(8, 8\)"):
        prompts.features(encoders, prompts.latents(None, None, 3, device="cpu"), reads_sound=False)


class Ramp:
    """A codec whose latent frame is the mean of its 10 samples."""

    channels, hop_samples, latent_channels, latent_rate_hz = 1, 10, 1, 10.0

    def encode(self, wave_BCT):
        return wave_BCT[:, 0].reshape(len(wave_BCT), -1, 10).mean(-1, keepdim=True)


def test_what_is_heard_is_aligned_at_its_beginning_and_what_was_before_at_its_end():
    wave = torch.arange(35, dtype=torch.float32)[None]
    prompts = Prompts.of(None, {"audio": [wave, None], "music": [None, wave]}, channels=1)
    latents = prompts.latents(Ramp(), LatentScale(1), 4, device=torch.device("cpu"))
    heard, before = latents.prompt.latents_BFD[..., 0].tolist()
    assert heard == pytest.approx([4.5, 14.5, 24.5, 16.0])
    assert before == pytest.approx([1.0, 9.5, 19.5, 29.5])
    assert latents.prompt.before_B.tolist() == [False, True]
    assert latents.known is None
    short = prompts.latents(Ramp(), LatentScale(1), 2, device=torch.device("cpu"))
    assert short.prompt.latents_BFD[1, :, 0].tolist() == pytest.approx([19.5, 29.5])


def test_all_but_the_gaps_and_what_was_never_there_is_kept():
    wave = torch.zeros(1, 75)
    prompts = Prompts.of(None, {"audio": [wave], "gaps": [(0.15, 0.4)]}, channels=1)
    latents = prompts.latents(Ramp(), LatentScale(1), 10, device=torch.device("cpu"))
    assert latents.known.is_known_BF.int().tolist() == [[1, 0, 0, 0, 1, 1, 1, 0, 0, 0]]
    assert torch.equal(latents.prompt.shown_BF, latents.known.is_known_BF)


def test_known_frames_get_the_sound_itself_back_with_a_fade_inside_them():
    """Frames of 10 samples at 1,000 Hz, so a fade of 10: of 1 over 0, from 1/10 beside the gap."""
    codec = Ramp()
    codec.sample_rate_hz, codec.latent_rate_hz = 1000, 100.0
    prompts = Prompts.of(None, {"audio": [torch.ones(1, 75)], "gaps": [(0.022, 0.035)]}, channels=1)
    latents = prompts.latents(codec, LatentScale(1), 10, device=torch.device("cpu"))
    made = latents.put_back(torch.zeros(1, 1, 100), codec)[0, 0]
    expected = torch.zeros(100)
    rising = torch.arange(1, 11) / 10
    expected[:20], expected[40:70] = 1, 1  # frames 2 and 3 are touched by the gap, 7 to 9 have no sound
    expected[10:20], expected[40:50], expected[60:70] = rising.flip(0), rising, rising.flip(0)
    torch.testing.assert_close(made, expected)


def test_a_sound_that_is_only_a_prompt_is_not_put_back():
    prompts = Prompts.of(None, {"audio": [torch.ones(1, 75)]}, channels=1)
    latents = prompts.latents(Ramp(), LatentScale(1), 10, device=torch.device("cpu"))
    assert not latents.put_back(torch.zeros(1, 1, 100), Ramp()).any()
