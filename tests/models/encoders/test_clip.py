"""CLIP as a frozen encoder: the same as transformers' own processor and model, for pictures and for texts."""

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from models.audiotoken.text_to_image_fit import PicturesConfig, tokenizer_of
from models.encoders.clip import DEVIATION, MEAN, ClipEncoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = tokenizer_of(["a photo of dog barking", "a siren wails"], PicturesConfig(tokens=12))
    tokenizer.save_pretrained(str(folder))
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": len(tokenizer), "max_position_embeddings": 12, "eos_token_id": 1},
        vision_config={**small, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(str(folder))
    return folder


def picture(height, width):
    """Waves of another length in each channel; nowhere so steep that a resize would overshoot."""
    down, across = np.mgrid[:height, :width]
    waves = [np.sin(down / (3 + channel)) + np.cos(across / (4 - channel)) for channel in range(3)]
    return np.uint8(127 + 40 * np.stack(waves, axis=2))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (20, 33), (50, 17)])
def test_pictures_are_prepared_as_clips_processor_does(folder, height, width):
    clip = ClipEncoder.from_pretrained(folder)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, image_mean=MEAN, image_std=DEVIATION
    )
    wanted = processor(picture(height, width), return_tensors="pt").pixel_values[0]
    one_level = 1 / 255 / min(DEVIATION) + 1e-5
    torch.testing.assert_close(clip.prepared(picture(height, width)), wanted, rtol=0, atol=one_level)


def test_vectors_are_the_models_own_of_length_1(folder):
    clip = ClipEncoder.from_pretrained(folder)
    found = clip.embed_picture([picture(16, 16), picture(40, 20)])
    pixels = torch.stack([clip.prepared(picture(16, 16)), clip.prepared(picture(40, 20))])
    texts = ["a photo of dog", "a siren wails"]
    ids = clip.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    whole = clip.model(input_ids=ids.input_ids, attention_mask=ids.attention_mask, pixel_values=pixels)
    torch.testing.assert_close(found, whole.image_embeds)
    torch.testing.assert_close(clip.embed_text(texts), whole.text_embeds)
    assert clip.dimension == 8 and len(clip.identity()["weights_sha256"]) == 64


def test_what_is_no_picture_is_refused(folder):
    clip = ClipEncoder.from_pretrained(folder)
    with pytest.raises(ValueError, match="a picture is uint8"):
        clip.prepared(np.zeros((4, 4), np.uint8))
    with pytest.raises(OSError):
        ClipEncoder.from_pretrained(folder / "nothing")
