"""Official checkpoints of laion-clap, `630k-audioset-best.pt` and its like, as the `ClapModel` of transformers.

Their tensors are renamed to those of transformers; sizes are read from shapes, so HTSAT-tiny, -base and -large all
load, with fusion or without. The sound tower must be HTSAT and the text tower RoBERTa, as in everything LAION published
for CLAP; PANN, BERT, BART and CLIP towers are refused by name. Nothing in a file is executed: it is read with
`weights_only=True`, and the NumPy numbers that training left beside the tensors are skipped.

Shapes: D channels of the first stage of HTSAT, H width of the text tower.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ClapConfig, ClapModel

from models.encoders.clap_mel import ClapMel, ClapMelConfig
from models.encoders.published_file import read_plain

CONVERSION_VERSION = 1

SPEC_SIZE = 256
"""Side of the square that a spectrogram is folded to. Source: laion-clap 1.1.7, `create_htsat_model`, all sizes."""

CHANNELS_A_HEAD = 64
"""Source: RoBERTa (Liu et al. 2019), table 9: 12 heads of 768, 16 of 1024."""

# Source: config.json of roberta-base; transformers' default for CLAP is 1e-12.
TEXT_NORM_EPS = 1e-5

NAMES = {(96, 6): "HTSAT-tiny", (128, 12): "HTSAT-base", (256, 12): "HTSAT-large"}
"""Channels of the first stage and blocks of the third -> what laion-clap calls it."""

RENAMED = (
    (r"^text_branch\.", "text_model."),
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"^(text|audio)_projection\.0\.", r"\1_projection.linear1."),
    (r"^(text|audio)_projection\.2\.", r"\1_projection.linear2."),
    (r"\.bn0\.", ".batch_norm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
)
"""laion-clap's names -> transformers'. The order matters: `attn.proj` goes before the rest of `attn`."""

NOT_NEEDED = re.compile(
    r"^audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)\.|^(text|audio)_transform\."
    r"|^attn_mask$|\.attn_mask$|\.relative_position_index$|\.position_ids$|\.token_type_ids$"
)
"""What laion-clap's embeddings do not use (heads for tags and training, its own log-mel) or what is computed anew."""

COMPUTED_BUFFERS = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")
"""Ends of the names that weights may lack: the network computes these itself."""

MEL_FILTERS = "audio_branch.logmel_extractor.melW"


class _Skipped:
    """Stands for what a checkpoint holds beside tensors: takes any state and keeps none."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


_STAND_INS: Any = [
    (_Skipped, "numpy.core.multiarray.scalar"),
    (_Skipped, "numpy._core.multiarray.scalar"),
    (_Skipped, "numpy.dtype"),
]
"""What replaces NumPy's names while a checkpoint is read; NumPy's own code is never reached."""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The weights of an official checkpoint, without `module.` before their names.

    Args:
        path: A `.pt` file of laion-clap: a bare state dict, or one beside the state of the training.

    Returns:
        Name in laion-clap -> tensor.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, holds code, or is no CLAP of laion-clap.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    with torch.serialization.safe_globals(_STAND_INS):
        held = read_plain(path, mmap=zipfile.is_zipfile(path))
    held = held.get("state_dict", held) if isinstance(held, dict) else held
    if not isinstance(held, dict) or not all(isinstance(key, str) for key in held):
        raise ValueError(f"{path} holds a {type(held).__name__}, not tensors by name; is it a laion-clap checkpoint?")
    tensors = {key.removeprefix("module."): value for key, value in held.items() if isinstance(value, Tensor)}
    _check_towers(tensors, path)
    return tensors


def load_checkpoint(path: str | Path) -> tuple[ClapModel, ClapMelConfig]:
    """A checkpoint of laion-clap as transformers' network, with the settings of its log-mel.

    Args:
        path: The `.pt` file.

    Returns:
        The network in float32 on the CPU, and the log-mel it was trained on: 48 kHz, windows of 10 s.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, is no CLAP with HTSAT and RoBERTa, lacks tensors, or was trained on another mel.
    """
    tensors = read_checkpoint(path)
    fusion = any(".fusion_model." in key for key in tensors)
    mel = ClapMelConfig(mel_scale="htk" if fusion else "slaney")
    if not fusion:
        _check_mel(tensors, mel, path)
    try:
        config = clap_config(tensors)
        model = ClapModel(config)
        found = model.load_state_dict(renamed(tensors), strict=False)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} does not hold a whole CLAP: {' '.join(str(error).split())[:300]}; get the file again"
        ) from error
    missing = sorted(key for key in found.missing_keys if not key.endswith(COMPUTED_BUFFERS))
    for what, keys in (("lacks", missing), ("has beside those of CLAP", sorted(found.unexpected_keys))):
        if keys:
            raise ValueError(
                f"{path} {what} {len(keys)} tensors, the first is {keys[0]}; it is taken for {size_name(tensors)}"
                f"{' with fusion' if fusion else ''}: get the file again, or a ClapModel of transformers"
            )
    return model.eval(), mel


def size_name(tensors: dict[str, Tensor]) -> str:
    """What laion-clap calls the sound tower of a checkpoint, as `HTSAT-tiny`; the sizes where it has no name."""
    channels = int(tensors["audio_branch.patch_embed.proj.weight"].shape[0])
    depths = _depths(tensors)
    return NAMES.get((channels, depths[2] if len(depths) > 2 else 0), f"HTSAT of {channels} channels, blocks {depths}")


def clap_config(tensors: dict[str, Tensor]) -> ClapConfig:
    """The configuration of transformers' network that a checkpoint's shapes belong to.

    Args:
        tensors: As `read_checkpoint` gives them.

    Raises:
        KeyError: A tensor by which a size is known is missing.
    """
    words_VH = tensors["text_branch.embeddings.word_embeddings.weight"]
    layers = _count(tensors, r"^text_branch\.encoder\.layer\.(\d+)\.")
    patch = tensors["audio_branch.patch_embed.proj.weight"]
    depths = _depths(tensors)
    biases = [
        tensors[f"audio_branch.layers.{stage}.blocks.0.attn.relative_position_bias_table"]
        for stage in range(len(depths))
    ]
    first_mlp = tensors["audio_branch.layers.0.blocks.0.mlp.fc1.weight"]
    fusion = any(".fusion_model." in key for key in tensors)
    return ClapConfig(
        projection_dim=tensors["audio_projection.2.weight"].shape[0],
        text_config={
            "vocab_size": words_VH.shape[0],
            "hidden_size": words_VH.shape[1],
            "num_hidden_layers": layers,
            "num_attention_heads": max(1, words_VH.shape[1] // CHANNELS_A_HEAD),
            "intermediate_size": tensors["text_branch.encoder.layer.0.intermediate.dense.weight"].shape[0],
            "max_position_embeddings": tensors["text_branch.embeddings.position_embeddings.weight"].shape[0],
            "layer_norm_eps": TEXT_NORM_EPS,
        },
        audio_config={
            "spec_size": SPEC_SIZE,
            "num_mel_bins": tensors["audio_branch.bn0.weight"].shape[0],
            "patch_size": patch.shape[2],
            "patch_stride": [patch.shape[2], patch.shape[3]],
            "patch_embeds_hidden_size": patch.shape[0],
            "hidden_size": patch.shape[0] * 2 ** (len(depths) - 1),
            "depths": depths,
            "num_hidden_layers": len(depths),
            "num_attention_heads": [bias.shape[1] for bias in biases],
            # A window of w x w has (2 w - 1)^2 relative positions (Liu et al. 2021, Swin).
            "window_size": (round(biases[0].shape[0] ** 0.5) + 1) // 2,
            "mlp_ratio": first_mlp.shape[0] / first_mlp.shape[1],
            "enable_fusion": fusion,
            "fusion_type": "aff_2d" if fusion else None,
        },
    )


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint under transformers' names, in float32; what is not needed is left out."""
    found = {}
    for key, tensor in tensors.items():
        if NOT_NEEDED.search(key):
            continue
        name = key
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        if ".qkv." in name:
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[name.replace(".qkv.", f".{part}.")] = piece
        else:
            found[name] = tensor
    return found


