"""Training a tiny CLAP: the loss by arithmetic, the loop by what it learns."""

import math

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from models.encoders.clap import ClapEncoder
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap, contrastive_loss, fit_tiny_clap

TINY = TinyClapConfig(
    window_s=1, mel_bins=32, audio_width=16, text_width=32, text_layers=1, dimension=16, batch_clips=16
)
CAPTIONS = [["a high tone", "a high whistle sounds"], ["a low tone", "a low hum sounds"], ["noise", "a hiss of noise"]]


def corpus(clips, seed):
    """High tones, low tones and noise in turn, each as (wave, kind)."""
    sounds = []
    for clip in range(clips):
        rng, kind = np.random.default_rng([seed, clip]), clip % 3
        time_s = np.arange(16_000) / 16_000
        hz = rng.uniform(*((2_000, 3_000), (150, 250), (1, 2))[kind])
        wave = rng.standard_normal(16_000) if kind == 2 else np.sin(2 * np.pi * hz * time_s)
        sounds.append(((0.3 * wave * rng.uniform(0.2, 1)).astype(np.float32), kind))
    return sounds


def fitted(steps, seed=0, **arguments):
    sounds = corpus(24, seed=5)
    captions = [CAPTIONS[kind] for _, kind in sounds]
    kinds = [kind for _, kind in sounds]
    waves = [wave for wave, _ in sounds]
    return fit_tiny_clap(waves, captions, groups=kinds, config=TINY, steps=steps, seed=seed, **arguments)


def test_loss_of_equal_vectors_is_the_logarithm_of_the_batch():
    same_BD = torch.tensor([[1.0, 0.0]]).repeat(8, 1)
    assert float(contrastive_loss(same_BD, same_BD, torch.tensor(5.0))) == pytest.approx(math.log(8), abs=1e-6)


def test_loss_of_two_pairs_by_hand():
    eye = torch.eye(2)
    # Each row has logits 3 and 0: -ln(e^3 / (e^3 + 1)).
    assert float(contrastive_loss(eye, eye, torch.tensor(3.0))) == pytest.approx(math.log(1 + math.exp(-3)), abs=1e-6)


def test_loss_is_symmetric_and_falls_when_pairs_agree():
    generator = torch.Generator().manual_seed(0)
    sound_BD, text_BD = (torch.nn.functional.normalize(torch.randn(6, 4, generator=generator), dim=1) for _ in "ab")
    scale = torch.tensor(10.0)
    forth = contrastive_loss(sound_BD, text_BD, scale)
    torch.testing.assert_close(forth, contrastive_loss(text_BD, sound_BD, scale))
    assert contrastive_loss(sound_BD, sound_BD, scale) < forth


def test_members_of_a_group_are_not_pushed_apart():
    sound_BD = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    group_B = torch.tensor([7, 7, 1])
    scale = torch.tensor(20.0)
    # Equal vectors within a group of two are the optimum: the entropy of an even choice of two.
    loss = contrastive_loss(sound_BD, sound_BD, scale, group_B)
    assert float(loss) == pytest.approx(2 / 3 * math.log(2), abs=1e-4)
    apart = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    assert contrastive_loss(apart, apart, scale, group_B) > loss
    assert contrastive_loss(apart, apart, scale) < contrastive_loss(sound_BD, sound_BD, scale)


def test_learns_three_kinds_of_sound(tmp_path):
    losses = {}
    encoder = ClapEncoder.from_pretrained(fitted(60, on_step=losses.__setitem__).save(tmp_path))
    assert list(losses) == list(range(1, 61))
    assert losses[60] < losses[1] - 0.5
    unseen = corpus(15, seed=6)
    sound_BD = encoder.embed_sound(torch.from_numpy(np.stack([wave for wave, _ in unseen])))
    text_BD = encoder.embed_text(["a high sound", "a low sound", "hiss"])
    kinds = np.array([kind for _, kind in unseen])
    best = (text_BD @ sound_BD.T).topk(5, dim=1).indices.numpy()
    precision = (kinds[best] == np.arange(3)[:, None]).mean()
    assert precision >= 0.9


def test_same_seed_same_weights_and_no_global_generator_moved():
    before = torch.get_rng_state()
    first, again, other = fitted(2), fitted(2), fitted(2, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    pairs = list(zip(first.model.parameters(), again.model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    weights = "text_projection.linear1.weight"
    assert not torch.equal(first.model.state_dict()[weights], other.model.state_dict()[weights])


def test_saved_tokenizer_gives_the_same_ids(tmp_path):
    clap = build_tiny_clap(["a dog barks", "Rain on a roof"], TINY)
    loaded = AutoTokenizer.from_pretrained(clap.save(tmp_path))
    for text in ("a dog barks", "rain ON a roof", "something never seen: ü 日本"):
        ids = loaded(text)["input_ids"]
        assert ids == clap.tokenizer(text)["input_ids"]
        assert (ids[0], ids[-1]) == (0, 2)
        assert loaded.decode(ids, skip_special_tokens=True).strip() == text.lower()
    assert len(loaded) == clap.model.config.text_config.vocab_size
    assert loaded.pad_token_id == clap.model.config.text_config.pad_token_id == 1


@pytest.mark.parametrize(("rate_hz", "window_s", "f_max_hz"), [(16_000, 4, 7_600.0), (48_000, 10, 14_000.0)])
def test_other_rates_and_windows_work(tmp_path, rate_hz, window_s, f_max_hz):
    config = TinyClapConfig(sample_rate_hz=rate_hz, window_s=window_s, f_max_hz=f_max_hz)
    encoder = ClapEncoder.from_pretrained(build_tiny_clap(["rain"], config).save(tmp_path))
    assert encoder.sample_rate_hz == rate_hz
    wave_BT = torch.rand(1, rate_hz, generator=torch.Generator().manual_seed(0)) - 0.5
    assert encoder.embed_sound(wave_BT).shape == (1, config.dimension)


def test_a_corpus_that_does_not_fit_together_is_refused():
    wave = np.zeros(100, dtype=np.float32)
    with pytest.raises(ValueError, match="at least two"):
        fit_tiny_clap([wave], [["x"]], config=TINY, steps=1)
    with pytest.raises(ValueError, match="2 sounds, 1 lists"):
        fit_tiny_clap([wave, wave], [["x"]], config=TINY, steps=1)
    with pytest.raises(ValueError, match="sound 1 has no caption"):
        fit_tiny_clap([wave, wave], [["x"], []], config=TINY, steps=1)
    with pytest.raises(ValueError, match="2 sounds, 3 groups"):
        fit_tiny_clap([wave, wave], [["x"], ["y"]], groups=[1, 2, 3], config=TINY, steps=1)
    with pytest.raises(ValueError, match="steps"):
        fit_tiny_clap([wave, wave], [["x"], ["y"]], config=TINY, steps=0)
    with pytest.raises(ValueError, match="none"):
        build_tiny_clap([], TINY)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_clips": 1},
        {"vocabulary": 100},
        {"word_dropout": 1.0},
        {"audio_width": 20},
        {"mel_bins": 40},
        {"f_max_hz": 9e3},
    ],
)
def test_config_names_the_bad_value(changes):
    with pytest.raises(ValueError, match=str(next(iter(changes.values())))):
        TinyClapConfig(**changes)
