"""The closed-form codec of mel spectrograms: levels by arithmetic, patterns there and back, files."""

import math
from pathlib import Path

import pytest
import torch

from models.codecs.closed_form import MdctPca, MdctPcaConfig
from models.codecs.codec import Codec, load_codec
from models.codecs.mel_noise import MelNoise, MelNoiseConfig


def codec(**settings: int) -> MelNoise:
    return MelNoise(MelNoiseConfig(**settings))


def noise(seconds: float, seed: int = 1) -> torch.Tensor:
    """White noise of variance 1, (1, 1, T)."""
    return torch.randn(1, 1, round(16_000 * seconds), generator=torch.Generator().manual_seed(seed))


def pattern() -> torch.Tensor:
    """Levels that change smoothly along time and bands, (2, 16, 16)."""
    drawn = torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(2)) - 3
    return torch.nn.functional.interpolate(drawn, (16, 16), mode="bilinear")[:, 0]


def test_a_tenth_of_the_amplitude_is_ln_10_less() -> None:
    loud, soft = (codec().encode(gain * noise(2.56)) for gain in (0.1, 0.01))
    torch.testing.assert_close(loud - soft, torch.full_like(loud, math.log(10)), atol=1e-3, rtol=0)


def test_white_noise_is_a_latent_of_its_level_in_every_bin() -> None:
    made = codec()
    wanted_D = made.reference_M.reshape(16, 4).mean(1) + math.log(0.1)
    torch.testing.assert_close(made.encode(0.1 * noise(20.48))[0].mean(0), wanted_D, atol=0.05, rtol=0)


def test_patterns_come_back() -> None:
    error = codec().encode(codec().decode(pattern())) - pattern()
    assert float(error.square().mean().sqrt()) < 0.1 and float(error.abs().max()) < 0.5


def test_silence_comes_back_as_silence() -> None:
    latents = codec().encode(torch.zeros(1, 1, 40_960))
    torch.testing.assert_close(latents, torch.full((1, 16, 16), -8.0))
    assert not codec().decode(latents).any()


def test_equal_latents_are_equal_sounds_alone_or_beside_others() -> None:
    both = codec().decode(pattern())
    assert both.shape == (2, 1, 40_960)
    torch.testing.assert_close(codec().decode(pattern()[1:]), both[1:])


def test_an_unfinished_frame_is_filled() -> None:
    assert codec().encode(noise(0.2)).shape == (1, 2, 16)
    assert codec(frames=4, bands=8).encode(noise(0.2)).shape == (1, 5, 8)
    assert codec(frames=4, bands=8).latent_rate_hz == 25


def test_it_is_saved_and_found_by_its_format(tmp_path: Path) -> None:
    folder = codec(bands=8).save(tmp_path / "noise")
    found = load_codec(folder)
    assert isinstance(found, MelNoise) and isinstance(found, Codec)
    assert found.identity() == codec(bands=8).identity() != codec().identity()
    other = MdctPca.fit([noise(1)[0]], MdctPcaConfig(hop_samples=100, latent_channels=4)).save(tmp_path / "waves")
    assert isinstance(load_codec(other), MdctPca)
    with pytest.raises(ValueError, match="expected 'mel-noise 1'"):
        MelNoise.from_pretrained(other)


def test_bad_settings_and_shapes_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="bands is 7"):
        codec(bands=7)
    with pytest.raises(ValueError, match="frames is 3"):
        codec(frames=3)
    with pytest.raises(ValueError, match=r"\(B, 1, T\)"):
        codec().encode(torch.zeros(1, 2, 16_000))
    with pytest.raises(ValueError, match=r"\(B, F, 16\)"):
        codec().decode(torch.zeros(1, 4, 8))
