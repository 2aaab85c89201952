"""The closed-form codec: exact when nothing is dropped, standardised, deterministic, good on real sound."""

import csv
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from models.codecs.closed_form import MdctPca, MdctPcaConfig

REAL_DATA = Path(os.environ.get("FOUNDSOUND_REAL_DATA", "../shared/data"))
SMALL = MdctPcaConfig(hop_samples=64, latent_channels=16)


def pink(count, channels=1, samples=64 * 50, seed=0):
    """Sounds with more energy at low frequencies, so that components have an order."""
    noise = np.random.default_rng(seed).standard_normal((count, channels, samples))
    spectrum = np.fft.rfft(noise) / np.sqrt(1 + np.arange(samples // 2 + 1))
    waves = np.fft.irfft(spectrum, samples)
    return torch.from_numpy((0.1 * waves / waves.std()).astype(np.float32))


def si_sdr_db(reference, estimate):
    """Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, equation 3)."""
    target = (reference * estimate).sum() / reference.square().sum() * reference
    return float(10 * torch.log10(target.square().sum() / (estimate - target).square().sum()))


@pytest.mark.parametrize("exponent", [1.0, 0.6])
@pytest.mark.parametrize("channels", [1, 2])
def test_exact_with_all_components(exponent, channels):
    config = MdctPcaConfig(hop_samples=64, channels=channels, latent_channels=64 * channels, exponent=exponent)
    codec, unseen_BCT = MdctPca.fit(pink(20, channels), config), pink(3, channels, seed=1)
    torch.testing.assert_close(codec.decode(codec.encode(unseen_BCT)), unseen_BCT, atol=1e-5, rtol=0)


def test_latents_of_the_fitting_sounds_are_standardised():
    waves_BCT = pink(20)
    latents = MdctPca.fit(waves_BCT, SMALL).encode(waves_BCT).flatten(0, 1)
    torch.testing.assert_close(latents.mean(dim=0), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.var(dim=0, correction=0), torch.ones(16), atol=1e-3, rtol=0)


def test_more_channels_keep_more():
    waves_BCT, unseen_BCT = pink(20), pink(3, seed=1)
    kept = []
    for latent_channels in (8, 16, 32):
        codec = MdctPca.fit(waves_BCT, MdctPcaConfig(hop_samples=64, latent_channels=latent_channels))
        kept.append(si_sdr_db(unseen_BCT, codec.decode(codec.encode(unseen_BCT))))
    assert kept == sorted(kept)
    assert kept[-1] > kept[0] + 3


def test_fit_is_deterministic_with_fixed_signs():
    first, second = MdctPca.fit(pink(5), SMALL), MdctPca.fit(iter(pink(5)), SMALL)
    assert first.identity() == second.identity()
    peaks = first.components.gather(1, first.components.abs().argmax(dim=1, keepdim=True))
    assert torch.all(peaks > 0)
    torch.testing.assert_close(first.components @ first.components.T, torch.eye(16), atol=1e-5, rtol=0)
    assert torch.all(first.std[:-1] >= first.std[1:])


def test_unfinished_frames_are_filled_and_rates_are_derived():
    codec = MdctPca.fit(pink(5), SMALL)
    assert (codec.sample_rate_hz, codec.channels, codec.hop_samples, codec.latent_channels) == (16_000, 1, 64, 16)
    assert codec.latent_rate_hz == 250.0
    latents = codec.encode(torch.zeros(2, 1, 65))
    assert latents.shape == (2, 2, 16)
    assert codec.decode(latents).shape == (2, 1, 128)


def test_silence_stays_silent_and_gradients_are_finite():
    codec = MdctPca.fit(pink(5), MdctPcaConfig(hop_samples=64, latent_channels=64))
    silence = torch.zeros(1, 1, 640, requires_grad=True)
    sound = codec.decode(codec.encode(silence))
    assert float(sound.detach().abs().max()) < 1e-6
    (sound + silence).sum().backward()
    assert bool(silence.grad.isfinite().all())
    latents = torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    codec.decode(latents).square().sum().backward()
    assert bool(latents.grad.isfinite().all()) and float(latents.grad.abs().sum()) > 0


def test_sounds_without_variation_do_not_break_the_fit():
    codec = MdctPca.fit([torch.zeros(1, 640)], SMALL)
    assert bool(codec.encode(pink(1)).isfinite().all())
    assert torch.all(codec.encode(torch.zeros(1, 1, 640)) == 0)


def test_save_and_load(tmp_path):
    codec, wave_BCT = MdctPca.fit(pink(5), SMALL), pink(2, seed=1)
    loaded = MdctPca.from_pretrained(codec.save(tmp_path / "new" / "codec"))
    assert loaded.identity() == codec.identity()
    assert loaded.config == codec.config
    assert torch.equal(loaded.encode(wave_BCT), codec.encode(wave_BCT))


def test_files_that_do_not_fit_together_are_refused(tmp_path):
    MdctPca.fit(pink(5), SMALL).save(tmp_path)
    fields = json.loads((tmp_path / "codec.json").read_text())
    (tmp_path / "codec.json").write_text(json.dumps({**fields, "latent_channels": 15}))
    with pytest.raises(ValueError, match="components"):
        MdctPca.from_pretrained(tmp_path)
    (tmp_path / "codec.json").write_text(json.dumps({**fields, "format": "mdct-pca 9"}))
    with pytest.raises(ValueError, match="mdct-pca 9"):
        MdctPca.from_pretrained(tmp_path)


def test_wrong_shapes_are_refused():
    codec = MdctPca.fit(pink(5), SMALL)
    for wrong in (torch.zeros(1, 2, 64), torch.zeros(1, 64), torch.zeros(1, 1, 0)):
        with pytest.raises(ValueError, match="encode needs"):
            codec.encode(wrong)
    with pytest.raises(ValueError, match="decode needs"):
        codec.decode(torch.zeros(1, 3, 15))
    with pytest.raises(ValueError, match="fitting needs sounds"):
        MdctPca.fit([torch.zeros(2, 640)], SMALL)
    with pytest.raises(ValueError, match="two frames"):
        MdctPca.fit([torch.zeros(1, 100)], SMALL)


@pytest.mark.parametrize(
    "changes",
    [{"hop_samples": 63}, {"latent_channels": 401}, {"exponent": 1.5}, {"channels": 0}, {"sample_rate_hz": 0}],
)
def test_config_names_the_bad_value(changes):
    with pytest.raises(ValueError, match=str(next(iter(changes.values())))):
        MdctPcaConfig(**changes)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="real data is not here (FOUNDSOUND_REAL_DATA)")
def test_keeps_ten_decibels_of_unseen_recordings():
    with (REAL_DATA / "media/sounds/esc50.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sources = sorted({row["src_file"] for row in rows})
    held_out = set(sources[::4])
    waves = {True: [], False: []}
    for row in rows:
        path = (REAL_DATA / "media/sounds/esc50" / row["filename"]).with_suffix(".flac")
        sound, rate_hz = soundfile.read(path, dtype="float32")
        wave = soxr.resample(sound, rate_hz, 16_000)[:64_000]
        if np.sqrt(np.mean(wave**2)) > 1e-3:
            waves[row["src_file"] in held_out].append(torch.from_numpy(wave)[None])
    start = time.process_time()
    codec = MdctPca.fit(waves[False], MdctPcaConfig(hop_samples=400, latent_channels=128))
    assert time.process_time() - start < 5
    scores = []
    for wave_CT in waves[True]:
        whole_BCT = wave_CT[None, :, : wave_CT.shape[1] // 400 * 400]
        scores.append(si_sdr_db(whole_BCT, codec.decode(codec.encode(whole_BCT))))
    assert np.median(scores) > 10
