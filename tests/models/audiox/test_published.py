"""Published checkpoints: the same numbers as diffusers with the same weights, and every name is accounted for."""

import json

import pytest
import torch
from torch import nn

from models.audiox import AudioX
from models.audiox.conditioning import AudioPrompt, ConditionEncoders, Features
from models.audiox.network import AudioXConfig, AudioXTransformer
from models.audiox.published import load_published, load_transformer, transformer_config
from models.audiox.sampling import Sampling

DIT = {
    "io_channels": 4,
    "embed_dim": 128,
    "depth": 2,
    "num_heads": 2,
    "cond_token_dim": 64,
    "global_cond_dim": 12,
    "project_cond_tokens": False,
    "transformer_type": "continuous_transformer",
}


def seeded(shape, generator, scale=0.1):
    return scale * torch.randn(shape, generator=generator)


def as_stable_audio_tools(state):
    """diffusers' names of a `StableAudioDiTModel` as stable-audio-tools has them: what its conversion undoes."""
    found = {}
    for name, tensor in state.items():
        name = name.replace("transformer_blocks.", "transformer.layers.")
        name = name.replace("timestep_proj", "to_timestep_embed").replace("global_proj", "to_global_embed")
        name = name.replace("cross_attention_proj", "to_cond_embed").replace("ff.net", "ff.ff")
        for norm, theirs in (("norm1", "pre_norm"), ("norm2", "cross_attend_norm"), ("norm3", "ff_norm")):
            name = name.replace(f"{norm}.weight", f"{theirs}.gamma").replace(f"{norm}.bias", f"{theirs}.beta")
        name = name.replace("attn1", "self_attn").replace("attn2", "cross_attn").replace("to_out.0", "to_out")
        name = {
            "proj_in.weight": "transformer.project_in.weight",
            "proj_out.weight": "transformer.project_out.weight",
        }.get(name, name)
        found[name] = tensor
    found["timestep_features.weight"] = found.pop("time_proj.weight")[:, None]
    for layer in {name.split(".")[2] for name in found if name.startswith("transformer.layers")}:
        own = f"transformer.layers.{layer}."
        parts = [found.pop(f"{own}self_attn.to_{part}.weight") for part in "qkv"]
        found[f"{own}self_attn.to_qkv.weight"] = torch.cat(parts)
        parts = [found.pop(f"{own}cross_attn.to_{part}.weight") for part in "kv"]
        found[f"{own}cross_attn.to_kv.weight"] = torch.cat(parts)
    found["transformer.rotary_pos_emb.inv_freq"] = torch.zeros(16)
    return found


@pytest.fixture(scope="module")
def theirs():
    from diffusers import StableAudioDiTModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = StableAudioDiTModel(
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=64,
            num_attention_heads=2,
            num_key_value_attention_heads=1,
            cross_attention_dim=64,
            cross_attention_input_dim=64,
            global_states_input_dim=12,
        )
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
    return model.eval().requires_grad_(False)


def ours_of(theirs):
    transformer = AudioXTransformer(
        AudioXConfig(**transformer_config(DIT), text_width=64, frame_width=64, frame_patches=1)
    )
    load_transformer(transformer, as_stable_audio_tools(theirs.state_dict()))
    return transformer.eval().requires_grad_(False)


def test_diffusers_with_the_same_weights_predicts_the_same(theirs):
    from diffusers.models.embeddings import get_1d_rotary_pos_embed

    generator = torch.Generator().manual_seed(1)
    x_BFD, context_BLC = seeded((3, 21, 4), generator, 1.0), seeded((3, 9, 64), generator, 1.0)
    t_B, global_BG = torch.tensor([0.02, 0.5, 0.98]), seeded((3, 12), generator, 1.0)
    rotary = get_1d_rotary_pos_embed(32, 22, use_real=True, repeat_interleave_real=False)
    expected = theirs(
        x_BFD.transpose(1, 2), t_B, context_BLC, global_BG[:, None], rotary_embedding=rotary, return_dict=False
    )[0].transpose(1, 2)
    predicted = ours_of(theirs)(x_BFD, t_B, context_BLC, None, global_BG)
    assert float(expected.abs().mean()) > 0.1
    torch.testing.assert_close(predicted, expected, atol=1e-4, rtol=1e-4)


