"""Words as embeddings: the same as by their numbers, and a sound's word in its place and seen by later tokens alone."""

import json

import pytest
import torch

from models.audiotoken.conditioning import SoundPrompt, heard, label_words, no_text_states
from models.audiotoken.text_to_image import TextToImage
from tests.models.audiotoken.tiny_audiotoken import BEATS, PICTURES, save_pictures, waves


def padded(model, text):
    return model.tokenizer(text, padding="max_length", truncation=True, return_tensors="pt").input_ids


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_embeddings_of_ordinary_tokens_do_what_their_numbers_do(frozen, attention):
    model, _ = frozen
    ids = torch.cat([padded(model, text) for text in ("a photo of rising chirp", "dog", "")])
    before = model.text_encoder.config._attn_implementation
    model.text_encoder.set_attn_implementation(attention)
    try:
        by_number = model.text_encoder(ids)[0]
        by_embedding = model.text_states(model.words()(ids))
    finally:
        model.text_encoder.set_attn_implementation(before)
    torch.testing.assert_close(by_embedding, by_number, rtol=0, atol=1e-6)


def test_the_empty_text_is_the_pipelines(frozen):
    model, _ = frozen
    torch.testing.assert_close(no_text_states(model), model.text_encoder(padded(model, ""))[0], rtol=0, atol=1e-6)


def test_a_word_of_the_vocabulary_in_the_place_is_that_word(frozen):
    model, _ = frozen
    (dog,) = model.token_ids("dog")
    said = SoundPrompt(model, "a photo of <*> barking").states(model.words()(torch.tensor([dog])))
    wanted = model.text_encoder(padded(model, "a photo of dog barking"))[0]
    torch.testing.assert_close(said, wanted, rtol=0, atol=1e-6)


def test_the_prompt_is_the_tokenizers_own_with_an_added_token(sources, frozen):
    model, _ = frozen
    text = "a photo of <*>, 4k"
    tokenizer = type(model.tokenizer).from_pretrained(sources.pictures, subfolder="tokenizer")
    assert tokenizer.add_tokens("<*>") == 1
    wanted = tokenizer(text, padding="max_length", truncation=True).input_ids
    prompt = SoundPrompt(model, text)
    assert wanted[prompt.place] == tokenizer.convert_tokens_to_ids("<*>")
    assert [*prompt.ids[: prompt.place], *prompt.ids[prompt.place + 1 :]] == [
        *wanted[: prompt.place],
        *wanted[prompt.place + 1 :],
    ]


def test_no_token_before_the_place_hears_the_sound(frozen):
    model, _ = frozen
    prompt = SoundPrompt(model)
    one, other = prompt.states(torch.randn(2, 16, generator=torch.Generator().manual_seed(0))).split(1)
    assert torch.equal(one[:, : prompt.place], other[:, : prompt.place])
    assert (one[:, prompt.place :] - other[:, prompt.place :]).abs().amax(-1).min() > 1e-4


def test_gradients_reach_the_word_and_no_frozen_weight(frozen):
    model, _ = frozen
    word = torch.zeros(1, 16, requires_grad=True)
    SoundPrompt(model).states(word).sum().backward()
    assert word.grad is not None and word.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.text_encoder.parameters())


@pytest.mark.parametrize("text", ["a photo", "<*> and <*>", "a photo of <*> " + "dog " * 12])
def test_a_prompt_needs_one_place_and_has_to_fit(frozen, text):
    with pytest.raises(ValueError, match="the prompt"):
        SoundPrompt(frozen[0], text)


def test_words_of_labels_are_means_of_their_tokens(frozen):
    model, _ = frozen
    found = label_words(model, ["rising chirp", ""])
    ids = model.token_ids("rising chirp")
    assert len(ids) > 1
    torch.testing.assert_close(found[0], model.words().weight[ids].mean(0))
    assert not found[1].any()


def test_what_is_heard_is_of_three_blocks(frozen):
    _, listener = frozen
    found, outputs = heard(listener, waves(2)), listener.forward(waves(2))
    assert found.shape[2] == 3 * BEATS.width
    assert torch.equal(found, torch.cat([outputs[block - 1] for block in BEATS.taps], dim=-1))
    assert not found.requires_grad


def test_latents_are_scaled_as_the_pipeline_scales_them(frozen):
    model, _ = frozen
    pictures = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, spread = model.latent_moments(pictures)
    wanted = model.vae.encode(pictures.permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist
    scale = model.vae.config.scaling_factor
    torch.testing.assert_close(mean, wanted.mean * scale)
    torch.testing.assert_close(spread, wanted.std * scale)
    assert model.picture_side_px == PICTURES.side_px and model.latent_side == 8


def test_what_the_network_predicts_is_read_from_the_folder(tmp_path, frozen):
    assert frozen[0].schedule.target == "epsilon"
    other = TextToImage.from_pretrained(save_pictures(tmp_path / "v", prediction_type="v_prediction"))
    assert other.schedule.target == "v_prediction"
    assert other.identity() != frozen[0].identity()


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("model_index.json", {"text_encoder_2": ["transformers", "CLIPTextModel"]}, "text_encoder_2"),
        ("model_index.json", {"unet": ["diffusers", "PixArtTransformer2DModel"]}, "PixArtTransformer2DModel"),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "betas of its own"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "squaredcos_cap_v2"}, "squaredcos_cap_v2"),
    ],
)
def test_models_of_other_parts_are_refused(tmp_path, file, change, said):
    folder = save_pictures(tmp_path / "pictures")
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=said):
        TextToImage.from_pretrained(folder)
