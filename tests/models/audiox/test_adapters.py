"""Adapters: sounds as conditions, hidden parts, few tokens of a video, and the fusion of what was read."""

from dataclasses import replace

import pytest
import torch

from models.audiox.adapters import Adapters, Conditioner
from models.audiox.conditioning import AudioPrompt
from models.audiox.fusion import FusionConfig

SIZES = {"text_width": 6, "frame_width": 48, "frame_patches": 4, "latent_channels": 4, "context_width": 12}


def conditioner(**changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Conditioner(Adapters(audio=True, **changes), **SIZES)
        for name, parameter in made.named_parameters():
            if "hidden" in name:
                torch.nn.init.normal_(parameter)
    return made.requires_grad_(False)


@pytest.fixture
def prompt():
    return AudioPrompt(
        latents_BFD=torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)),
        has_B=torch.tensor([True, False]),
        before_B=torch.tensor([False, False]),
    )


def heard(context):
    """The tokens of sound: the last six, of which the first is the empty one."""
    return context.tokens_BLC[:, -6:], context.mask_BL[:, -6:]


def test_a_sound_is_its_tokens_and_an_absent_one_the_empty_token(encoders, prompt):
    made = conditioner()
    features = replace(encoders.features(["rain", "a dog"], None, None), audio=prompt)
    tokens, mask = heard(made(features))
    assert mask.tolist() == [[False] + [True] * 5, [True] + [False] * 5]
    assert torch.equal(tokens[1, 0], made.audio.empty_C)
    without = made(replace(features, audio=None))
    assert without.tokens_BLC.shape[1] == made(features).tokens_BLC.shape[1] - 5
    assert without.mask_BL[:, -1].all()
    emptied = made(features.emptied())
    assert emptied.mask_BL.sum(1).tolist() == [3, 3]


def test_what_sounded_before_differs_by_one_vector(encoders, prompt):
    made = conditioner()
    features = replace(encoders.features(["rain", ""], None, None), audio=prompt)
    before = replace(features, audio=replace(prompt, before_B=torch.tensor([True, False])))
    difference = heard(made(before))[0] - heard(made(features))[0]
    torch.testing.assert_close(difference[0, 1:], made.audio.before_C.expand(5, -1))
    assert not difference[1].any()


def test_hidden_parts_are_one_vector_whatever_they_were(encoders, prompt, frames):
    made = conditioner()
    features = encoders.features(["a dog barks", "rain"], frames, None)
    hidden = replace(
        features,
        audio=replace(prompt, shown_BF=torch.tensor([[True, False, False, True, True]] * 2)),
        text_shown_BL=torch.tensor([[True, False, True], [False, True, True]]),
        frames_shown_BNP=torch.zeros(2, 3, 4, dtype=torch.bool),
    )
    latents = prompt.latents_BFD.clone()
    latents[:, 1:3] = 9.0
    text = features.text_BLT.clone()
    text[0, 1] = 9.0
    other = replace(
        hidden,
        audio=replace(hidden.audio, latents_BFD=latents),
        text_BLT=text,
        frames_BNPV=features.frames_BNPV + 3 * torch.rand_like(features.frames_BNPV),
    )
    context = made(hidden)
    assert torch.equal(made(other).tokens_BLC, context.tokens_BLC)
    assert torch.equal(context.mask_BL, made(replace(features, audio=prompt)).mask_BL), "hidden is not absent"
    assert torch.equal(context.tokens_BLC[0, 2], made.hidden_text_C)
    shown = replace(hidden, audio=replace(hidden.audio, shown_BF=None), text_shown_BL=None, frames_shown_BNP=None)
    torch.testing.assert_close(made(shown).tokens_BLC, made(replace(features, audio=prompt)).tokens_BLC)


def test_a_video_of_few_tokens(encoders, prompt, frames):
    made = conditioner(video_tokens=5, video_pictures=3, video_depth=1, video_heads=1)
    features = encoders.features(["rain", ""], frames, torch.tensor([True, False]))
    context = made(features)
    assert context.mask_BL.sum(1).tolist() == [1 + 5 + 1, 1 + 1 + 1]


def test_the_fusion_reads_every_modality(encoders, prompt, frames):
    fused = conditioner(fusion=FusionConfig(queries=2, layers=1, heads=2))
    fused.fusion.opening_M.fill_(4.0)
    features = replace(encoders.features(["rain", "dog"], frames, None), audio=prompt)
    other = replace(features, audio=replace(prompt, latents_BFD=-prompt.latents_BFD))
    change = (fused(other).tokens_BLC - fused(features).tokens_BLC)[0, 1].abs().max()
    assert float(change) > 1e-4, "the tokens of text hear of the sound"
    plain = conditioner()
    assert torch.equal(plain(other).tokens_BLC[0, 1], plain(features).tokens_BLC[0, 1])


@pytest.mark.parametrize(
    ("settings", "said"), [({"video_tokens": 0}, "video_tokens is 0"), ({"published": True}, "published adapters")]
)
def test_adapters_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Adapters(**settings)
