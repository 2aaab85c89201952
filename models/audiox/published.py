"""Published checkpoints: AudioX's, and the transformers of others that stable-audio-tools wrote, by renaming.

Source of names and shapes: https://github.com/Stability-AI/stable-audio-tools and https://github.com/ZeyueT/AudioX
(`models/dit.py`, `models/transformer.py`, `models/conditioners.py`). Three things are more than a name: the two
1 x 1 convolutions at the ends, which add to their input, are multiplied into the projections beside them; biases that
were not there are zeros; and the halves of the gated MLP change places.

AudioX's configuration as it is passed on has no global condition (`global_cond_ids` is empty) although the checkpoint
holds weights for one; they are loaded and not used. Not read here: frozen encoders and the autoencoder, which a
checkpoint may hold too (`visual_encoder_model`, `pretransform`); give the published ones by name.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from models.audiox.adapters import Adapters
from models.audiox.network import AudioXConfig, AudioXNetwork, AudioXTransformer
from models.audiox.temporal import HEAD_CHANNELS
from models.encoders.published_file import read_plain

State = dict[str, Tensor]

_TRANSFORMER = "model.model."
_CONDITIONER = "conditioner.conditioners."
_PATHS = {"v": "v", "rectified_flow": "flow"}
_NOT_READ = ("visual_encoder_model.", "pretransform.", "text_prompt.")
_LAYER = (
    ("pre_norm.gamma", "self_norm.weight"),
    ("pre_norm.beta", "self_norm.bias"),
    ("self_attn.to_qkv.weight", "self_attention.qkv.weight"),
    ("self_attn.to_out.weight", "self_attention.leave.weight"),
    ("cross_attend_norm.gamma", "cross_norm.weight"),
    ("cross_attend_norm.beta", "cross_norm.bias"),
    ("cross_attn.to_q.weight", "cross_attention.query.weight"),
    ("cross_attn.to_kv.weight", "cross_attention.key_value.weight"),
    ("cross_attn.to_out.weight", "cross_attention.leave.weight"),
    ("ff_norm.gamma", "mlp_norm.weight"),
    ("ff_norm.beta", "mlp_norm.bias"),
    ("ff.ff.0.proj.weight", "mlp.enter.weight"),
    ("ff.ff.0.proj.bias", "mlp.enter.bias"),
    ("ff.ff.2.weight", "mlp.leave.weight"),
    ("ff.ff.2.bias", "mlp.leave.bias"),
)
_TEMPORAL = (
    ("0.norm.", "attention_norm."),
    ("0.fn.to_qkv.", "qkv."),
    ("0.fn.to_out.0.", "leave."),
    ("1.norm.", "mlp_norm."),
    ("1.fn.net.0.", "mlp.0."),
    ("1.fn.net.3.", "mlp.2."),
)


def load_published(checkpoint: str | Path, config: str | Path) -> tuple[AudioXNetwork, str]:
    """A published AudioX.

    Args:
        checkpoint: `model.ckpt` or `.safetensors`. Anything but tensors in a `.ckpt` is refused by torch.
        config: Its `config.json`.

    Returns:
        The network, and "v" or "flow", as it was trained.

    Raises:
        ValueError: if the configuration or a tensor is of a kind that is not known here.
    """
    state = read_checkpoint(Path(checkpoint))
    told = json.loads(Path(config).read_text())["model"]
    settings, path = published_config(told, state)
    network = AudioXNetwork(settings)
    named = {f"transformer.{name}": tensor for name, tensor in renamed_transformer(_below(state, _TRANSFORMER)).items()}
    named |= {
        f"conditioner.{name}": tensor for name, tensor in _renamed_conditioner(_below(state, _CONDITIONER)).items()
    }
    named |= {f"scale.{name}": tensor for name, tensor in network.scale.state_dict().items()}
    _fill(network, named)
    return network.eval(), path


def read_checkpoint(path: Path) -> State:
    """The tensors of a checkpoint, with the names they have there."""
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    found = read_plain(path)
    state: State = found.get("state_dict", found)
    return state


def published_config(told: Mapping[str, Any], state: State) -> tuple[AudioXConfig, str]:
    """Sizes of a published AudioX, from the `model` of its configuration and the shapes in its checkpoint.

    Raises:
        ValueError: if it is of a kind that is not known here.
    """
    transformer = transformer_config(told["diffusion"]["config"])
    path = told["diffusion"].get("diffusion_objective", "v")
    if path not in _PATHS:
        raise ValueError(f"diffusion_objective is {path!r}: one of {', '.join(_PATHS)} is known here")
    places = _tensor(state, f"{_CONDITIONER}video_prompt.Temp_pos_embedding")
    mix = _tensor(state, f"{_CONDITIONER}video_prompt.proj.weight")
    qkv = _tensor(state, f"{_CONDITIONER}video_prompt.Temp_transformer.layers.0.0.fn.to_qkv.weight")
    audio = _tensor(state, f"{_CONDITIONER}audio_prompt.empty_audio_feat")
    layers = [re.search(r"video_prompt\.Temp_transformer\.layers\.(\d+)\.", name) for name in state]
    texts = [one["config"] for one in told["conditioning"]["configs"] if one["id"] == "text_prompt"]
    settings = {
        **transformer,
        "text_width": transformer["context_width"],
        "frame_width": places.shape[2],
        "frame_patches": mix.shape[1] // places.shape[1],
        "adapters": Adapters(
            audio=True,
            published=True,
            video_tokens=mix.shape[0],
            video_pictures=places.shape[1],
            video_depth=1 + max(int(found[1]) for found in layers if found),
            video_heads=qkv.shape[0] // (3 * HEAD_CHANNELS),
            text_tokens=int(texts[0].get("max_length", 128)) if texts else 128,
            audio_tokens=audio.shape[1],
        ),
    }
    return AudioXConfig(**settings), _PATHS[path]


def transformer_config(told: Mapping[str, Any]) -> dict[str, Any]:
    """What `AudioXConfig` needs for the transformer, from stable-audio-tools' settings of a DiT.

    Raises:
        ValueError: if it is of a kind that is not known here.
    """
    known = {"transformer_type": "continuous_transformer", "global_cond_type": "prepend", "patch_size": 1}
    known |= {"project_cond_tokens": False, "input_concat_dim": 0, "prepend_cond_dim": 0}
    unset = {"transformer_type": "x-transformers", "project_cond_tokens": True}
    for name, value in known.items():
        if (given := told.get(name, unset.get(name, value))) != value:
            raise ValueError(f"{name} is {given!r} in the published configuration: only {value!r} is known here")
    norm = told.get("attn_kwargs", {}).get("qk_norm", "none")
    norm = {True: "l2", False: "none"}.get(norm, norm)
    if norm not in ("l2", "none"):
        raise ValueError(f"qk_norm is {norm!r} in the published configuration: 'l2' and 'none' are known here")
    head_width = told["embed_dim"] // told["num_heads"]
    return {
        "latent_channels": told["io_channels"],
        "width": told["embed_dim"],
        "depth": told["depth"],
        "heads": told["num_heads"],
        "context_width": told["cond_token_dim"],
        "context_heads": told["cond_token_dim"] // head_width,
        "turned_channels": max(head_width // 2, 32),
        "time_conditioning": "token",
        "published_ends": True,
        "qk_norm": norm,
        "global_width": told.get("global_cond_dim") or None,
    }


def load_transformer(transformer: AudioXTransformer, state: State) -> None:
    """Fills a transformer from stable-audio-tools' names (those behind `model.model.`).

    Raises:
        ValueError: if names or shapes do not fit it.
    """
    _fill(transformer, renamed_transformer(state))


def renamed_transformer(state: State) -> State:
    """A transformer's tensors by our names.

    Raises:
        ValueError: if a tensor is missing, or of a name that is not known here.
    """
    left = {name: tensor for name, tensor in state.items() if not name.endswith("rotary_pos_emb.inv_freq")}
    enter = _plus_itself(left.pop("preprocess_conv.weight", None), "preprocess_conv.weight")
    leave = _plus_itself(left.pop("postprocess_conv.weight", None), "postprocess_conv.weight")
    inside, outside = _tensor(left, "transformer.project_in.weight"), _tensor(left, "transformer.project_out.weight")
    named = {
        "enter.weight": inside @ enter,
        "enter.bias": inside.new_zeros(len(inside)),
        "leave.weight": leave @ outside,
        "leave.bias": outside.new_zeros(len(outside)),
        "time.frequencies": _tensor(left, "timestep_features.weight").squeeze(1),
    }
    for name in ("transformer.project_in.weight", "transformer.project_out.weight", "timestep_features.weight"):
        del left[name]
    for name, tensor in left.items():
        named |= _renamed(name, tensor)
    return named


def _renamed(name: str, tensor: Tensor) -> State:
    layer = re.fullmatch(r"transformer\.layers\.(\d+)\.(.+)", name)
    ours = dict(_LAYER).get(layer[2]) if layer else None
    if layer and ours:
        if ours.startswith("mlp.enter"):
            tensor = torch.cat(tensor.chunk(2)[::-1])
        found = {f"blocks.{layer[1]}.{ours}": tensor}
        if ours.endswith("attention.leave.weight"):
            found[f"blocks.{layer[1]}.{ours.removesuffix('weight')}bias"] = tensor.new_zeros(len(tensor))
        return found
    for theirs, ours in (
        ("to_timestep_embed.", "time.mlp."),
        ("to_cond_embed.", "context."),
        ("to_global_embed.", "whole."),
    ):
        if name.startswith(theirs):
            return {ours + name.removeprefix(theirs): tensor}
    raise ValueError(f"{name} is no tensor of a transformer that is known here")


def _renamed_conditioner(state: State) -> State:
    named: State = {}
    for name, tensor in state.items():
        if any(part in name for part in _NOT_READ):
            continue
        modality, _, rest = name.partition(".")
        temporal = re.fullmatch(r"Temp_transformer\.layers\.(\d+)\.(.+)", rest)
        if modality == "video_prompt" and temporal:
            theirs, ours = next(((a, b) for a, b in _TEMPORAL if temporal[2].startswith(a)), ("", ""))
            named[f"video.layers.{temporal[1]}.{ours}{temporal[2].removeprefix(theirs)}"] = tensor
        elif modality == "video_prompt" and rest.startswith(("Temp_transformer.norm.", "proj.")):
            named["video." + rest.removeprefix("Temp_transformer.").replace("proj.", "mix.")] = tensor
        elif name == "video_prompt.Temp_pos_embedding":
            named["video.place_NC"] = tensor.squeeze(0)
        elif name == "video_prompt.empty_visual_feat":
            named["empty_video_LC"] = tensor.squeeze(0)
        elif name == "audio_prompt.empty_audio_feat":
            named["empty_audio_FC"] = tensor.squeeze(0)
        elif name.startswith("audio_prompt.proj_out."):
            named["audio." + rest.removeprefix("proj_out.")] = tensor
        else:
            raise ValueError(f"{_CONDITIONER}{name} is no tensor of a conditioner that is known here")
    return named


def _fill(module: torch.nn.Module, named: State) -> None:
    own = module.state_dict()
    if different := sorted(own.keys() ^ named.keys()):
        raise ValueError(f"the checkpoint and this network differ in {different[:4]}: is the configuration its own?")
    for name, tensor in own.items():
        if tensor.shape != named[name].shape:
            raise ValueError(f"{name} is {tuple(named[name].shape)} in the checkpoint, {tuple(tensor.shape)} here")
    module.load_state_dict(named)


def _below(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _plus_itself(convolution: Tensor | None, name: str) -> Tensor:
    """The matrix of x -> convolution(x) + x."""
    if convolution is None:
        raise ValueError(f"the checkpoint has no {name}: is it one of stable-audio-tools?")
    return convolution[:, :, 0] + torch.eye(len(convolution), dtype=convolution.dtype)


def _tensor(state: State, name: str) -> Tensor:
    if name not in state:
        raise ValueError(f"the checkpoint has no {name}: is it one of AudioX or stable-audio-tools?")
    return state[name]