def test_a_name_that_is_not_known_is_said(theirs):
    state = as_stable_audio_tools(theirs.state_dict()) | {"transformer.layers.0.conformer.glu": torch.zeros(1)}
    transformer = AudioXTransformer(
        AudioXConfig(**transformer_config(DIT), text_width=64, frame_width=64, frame_patches=1)
    )
    with pytest.raises(ValueError, match=r"layers\.0\.conformer\.glu"):
        load_transformer(transformer, state)
    with pytest.raises(ValueError, match="no preprocess_conv"):
        load_transformer(transformer, {})
    missing = as_stable_audio_tools(theirs.state_dict())
    del missing["to_cond_embed.0.weight"]
    with pytest.raises(ValueError, match=r"differ in \['context\.0\.weight'\]"):
        load_transformer(transformer, missing)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"transformer_type": "x-transformers"}, "x-transformers"), ({"global_cond_type": "adaLN"}, "adaLN"),
     ({"attn_kwargs": {"qk_norm": "ln"}}, "'ln'"), ({"project_cond_tokens": True}, "project_cond_tokens is True")],
)  # fmt: skip
def test_transformers_of_other_kinds_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        transformer_config({**DIT, **changes})


TOKENS, PICTURES, PATCHES, PROMPT = 5, 3, 4, 6


def conditioner_state(generator):
    """The tensors of AudioX's conditioners, at small sizes, with its names."""
    video = "conditioner.conditioners.video_prompt."
    shapes = {
        "empty_visual_feat": (1, TOKENS, 64),
        "proj.weight": (TOKENS, PICTURES * PATCHES),
        "proj.bias": (TOKENS,),
        "Temp_pos_embedding": (1, PICTURES, 64),
        "Temp_transformer.norm.weight": (64,),
        "Temp_transformer.norm.bias": (64,),
        "visual_encoder_model.class_embedding": (7,),
    }
    for name, shape in {
        "0.norm.weight": (64,), "0.norm.bias": (64,), "0.fn.to_qkv.weight": (3 * 128, 64),
        "0.fn.to_out.0.weight": (64, 128), "0.fn.to_out.0.bias": (64,), "1.norm.weight": (64,), "1.norm.bias": (64,),
        "1.fn.net.0.weight": (256, 64), "1.fn.net.0.bias": (256,),
        "1.fn.net.3.weight": (64, 256), "1.fn.net.3.bias": (64,),
    }.items():  # fmt: skip
        shapes[f"Temp_transformer.layers.0.{name}"] = shape
    state = {video + name: seeded(shape, generator) for name, shape in shapes.items()}
    audio = "conditioner.conditioners.audio_prompt."
    state |= {f"{audio}empty_audio_feat": seeded((1, PROMPT, 64), generator)}
    state |= {f"{audio}proj_out.weight": seeded((64, 4), generator), f"{audio}proj_out.bias": seeded((64,), generator)}
    return state | {f"{audio}pretransform.model.x": torch.zeros(1), "pretransform.model.x": torch.zeros(1)}


