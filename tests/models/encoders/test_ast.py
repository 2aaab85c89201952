"""AST as a tagger, on a tiny random one that transformers saved; its spectrogram beside transformers' own."""

import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor, ASTForAudioClassification

from models.encoders.ast import Ast, KaldiMel, KaldiMelConfig
from tests.models.encoders.tiny_ast import BINS, CLASSES, FRAMES, LABELS, save_ast


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_ast(tmp_path_factory.mktemp("ast"))


@pytest.fixture(scope="module")
def tagger(folder):
    return Ast.from_pretrained(folder)


def noise(seconds, count=1, rate_hz=16_000):
    samples = round(seconds * rate_hz)
    return torch.from_numpy(np.random.default_rng(1).uniform(-0.5, 0.5, (count, samples)).astype(np.float32))


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("seconds", [0.025, 0.5, 10.0])
def test_the_spectrogram_equals_the_extractors(seconds):
    wave_BT = noise(seconds)
    extractor = ASTFeatureExtractor()
    theirs = extractor(wave_BT[0].numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
    torch.testing.assert_close(KaldiMel(KaldiMelConfig())(wave_BT), theirs, atol=1e-4, rtol=0)


def test_the_spectrogram_equals_the_extractors_without_normalisation():
    extractor = ASTFeatureExtractor(num_mel_bins=40, max_length=60, do_normalize=False)
    wave_BT = noise(0.5)
    theirs = extractor(wave_BT[0].numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
    torch.testing.assert_close(KaldiMel(KaldiMelConfig.of_extractor(extractor))(wave_BT), theirs, atol=1e-4, rtol=0)


def test_answers_equal_the_whole_model(tagger, folder):
    wave_BT = noise(0.9)
    extractor, model = ASTFeatureExtractor.from_pretrained(folder), ASTForAudioClassification.from_pretrained(folder)
    inputs = extractor(wave_BT[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = model.eval()(**inputs).logits
    logits_BL, vector_BD = tagger.forward(wave_BT)
    torch.testing.assert_close(logits_BL, expected, atol=1e-4, rtol=0)
    scores_BL, same_BD = tagger.tag(wave_BT)
    assert torch.equal(scores_BL, logits_BL.sigmoid()) and torch.equal(same_BD, vector_BD)
    assert (scores_BL.shape, vector_BD.shape) == ((1, CLASSES), (1, 16))


def test_properties_come_from_the_saved_files(tagger):
    assert tagger.labels == tuple(LABELS.values())
    assert (tagger.sample_rate_hz, tagger.dimension) == (16_000, 16)
    assert tagger.window_s == tagger.share_window_s == pytest.approx((97 * 160 + 400) / 16_000)
    assert KaldiMelConfig().longest_samples == 1023 * 160 + 400


def test_batch_equals_one_by_one_bit_for_bit(tagger):
    wave_BT = noise(0.5, count=3)
    one_by_one = torch.cat([tagger.forward(wave_T[None])[0] for wave_T in wave_BT])
    assert torch.equal(tagger.forward(wave_BT)[0], one_by_one)
    assert not torch.allclose(one_by_one[0], one_by_one[1], atol=1e-3)


def test_silence_and_a_single_sample_have_finite_answers(tagger):
    for wave_BT in (torch.zeros(1, 8000), torch.zeros(1, 1), torch.zeros(1, 0)):
        assert all(torch.isfinite(answer).all() for answer in tagger.forward(wave_BT))


def test_a_window_is_the_longest_sound(tagger):
    longest = KaldiMelConfig(frames=FRAMES, mel_bins=BINS).longest_samples
    assert tagger.forward(torch.zeros(1, longest))[0].shape == (1, CLASSES)
    with pytest.raises(ValueError, match="at most 15920 samples"):
        tagger.forward(torch.zeros(1, longest + 1))
    with pytest.raises(ValueError, match="needs mono sounds"):
        tagger.forward(torch.zeros(100))


def test_identity_names_the_weights(tagger, folder, tmp_path):
    again, other = Ast.from_pretrained(folder), Ast.from_pretrained(save_ast(tmp_path, seed=1))
    assert again.identity() == tagger.identity() != other.identity()


def test_a_model_without_a_classifier_is_refused(folder, tmp_path):
    model = ASTForAudioClassification.from_pretrained(folder)
    model.audio_spectrogram_transformer.save_pretrained(tmp_path)
    ASTFeatureExtractor(num_mel_bins=BINS, max_length=FRAMES).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="would be random"):
        Ast.from_pretrained(tmp_path)


def test_a_preprocessor_of_another_model_is_refused(folder, tmp_path):
    ASTForAudioClassification.from_pretrained(folder).save_pretrained(tmp_path)
    ASTFeatureExtractor(num_mel_bins=BINS, max_length=200).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="expects 98 frames of 32 bands"):
        Ast.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "value"),
    [({"sample_rate_hz": 40}, "40"), ({"mel_bins": 0}, "0 and 1024"), ({"deviation": 0.0}, "0.0")],
)
def test_config_names_the_bad_value(changes, value):
    with pytest.raises(ValueError, match=value):
        KaldiMelConfig(**changes)
