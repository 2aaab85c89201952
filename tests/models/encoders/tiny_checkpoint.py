"""Tiny checkpoints with the names and the habits of laion-clap, made from a tiny `ClapModel`."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import ClapConfig, ClapModel, PreTrainedTokenizerFast

from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from models.encoders.clap_mel import ClapMel, ClapMelConfig

TEXTS = ["a dog barks", "rain", "a tone that climbs from low to high"]

BACK = (
    (r"^text_model\.", "text_branch."),
    (r"^audio_model\.audio_encoder\.", "audio_branch."),
    (r"_projection\.linear1", "_projection.0"),
    (r"_projection\.linear2", "_projection.2"),
    (r"^(audio_branch.*)layernorm_before", r"\1norm1"),
    (r"^(audio_branch.*)layernorm_after", r"\1norm2"),
    (r"^(audio_branch.*)attention\.output\.dense", r"\1attn.proj"),
    (r"^(audio_branch.*)intermediate\.dense", r"\1mlp.fc1"),
    (r"^(audio_branch.*blocks\.\d+\.)output\.dense", r"\1mlp.fc2"),
    (r"^(audio_branch.*)attention\.self\.", r"\1attn."),
    (r"^audio_branch\.batch_norm", "audio_branch.bn0"),
)


def tokenizer() -> PreTrainedTokenizerFast:
    return build_tiny_clap(TEXTS, TinyClapConfig(window_s=2)).tokenizer


def network(*, fusion: bool = False, vocabulary: int) -> ClapModel:
    torch.manual_seed(5)
    text = {"vocab_size": vocabulary, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    sound = {"patch_embeds_hidden_size": 8, "hidden_size": 64, "depths": [1, 2, 1, 1], "fusion_type": None}
    sound |= {"enable_fusion": True, "fusion_type": "aff_2d"} if fusion else {}
    config = ClapConfig(
        projection_dim=24,
        text_config={**text, "num_attention_heads": 1, "max_position_embeddings": 80, "layer_norm_eps": 1e-5},
        audio_config={**sound, "num_attention_heads": [1, 2, 4, 8]},
    )
    model = ClapModel(config).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return model


def laion_state(model: ClapModel, *, fusion: bool = False) -> dict[str, Any]:
    """The network's tensors as laion-clap names them, with what it stores beside those of the embeddings."""
    state: dict[str, Any] = {}
    for key, tensor in model.state_dict().items():
        name = key
        for pattern, replacement in BACK:
            name = re.sub(pattern, replacement, name)
        state[name] = tensor
    for name in [name for name in state if ".attn.query." in name]:
        parts = [state.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        state[name.replace("query", "qkv")] = torch.cat(parts)
    state["audio_branch.logmel_extractor.melW"] = ClapMel(ClapMelConfig()).filters
    state["audio_branch.tscam_conv.weight"] = torch.zeros(3, 64, 2, 3)
    state["audio_branch.layers.0.blocks.0.attn_mask"] = torch.zeros(4, 4)
    state["audio_transform.sequential.0.weight"] = torch.zeros(24, 24)
    return {f"module.{name}": tensor for name, tensor in state.items()}


def write_checkpoint(folder: Path, *, fusion: bool = False, **beside: Any) -> tuple[Path, ClapModel]:
    """A checkpoint as LAION publishes them, its tokenizer beside it, and the network that is in it."""
    words = tokenizer()
    model = network(fusion=fusion, vocabulary=len(words))
    words.save_pretrained(folder)
    optimizer = {"param_groups": [{"lr": np.float64(1e-4), "betas": (0.9, 0.99)}], "state": {0: torch.zeros(2)}}
    held = {"epoch": 15, "name": "tiny", "state_dict": laion_state(model), "optimizer": optimizer, **beside}
    torch.save(held, folder / "tiny.pt")
    return folder / "tiny.pt", model