def _check_towers(tensors: dict[str, Tensor], path: Path) -> None:
    """Refuse what is no CLAP with HTSAT and RoBERTa, and say what it is instead."""
    if "audio_branch.bn0.weight" not in tensors or not any(key.startswith("text_branch.") for key in tensors):
        some = ", ".join(sorted(tensors)[:3]) or "nothing"
        raise ValueError(
            f"{path} is no CLAP of laion-clap: its tensors are {some} ...; a model of transformers is given by its "
            "folder or its name on the Hub"
        )
    if "audio_branch.patch_embed.proj.weight" not in tensors:
        raise ValueError(f"{path} has another sound tower than HTSAT (PANN?), which transformers has no network for")
    kinds = tensors.get("text_branch.embeddings.token_type_embeddings.weight")
    if kinds is None or kinds.shape[0] != 1:
        raise ValueError(f"{path} has another text tower than RoBERTa (BERT, BART or CLIP), which ClapModel has not")
    other = ("mel_conv1d", ".local_att2.")
    channels_in = tensors["audio_branch.patch_embed.proj.weight"].shape[1]
    lonely = any(".mel_conv2d." in key for key in tensors) and not any(".fusion_model." in key for key in tensors)
    if channels_in != 1 or lonely or any(part in key for key in tensors for part in other):
        raise ValueError(f"{path} joins views of long sounds in another way than aff_2d, the only one ClapModel has")


def _check_mel(tensors: dict[str, Tensor], mel: ClapMelConfig, path: str | Path) -> None:
    """Refuse a checkpoint whose own mel filters are not those that will be used."""
    theirs = tensors.get(MEL_FILTERS)
    if theirs is None:
        return
    ours = ClapMel(mel).filters
    if theirs.shape != ours.shape or not torch.allclose(theirs.float(), ours, atol=1e-5):
        raise ValueError(
            f"{path} was trained on another log-mel ({tuple(theirs.shape)} filters) than {mel.mel_bins} bands from "
            f"{mel.f_min_hz:g} to {mel.f_max_hz:g} Hz of {mel.n_fft} samples; its vectors would mean nothing"
        )


def _count(tensors: dict[str, Tensor], pattern: str) -> int:
    """How many different numbers a pattern finds among the names."""
    return len({found.group(1) for key in tensors if (found := re.search(pattern, key))})


def _depths(tensors: dict[str, Tensor]) -> list[int]:
    """Blocks of each stage of HTSAT."""
    stages = _count(tensors, r"^audio_branch\.layers\.(\d+)\.")
    return [_count(tensors, rf"^audio_branch\.layers\.{stage}\.blocks\.(\d+)\.") for stage in range(stages)]