@pytest.fixture(params=["model.ckpt", "model.safetensors"])
def published(theirs, tmp_path, request):
    from safetensors.torch import save_file

    state = {f"model.model.{name}": tensor for name, tensor in as_stable_audio_tools(theirs.state_dict()).items()}
    state |= conditioner_state(torch.Generator().manual_seed(2))
    checkpoint = tmp_path / request.param
    if checkpoint.suffix == ".ckpt":
        torch.save({"state_dict": state}, checkpoint)
    else:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, checkpoint)
    text = {"id": "text_prompt", "type": "t5", "config": {"t5_model_name": "t5-base", "max_length": 7}}
    config = {"model": {"conditioning": {"configs": [text]}, "diffusion": {"config": DIT}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    network, path = load_published(checkpoint, tmp_path / "config.json")
    assert path == "v"
    return network.requires_grad_(False), state


def test_a_published_conditioner_reads_as_the_published_code_does(published):
    network, state = published
    generator = torch.Generator().manual_seed(3)
    frames_BNPV = seeded((3, PICTURES, PATCHES, 64), generator, 1.0)
    text_BLT = seeded((3, 2, 64), generator, 1.0)
    prompt_BFD = seeded((3, 4, 4), generator, 1.0)
    features = Features(
        text_BLT=text_BLT,
        text_mask_BL=torch.tensor([[True, True], [True, False], [True, True]]),
        text_lengths=(2, 1, 2),
        has_text_B=torch.tensor([True, True, False]),
        frames_BNPV=frames_BNPV,
        has_frames_B=torch.tensor([True, False, False]),
        audio=AudioPrompt(
            latents_BFD=prompt_BFD,
            has_B=torch.tensor([False, True, False]),
            before_B=torch.zeros(3, dtype=torch.bool),
        ),
    )
    context = network.conditioner(features)
    assert context.mask_BL is None
    assert context.tokens_BLC.shape == (3, TOKENS + 7 + PROMPT, 64)
    video, audio = "conditioner.conditioners.video_prompt.", "conditioner.conditioners.audio_prompt."
    tokens = context.tokens_BLC
    torch.testing.assert_close(tokens[0, :TOKENS], as_published(frames_BNPV[:1], state)[0])
    torch.testing.assert_close(tokens[1, :TOKENS], state[video + "empty_visual_feat"][0])
    torch.testing.assert_close(tokens[0, TOKENS : TOKENS + 2], text_BLT[0])
    assert not tokens[1, TOKENS + 1 : TOKENS + 7].any(), "a text is filled up with zeros"
    torch.testing.assert_close(tokens[0, -PROMPT:], state[audio + "empty_audio_feat"][0])
    expected = prompt_BFD[1] @ state[audio + "proj_out.weight"].T + state[audio + "proj_out.bias"]
    torch.testing.assert_close(tokens[1, -PROMPT:-2], expected)
    assert not tokens[2].any(), "without any condition all tokens are zero"


def as_published(frames_BNPV, state):
    """The published way through a video, step by step: for each place a transformer along time, then a mixture of the
    whole table taken row by row."""
    own = {name.split("video_prompt.")[1]: tensor for name, tensor in state.items() if "video_prompt." in name}
    layer = {name.split("layers.0.")[1]: tensor for name, tensor in own.items() if "layers.0." in name}
    norm = nn.functional.layer_norm
    h = frames_BNPV[0].transpose(0, 1) + own["Temp_pos_embedding"]
    qkv = norm(h, (64,), layer["0.norm.weight"], layer["0.norm.bias"]) @ layer["0.fn.to_qkv.weight"].T
    q, k, v = (one.reshape(PATCHES, PICTURES, 2, 64).transpose(1, 2) for one in qkv.chunk(3, -1))
    mixed = ((q @ k.transpose(2, 3) / 8).softmax(-1) @ v).transpose(1, 2).reshape(PATCHES, PICTURES, 128)
    h = h + mixed @ layer["0.fn.to_out.0.weight"].T + layer["0.fn.to_out.0.bias"]
    inner = norm(h, (64,), layer["1.norm.weight"], layer["1.norm.bias"]) @ layer["1.fn.net.0.weight"].T
    inner = nn.functional.gelu(inner + layer["1.fn.net.0.bias"])
    h = h + inner @ layer["1.fn.net.3.weight"].T + layer["1.fn.net.3.bias"]
    h = norm(h, (64,), own["Temp_transformer.norm.weight"], own["Temp_transformer.norm.bias"])
    table = h.transpose(0, 1).reshape(PICTURES * PATCHES, 64).contiguous().view(-1, PICTURES * PATCHES)
    return (table @ own["proj.weight"].T + own["proj.bias"]).view(1, TOKENS, 64)


class Words:
    text_width = 64

    def text_tokens(self, texts):
        return torch.ones(len(texts), 2, 64), torch.ones(len(texts), 2, dtype=torch.bool)


class Pictures:
    pictures, frame_width, frame_patches = PICTURES, 64, PATCHES

    def frame_features(self, frames_BNHW3):
        return frames_BNHW3.float().mean((2, 3, 4))[..., None, None].expand(-1, -1, PATCHES, 64) / 255


class Sources:
    def encoders(self, device):
        return ConditionEncoders(Words(), Pictures(), device)


def test_a_published_model_makes_sound_from_any_mix(published, codec, tmp_path):
    (checkpoint,) = (path for path in tmp_path.iterdir() if path.stem == "model")
    model = AudioX.from_published(checkpoint, tmp_path / "config.json", codec=codec, sources=Sources())
    frames = torch.randint(0, 256, (1, 4, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    settings = {"seconds": 0.12, "steps": 4, "guidance": 7.0, "sampling": Sampling(times="exponential", rescale=0.5)}
    plain = model.generate(["rain"], **settings)
    assert plain.shape == (1, 1, 120)
    assert bool(plain.isfinite().all())
    for more in ({"video": frames}, {"image": frames[:, 0]}, {"audio": torch.ones(1, 1, 120) / 2}):
        assert float((model.generate(["rain"], **more, **settings) - plain).abs().max()) > 1e-6


def test_a_tensor_of_a_conditioner_that_is_not_known_is_said(theirs, tmp_path):
    state = {f"model.model.{name}": tensor for name, tensor in as_stable_audio_tools(theirs.state_dict()).items()}
    state |= conditioner_state(torch.Generator().manual_seed(2))
    state["conditioner.conditioners.seconds_total.embedder.embedding.1.weight"] = torch.zeros(2)
    torch.save(state, tmp_path / "model.ckpt")
    (tmp_path / "config.json").write_text(
        json.dumps({"model": {"conditioning": {"configs": []}, "diffusion": {"config": DIT}}})
    )
    with pytest.raises(ValueError, match="seconds_total"):
        load_published(tmp_path / "model.ckpt", tmp_path / "config.json")
