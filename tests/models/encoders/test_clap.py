"""The frozen CLAP encoder, on tiny models written to disk."""

import hashlib
import json

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

from models.encoders.clap import SOUNDS_AT_ONCE_CPU, ClapEncoder
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from models.encoders.clap_mel import int16_round_trip

TEXTS = ["a dog barks", "rain", "a tone that climbs from low to high, again and again"]
CONFIG = TinyClapConfig(window_s=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny_clap(TEXTS, CONFIG, seed=3).save(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="module")
def encoder(folder):
    return ClapEncoder.from_pretrained(folder)


def sounds(count, samples):
    return torch.from_numpy(np.random.default_rng(0).uniform(-0.5, 0.5, (count, samples)).astype(np.float32))


def test_properties_come_from_the_saved_files(encoder):
    assert (encoder.sample_rate_hz, encoder.window_s) == (16_000, 2.0)
    assert (encoder.dimension, encoder.text_width) == (CONFIG.dimension, CONFIG.text_width)


def test_vectors_have_length_one_and_repeat_bit_for_bit(encoder):
    wave_BT = sounds(3, 20_000)
    for embed, what in ((encoder.embed_sound, wave_BT), (encoder.embed_text, TEXTS)):
        vectors = embed(what)
        assert vectors.shape == (3, CONFIG.dimension)
        assert vectors.dtype == torch.float32
        assert not vectors.requires_grad
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
        assert torch.equal(vectors, embed(what))


def test_batch_equals_one_by_one(encoder):
    wave_BT = sounds(SOUNDS_AT_ONCE_CPU + 2, 32_000)
    one_by_one = torch.cat([encoder.embed_sound(wave_T[None]) for wave_T in wave_BT])
    torch.testing.assert_close(encoder.embed_sound(wave_BT), one_by_one, atol=1e-5, rtol=0)
    one_by_one = torch.cat([encoder.embed_text([text]) for text in TEXTS])
    torch.testing.assert_close(encoder.embed_text(TEXTS), one_by_one, atol=1e-5, rtol=0)


def test_different_inputs_differ(encoder):
    assert not torch.allclose(*encoder.embed_text(TEXTS[:2]))
    assert not torch.allclose(*encoder.embed_sound(sounds(2, 20_000)))


def test_equals_transformers_own_path(encoder, folder):
    model, extractor = ClapModel.from_pretrained(folder).eval(), ClapFeatureExtractor.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    wave_BT = sounds(2, 12_345)
    features = extractor(list(int16_round_trip(wave_BT).numpy()), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        sound_BD = model.get_audio_features(**features).pooler_output
        tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
        text_BD = model.get_text_features(tokens["input_ids"], tokens["attention_mask"]).pooler_output
    torch.testing.assert_close(encoder.embed_sound(wave_BT), sound_BD, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.embed_text(TEXTS), text_BD, atol=1e-5, rtol=0)


def test_a_model_with_fusion_embeds_short_sounds_without_chance(tmp_path):
    clap = build_tiny_clap(TEXTS, CONFIG)
    settings = clap.model.config
    settings.audio_config.enable_fusion, settings.audio_config.fusion_type = True, "aff_2d"
    model = ClapModel(settings).eval()
    extractor = ClapFeatureExtractor(**{**clap.extractor.to_dict(), "truncation": "fusion"})
    for part in (model, clap.tokenizer, extractor):
        part.save_pretrained(tmp_path)
    wave_BT = sounds(2, 10_000)
    features = extractor(list(int16_round_trip(wave_BT).numpy()), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        never_longer = torch.zeros_like(features["is_longer"])
        expected = model.get_audio_features(features["input_features"], is_longer=never_longer).pooler_output
    ours = ClapEncoder.from_pretrained(tmp_path).embed_sound(wave_BT)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_text_tokens_are_masked_and_do_not_depend_on_the_batch(encoder):
    hidden_BLW, mask_BL = encoder.text_tokens(TEXTS)
    assert hidden_BLW.shape == (*mask_BL.shape, CONFIG.text_width)
    assert mask_BL.dtype == torch.bool
    assert mask_BL.all(dim=1).sum() == 1
    assert torch.all(hidden_BLW[~mask_BL] == 0)
    alone_LW = encoder.text_tokens([TEXTS[1]])[0][0]
    torch.testing.assert_close(hidden_BLW[1, : len(alone_LW)], alone_LW, atol=1e-5, rtol=0)


def test_long_text_is_cut_to_the_positions_there_are(encoder):
    hidden_BLW, _ = encoder.text_tokens(["rain " * 200])
    assert hidden_BLW.shape[1] == CONFIG.text_tokens


@pytest.mark.parametrize("wave_BT", [torch.zeros(1, 32_001), torch.zeros(1, 0), torch.zeros(5), torch.zeros(2, 1, 9)])
def test_wrong_sounds_are_refused(encoder, wave_BT):
    with pytest.raises(ValueError, match="log-mel needs"):
        encoder.embed_sound(wave_BT)


def test_not_finite_and_nothing_are_refused(encoder):
    with pytest.raises(ValueError, match="not finite"):
        encoder.embed_sound(torch.full((1, 99), float("nan")))
    with pytest.raises(ValueError, match="no text"):
        encoder.embed_text([])


def test_identity_names_the_weights_and_changes_with_the_preprocessing(encoder, folder, tmp_path):
    identity = encoder.identity()
    assert identity["weights_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert identity == ClapEncoder.from_pretrained(folder).identity()
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**settings, "frequency_min": 0}))
    changed = ClapEncoder.from_pretrained(tmp_path).identity()
    assert {key for key in identity if identity[key] != changed[key]} == {"preprocessing"}


def test_embedding_text_does_not_change_the_identity(folder):
    encoder = ClapEncoder.from_pretrained(folder)
    encoder.embed_text(TEXTS)
    assert encoder.identity() == ClapEncoder.from_pretrained(folder).identity()


def test_a_missing_tokenizer_is_noticed(folder, tmp_path):
    for file in folder.iterdir():
        if not file.name.startswith("tokenizer"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises((ValueError, OSError)):
        ClapEncoder.from_pretrained(tmp_path)


def test_missing_weights_are_noticed(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["audio_projection.linear1.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"audio_projection\.linear1\.weight"):
        ClapEncoder.from_pretrained(tmp_path)


def test_a_pickle_is_not_read(folder, tmp_path):
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        ClapEncoder.from_pretrained(tmp_path)
