"""Frozen encoders, loaded from tiny random ones on the disk."""

import pytest
import torch

from models.audiox.encoder_source import EncoderSource
from models.audiox.pretrained import ClipFrames, T5TextTokens
from tests.models.audiox.tiny_audiox import save_clip


def test_t5_gives_tokens_and_a_mask_that_hides_its_padding(t5_folder):
    encoder = T5TextTokens.from_pretrained(t5_folder)
    hidden, mask = encoder.text_tokens(["a dog barks", "rain"])
    assert hidden.shape == (2, 3, encoder.text_width)
    assert mask.tolist() == [[True] * 3, [True, False, False]]
    alone, _ = encoder.text_tokens(["rain"])
    torch.testing.assert_close(hidden[1, :1], alone[0])
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())


def test_t5_cuts_long_texts(t5_folder):
    encoder = T5TextTokens.from_pretrained(t5_folder)
    assert encoder.text_tokens(["rain " * 300])[0].shape[1] == 128


def test_a_t5_without_its_vocabulary_is_refused(t5_folder, tmp_path):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, T5EncoderModel

    T5EncoderModel.from_pretrained(t5_folder).save_pretrained(tmp_path)
    empty = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=empty, pad_token="<pad>", unk_token="<unk>").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has 2 tokens, its model 40"):
        T5TextTokens.from_pretrained(tmp_path)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


def test_clip_gives_a_class_token_and_one_for_each_patch(clip_folder, frames):
    encoder = ClipFrames.from_pretrained(clip_folder, pictures=3)
    features = encoder.frame_features(frames)
    assert features.shape == (2, 3, encoder.frame_patches, encoder.frame_width) == (2, 3, 5, 8)
    torch.testing.assert_close(encoder.frame_features(frames[1:])[0], features[1])


def test_clip_sees_pixels_as_transformers_prepares_them(clip_folder):
    encoder = ClipFrames.from_pretrained(clip_folder)
    grey = torch.full((1, 1, 8, 8, 3), 204, dtype=torch.uint8)
    value = (204 / 255 - 0.5) / 0.25
    expected = encoder.model(pixel_values=torch.full((1, 3, 8, 8), value)).last_hidden_state
    torch.testing.assert_close(encoder.frame_features(grey)[0], expected, atol=1e-5, rtol=1e-5)


def test_a_kind_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="'gpt'"):
        EncoderSource(kind="gpt", path=".")
    with pytest.raises(ValueError, match="'clip' reads no text"):
        EncoderSource(kind="clip", path=".").text_encoder("cpu")
    with pytest.raises(ValueError, match="'t5' reads no pictures"):
        EncoderSource(kind="t5", path=".").frame_encoder("cpu")
