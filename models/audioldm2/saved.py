"""How a model lies on the disk: as diffusers' `AudioLDM2Pipeline`, and what that has no place for beside it.

    model_index.json  unet/ scheduler/ vae/ vocoder/ language_model/ projection_model/
    text_encoder/ tokenizer/ feature_extractor/     CLAP
    text_encoder_2/ tokenizer_2/                    T5
    foundsound.json     streams, the length of a sound, the factor of the language of audio
    audiomae/           the listener, where there is one
    adapters/           instead of projection_model and model_index.json, where the streams are others than CLAP and T5

A folder that diffusers wrote has none of the last three and is read as well. Weights are safetensors.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models import model_folder
from models.audioldm2.clap_parts import clap_parts
from models.audioldm2.conditioning import CLAP, TEXT, FrozenEncoders
from models.audioldm2.hearing import Hearing
from models.audioldm2.language import LanguageConfig, LanguageOfAudio, StreamConfig
from models.audioldm2.network import AudioLdm2Network
from models.audiox.pretrained import T5TextTokens
from models.codecs.mel_vae import MelVaeCodec
from models.encoders.audiomae import AudioMae, save_audiomae
from models.encoders.clap import ClapEncoder
from models.model_folder import read_config, written_whole

if TYPE_CHECKING:
    from models.audioldm2.generate import AudioLDM2

_FORMAT = "audioldm2 1"
OWN_FILE, INDEX_FILE = "foundsound.json", "model_index.json"
_LISTENER, _ADAPTERS = "audiomae", "adapters"
_PAIR = (CLAP, TEXT)
_PIPELINE = "AudioLDM2Pipeline"

_PROJECTED = {
    CLAP: {
        "projection.weight": "projection.weight",
        "projection.bias": "projection.bias",
        "start_W": "sos_embed",
        "end_W": "eos_embed",
    },
    TEXT: {
        "projection.weight": "projection_1.weight",
        "projection.bias": "projection_1.bias",
        "start_W": "sos_embed_1",
        "end_W": "eos_embed_1",
    },
}
"""Name in our adapter of a stream -> name in `AudioLDM2ProjectionModel`."""


def model_in(folder: Path) -> Path:
    """The folder itself, or `model` in it.

    Raises:
        FileNotFoundError: neither holds a model.
    """
    return model_folder.model_in(folder, INDEX_FILE, OWN_FILE)


def hearing_of(folder: Path) -> Hearing:
    """What of a sound a model says, without loading it.

    Args:
        folder: Of a run or a model.

    Raises:
        FileNotFoundError: there is no model.
        ValueError: it is of a kind that is not known.
    """
    own = _own(model_in(folder))
    return Hearing(**own["hearing"]) if own else Hearing()


def read_parts(folder: Path, *, device: torch.device | str, listener: str | Path | None = None) -> dict[str, Any]:
    """What `AudioLDM2` is made of.

    Args:
        folder: Of a run or a model.
        device: Where it computes.
        listener: An AudioMAE where the folder has none.

    Raises:
        FileNotFoundError: there is no model.
        ValueError: it is of a kind that is not known, or damaged.
    """
    inside = model_in(folder)
    own = _own(inside)
    network = _network(inside, own)
    has_listener = (inside / _LISTENER).is_dir()
    if has_listener and listener is not None:
        raise ValueError(f"{inside} has the AudioMAE that it was trained with: give no other listener beside it")
    heard = inside / _LISTENER if has_listener else listener
    return {
        "network": network.to(device).requires_grad_(False),
        "codec": MelVaeCodec.from_pretrained(inside, device=device),
        "encoders": FrozenEncoders(
            _clap(inside, device),
            _t5(inside, device),
            None if heard is None else AudioMae.from_pretrained(heard, device=device),
            device=device,
        ),
        "scheduler": _scheduler(inside),
        "hearing": hearing_of(folder),
    }


def _own(inside: Path) -> dict[str, Any]:
    """What `foundsound.json` says; empty for a folder that diffusers wrote."""
    file = inside / OWN_FILE
    if not file.is_file():
        told = json.loads((inside / INDEX_FILE).read_text(encoding="utf-8"))
        if told.get("_class_name") != _PIPELINE or told.get("text_encoder_2", ["", ""])[1] != "T5EncoderModel":
            raise ValueError(f"{inside} is no {_PIPELINE} with CLAP and T5")
        return {}
    return read_config(file, _FORMAT)


def _network(inside: Path, own: dict[str, Any]) -> AudioLdm2Network:
    from diffusers import AudioLDM2UNet2DConditionModel
    from transformers import GPT2Model

    quiet = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}  # as it is trained here
    gpt2 = GPT2Model.from_pretrained(inside / "language_model", use_safetensors=True, **quiet)
    unet = AudioLDM2UNet2DConditionModel.from_pretrained(
        str(inside), subfolder="unet", use_safetensors=True, low_cpu_mem_usage=False
    )
    weights = _adapter_weights(inside)
    told = own.get("streams") or [
        {"name": name, "width": weights[f"{name}.projection.weight"].shape[1]} for name in _PAIR
    ]
    config = LanguageConfig(
        streams=tuple(StreamConfig(**one) for one in told),
        vectors=own["vectors"] if own else int(getattr(gpt2.config, "max_new_tokens", None) or 8),
        width=gpt2.config.n_embd,
        depth=gpt2.config.n_layer,
        heads=gpt2.config.n_head,
        positions=gpt2.config.n_positions,
    )
    language = LanguageOfAudio(config, gpt2)
    language.adapters.load_state_dict(weights)
    network = AudioLdm2Network(language, unet, text_stream=own.get("text_stream", TEXT))
    scale = json.loads((inside / "vae" / "config.json").read_text(encoding="utf-8")).get("scaling_factor", 1.0)
    network.latent_scale.fill_(float(scale))
    if own:
        network.mean_loa_LW.copy_(load_file(inside / "mean_loa.safetensors")["mean_loa"])
    return network


def _adapter_weights(inside: Path) -> dict[str, torch.Tensor]:
    """Weights of the adapters, by their names here."""
    if (inside / _ADAPTERS).is_dir():
        return dict(load_file(inside / _ADAPTERS / "model.safetensors"))
    file = inside / "projection_model" / "diffusion_pytorch_model.safetensors"
    if not file.is_file():
        raise ValueError(f"{inside} has no {file.relative_to(inside)}: only safetensors are read")
    found = load_file(file)
    if "learnable_positional_embedding" in found:
        raise ValueError(f"{inside} is a model of speech with learned positions, which is not known here")
    return {f"{stream}.{own}": found[theirs] for stream, names in _PROJECTED.items() for own, theirs in names.items()}


def _clap(inside: Path, device: torch.device | str) -> ClapEncoder:
    """CLAP, whose parts lie in three folders; one that was written here has its own tokenizer beside its weights."""
    words = inside / "text_encoder" if (inside / "text_encoder" / "tokenizer.json").is_file() else inside / "tokenizer"
    return ClapEncoder.from_parts(inside / "text_encoder", words, inside / "feature_extractor", device=device)


def _t5(inside: Path, device: torch.device | str) -> T5TextTokens:
    from transformers import AutoTokenizer, T5EncoderModel

    model = T5EncoderModel.from_pretrained(inside / "text_encoder_2", use_safetensors=True)
    return T5TextTokens(model.to(device), AutoTokenizer.from_pretrained(inside / "tokenizer_2"))


def _scheduler(inside: Path) -> dict[str, Any]:
    """Settings of a DDIMScheduler, whichever kind of scheduler was saved."""
    from diffusers import DDIMScheduler

    told = json.loads((inside / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    config = DDIMScheduler.from_config({name: value for name, value in told.items() if not name.startswith("_")}).config
    return {name: value for name, value in config.items() if not name.startswith("_")}


def write_model(model: "AudioLDM2", folder: Path) -> None:
    """Writes a model's folder; one that is there is replaced once the new one is whole.

    Raises:
        ValueError: the text encoder is none of which the pipeline knows the tokenizer.
    """
    with written_whole(folder) as partial:
        _write_parts(model, partial)
        (partial / OWN_FILE).write_text(json.dumps(_told(model), indent=1) + "\n")


def _write_parts(model: "AudioLDM2", folder: Path) -> None:
    """Writes all but `foundsound.json` into an empty folder."""
    network, language = model.network, model.network.language
    model.codec.vae.register_to_config(scaling_factor=float(network.latent_scale))
    model.codec.save(folder)
    is_pair = tuple(language.adapters) == _PAIR
    parts: dict[str, Any] = {
        "unet": network.unet,
        "scheduler": _ddim(model.scheduler),
        "language_model": _with_head(language),
        **_words(model.encoders),
    }
    if is_pair:
        parts["projection_model"] = _projection(language)
    network.unet.to(memory_format=torch.contiguous_format)  # as safetensors want it
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    network.unet.to(memory_format=torch.channels_last)
    if is_pair:
        _pipeline({**parts, "vae": model.codec.vae, "vocoder": model.codec.vocoder}).save_config(folder)
    else:
        (folder / _ADAPTERS).mkdir()
        save_file(_whole(language.adapters), folder / _ADAPTERS / "model.safetensors")
    model.encoders.clap.tokenizer.save_pretrained(folder / "text_encoder")
    save_file({"mean_loa": network.mean_loa_LW.contiguous().cpu()}, folder / "mean_loa.safetensors")
    if model.encoders.listener is not None:
        save_audiomae(model.encoders.listener.network, folder / _LISTENER)


def _told(model: "AudioLDM2") -> dict[str, Any]:
    """What `foundsound.json` says."""
    language = model.network.language
    return {
        "format": _FORMAT,
        "system": "audioldm2",
        "streams": [asdict(one) for one in language.config.streams],
        "vectors": language.config.vectors,
        "text_stream": model.network.text_stream,
        "hearing": asdict(model.hearing),
    }


def _ddim(settings: dict[str, Any]) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(**settings)


def _pipeline(parts: dict[str, Any]) -> Any:
    from diffusers import AudioLDM2Pipeline

    return AudioLDM2Pipeline(**parts)


def _with_head(language: LanguageOfAudio) -> Any:
    """GPT-2 with the head of words that the pipeline asks for; it is not used."""
    from transformers import GPT2LMHeadModel

    with torch.device("meta"):
        whole = GPT2LMHeadModel(language.gpt2.config)
    whole.transformer = language.gpt2
    whole.tie_weights()
    whole.config.max_new_tokens = language.config.vectors
    return whole


def _projection(language: LanguageOfAudio) -> Any:
    from diffusers import AudioLDM2ProjectionModel

    widths = {one.name: one.width for one in language.config.streams}
    model = AudioLDM2ProjectionModel(widths[CLAP], widths[TEXT], language.config.width)
    held = _whole(language.adapters)
    model.load_state_dict(
        {theirs: held[f"{stream}.{own}"] for stream, names in _PROJECTED.items() for own, theirs in names.items()}
    )
    return model


def _words(encoders: FrozenEncoders) -> dict[str, Any]:
    """CLAP and T5 in the parts that the pipeline has."""
    from transformers import T5Tokenizer

    text = encoders.text
    if not isinstance(text, T5TextTokens) or not isinstance(text.tokenizer, T5Tokenizer):
        raise ValueError("the text encoder is no T5 with T5's tokenizer, which AudioLDM 2's layout asks for")
    text.tokenizer.model_max_length = text.most_tokens
    return {**clap_parts(encoders.clap), "text_encoder_2": text.model, "tokenizer_2": text.tokenizer}


def _whole(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
