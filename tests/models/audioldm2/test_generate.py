"""Sounds from words: the pipeline of diffusers makes the same ones of the same folder."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from models.audioldm2 import AudioLDM2
from models.audioldm2.conditioning import resampled, vectors_within
from models.audiox.sampling import start_noise
from tests.models.audioldm2.tiny_audioldm2 import HEARING, LISTENER, tiny_audioldm2

TEXTS = ["a dog barks twice", "rain falls on the roof of the loud siren"]
HOW: dict[str, Any] = {"seconds": 0.5, "steps": 3, "seed": 3}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audioldm2")
    tiny_audioldm2(folder).save_pretrained(folder / "run" / "model")
    return folder / "run"


@pytest.fixture(scope="module")
def model(saved: Path) -> AudioLDM2:
    return AudioLDM2.from_pretrained(saved)


def farthest(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def test_diffusers_loads_the_folder_and_makes_the_same_sounds(saved: Path, model: AudioLDM2) -> None:
    from diffusers import AudioLDM2Pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = AudioLDM2Pipeline.from_pretrained(str(saved / "model"), low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    for number, text in enumerate(TEXTS):
        noise = start_noise([(3, number)], 1, (13, 32)).unflatten(2, (2, 16)).transpose(1, 2)
        theirs = torch.from_numpy(
            pipeline(text, audio_length_in_s=0.5, num_inference_steps=3, guidance_scale=3.5, latents=noise).audios
        )
        ours = model.generate([text], seconds=0.5, steps=3, seed=[(3, number)])[:, 0]
        assert ours.shape == theirs.shape == (1, 8_000)
        assert farthest(ours, theirs.clamp(-1, 1)) < 1e-3
        other = model.generate([text], seconds=0.5, steps=3, seed=[(3, number)], guidance=1.0)[:, 0]
        assert farthest(other, theirs) > 0.1, "guidance changes much more than what is allowed"


def test_a_sound_does_not_depend_on_the_others_nor_on_saving(tmp_path: Path, model: AudioLDM2) -> None:
    both = model.generate(TEXTS, **HOW)
    alone = model.generate(TEXTS[1:], seconds=0.5, steps=3, seed=[(3, 1)])
    assert farthest(both[1:], alone) < 1e-3 and farthest(both[:1], alone) > 0.1
    model.save_pretrained(tmp_path / "again")
    again = AudioLDM2.from_pretrained(tmp_path / "again")
    torch.testing.assert_close(again.generate(TEXTS, **HOW), both)
    assert again.hearing == HEARING and again.encoders.listener is not None


def test_a_sound_can_be_gone_on_from_and_stands_for_words(model: AudioLDM2) -> None:
    listener = model.encoders.listener
    assert listener is not None
    assert LISTENER.grid == (4, 8)
    assert [vectors_within(listener, samples, 2) for samples in (5_119, 5_120, 10_240, 99_999)] == [0, 4, 8, 8]
    assert vectors_within(listener, 5_120, 1) == 16
    wave = torch.sin(torch.arange(6_000) / 5) * 0.5
    words = model.generate(TEXTS[:1], **HOW)
    for text, audio in (([TEXTS[0]], [wave]), (None, [wave])):
        assert farthest(model.generate(text, audio=audio, **HOW), words) > 0.05
    short = model.generate(TEXTS[:1], audio=[wave[:1_000]], **HOW)
    assert farthest(short, words) < 1e-4, "what fills no window of the language of audio says nothing beside words"
    mixed = model.generate(TEXTS, audio=[wave, None], **HOW)
    assert farthest(mixed[1:], model.generate(TEXTS, **HOW)[1:]) < 1e-3


def test_of_candidates_the_nearest_to_the_words_is_kept(model: AudioLDM2) -> None:
    keys = [(3, 0), (3, 0, 1), (3, 0, 2)]
    each = torch.cat([model.generate(TEXTS[:1], seconds=0.5, steps=3, seed=[key]) for key in keys])  # type: ignore[list-item]
    near = model.encoders.agreement(each[:, 0], 16_000, TEXTS[:1] * 3)
    kept = model.generate(TEXTS[:1], candidates=3, **HOW)
    assert farthest(kept, each[int(near.argmax())][None]) < 1e-3
    assert len({round(float(one), 6) for one in near}) == 3, "they differ"


def test_another_rate_by_the_spectrum() -> None:
    time = torch.arange(1_600) / 16_000
    tone, wanted = (
        torch.sin(2 * torch.pi * 1_000 * time),
        torch.sin(2 * torch.pi * 1_000 * torch.arange(4_800) / 48_000),
    )
    torch.testing.assert_close(resampled(tone, 16_000, 48_000), wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(resampled(wanted, 48_000, 16_000), tone, atol=1e-4, rtol=0)
    assert resampled(tone, 16_000, 16_000) is tone


def test_prompts_and_numbers_out_of_range_are_refused(model: AudioLDM2) -> None:
    for text, how, message in (
        ("a dog", {}, "not one string"),
        ([], {}, "at least one prompt"),
        (TEXTS, {"audio": [None]}, "2 texts and 1 sounds"),
        (TEXTS, {"seconds": 0.0}, "seconds is 0"),
        (TEXTS, {"steps": 0}, "steps is 0"),
        (TEXTS, {"steps": 1_001}, "1000 levels"),
        (TEXTS, {"guidance": float("nan")}, "guidance is nan"),
        (TEXTS, {"candidates": 0}, "candidates is 0"),
        ([""], {"candidates": 2}, "ranked by their words"),
        (TEXTS, {"seed": [1]}, "1 seeds for 2 sounds"),
        (TEXTS[:1], {"audio": [torch.zeros(2, 5)]}, "a sound must be"),
    ):
        with pytest.raises(ValueError, match=message):
            model.generate(text, **{"steps": 1, "seconds": 0.2, **how})  # type: ignore[arg-type]


def test_parts_that_do_not_fit_and_folders_without_a_model_are_refused(tmp_path: Path, model: AudioLDM2) -> None:
    with pytest.raises(FileNotFoundError, match="holds no trained model"):
        AudioLDM2.from_pretrained(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableAudioPipeline"}')
    with pytest.raises(ValueError, match="is no AudioLDM2Pipeline with CLAP and T5"):
        AudioLDM2.from_pretrained(tmp_path)
    (tmp_path / "foundsound.json").write_text('{"format": "audioldm2 0"}')
    with pytest.raises(ValueError, match="format 'audioldm2 0'"):
        AudioLDM2.from_pretrained(tmp_path)
