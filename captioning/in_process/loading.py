"""Loading a pinned audio-language model: weights on their device, and the processor that belongs to them.

Only safetensors are read and no code of a model's own is run. Of a checkpoint that also speaks or draws only what
listens and writes is loaded. Nothing is asked here; see `audio_language.py`.
"""

import importlib.util
from dataclasses import dataclass
from typing import Any, Literal, get_args

from captioning.in_process.families import SAMPLE_RATE_HZ, Family
from captioning.in_process.pretrained import Pretrained
from curation.errors import ArgumentError

Dtype = Literal["float32", "bfloat16", "float16"]
Quantization = Literal["8bit", "4bit"]
DeviceMap = Literal["auto"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where a model computes, and how its weights are kept there.

    Args:
        device: As `cpu` or `cuda`.
        dtype: Precision of the arithmetic, and of the weights that are not quantised.
        quantize: The weights of linear layers are kept in so many bits, by bitsandbytes; None keeps them whole.
        device_map: `auto` spreads the layers over all GPUs that this process sees, for a model that does not fit into
            one; None puts the whole model on `device`.
    """

    device: str
    dtype: Dtype
    quantize: Quantization | None = None
    device_map: DeviceMap | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("quantize", self.quantize, get_args(Quantization)),
            ("device-map", self.device_map, get_args(DeviceMap)),
        ):
            if value is not None and value not in known:
                raise ArgumentError(f"--{name} is {' or '.join(known)}, not {value!r}")
        if self.quantize is not None:
            _require("bitsandbytes", f"--quantize {self.quantize}", "accelerate", "bitsandbytes")
        if self.quantize is not None or self.device_map is not None:
            _require("accelerate", "a quantised model or one spread over GPUs", "accelerate")

    def options(self) -> dict[str, Any]:
        """What transformers' `from_pretrained` is called with."""
        import torch
        from transformers import BitsAndBytesConfig

        dtype = getattr(torch, self.dtype)
        options: dict[str, Any] = {"dtype": dtype}
        if self.quantize == "8bit":
            options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
        if self.quantize == "4bit":  # NF4, doubly quantised: arXiv 2305.14314, section 3
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=dtype,
            )
        if self.device_map is not None:
            options["device_map"] = self.device_map
        elif self.quantize is not None:
            options["device_map"] = {"": self.device}  # a quantised model cannot be moved afterwards
        return options


def _require(library: str, wanted_by: str, *install: str) -> None:
    if importlib.util.find_spec(library) is None:
        raise ArgumentError(f"{wanted_by} needs {library}, which is not installed: pip install {' '.join(install)}")


def load_model(source: Pretrained, family: Family, placement: Placement) -> Any:
    """The model with all its weights, for inference.

    Raises:
        ArgumentError: Weights are missing that its configuration asks for.
    """
    import transformers

    model, loading = getattr(transformers, family.model_class).from_pretrained(
        source.folder(),
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
        **placement.options(),
    )
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])
        raise ArgumentError(
            f"the weights of {source.name_or_path} lack {len(missing)} tensors, the first is {missing[0]}; they "
            "would be random: get weights that match its config.json"
        )
    if placement.quantize is None and placement.device_map is None:
        model = model.to(placement.device)
    return model.eval().requires_grad_(False)


def load_processor(source: Pretrained, family: Family, model_config: Any, *, sees: bool) -> Any:
    """The processor of a model, with left padding.

    Args:
        source: Which model.
        family: What kind of model it is.
        model_config: The configuration of the loaded model, whose token ids must be the tokenizer's.
        sees: Whether pictures will be shown to it.

    Raises:
        ArgumentError: Processor and model do not belong together, or torchvision is wanted and not there.
    """
    import transformers

    kind, folder = getattr(transformers, family.processor_class), source.folder()
    if sees:
        _require("torchvision", f"a picture for {family.name}", "torchvision")
    elif family.has_eyes:
        kind = _hearing_only(kind)
    processor = kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    _check(processor, model_config, family, source.model)
    processor.tokenizer.padding_side = "left"
    return processor


def _hearing_only(kind: Any) -> Any:
    """A processor class of the Omni models without its image and video parts, which need torchvision.

    The parts that a processor has are the arguments of its `__init__` (transformers 5.23, `get_attributes`).
    """
    from transformers import ProcessorMixin

    def hear(self: Any, feature_extractor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        ProcessorMixin.__init__(self, feature_extractor, tokenizer, chat_template=chat_template)
        for name in ("audio_token", "image_token", "video_token"):
            setattr(self, name, getattr(tokenizer, name))
            setattr(self, f"{name}_id", getattr(tokenizer, f"{name}_id"))

    return type(kind.__name__, (kind,), {"__init__": hear, "__module__": kind.__module__})


def _check(processor: Any, config: Any, family: Family, name: str) -> None:
    extractor = processor.feature_extractor
    chunk_s = family.chunk_s or extractor.chunk_length
    if (extractor.sampling_rate, extractor.chunk_length) != (SAMPLE_RATE_HZ, chunk_s):
        raise ArgumentError(
            f"the processor of {name} hears windows of {extractor.chunk_length} s at {extractor.sampling_rate} Hz; "
            f"{family.name} has {chunk_s:g} s at {SAMPLE_RATE_HZ} Hz: check its preprocessor_config.json"
        )
    if getattr(processor, "max_audio_len", family.window_s) < family.window_s:
        raise ArgumentError(
            f"the processor of {name} hears {processor.max_audio_len} s at most, {family.name} {family.window_s:g} s: "
            "check its processor_config.json"
        )
    # A tokenizer whose files are missing loads without an error and knows 5 tokens (transformers 5.23).
    found = processor.tokenizer.convert_tokens_to_ids(processor.audio_token)
    if found != config.audio_token_id:
        raise ArgumentError(
            f"the tokenizer of {name} gives {processor.audio_token!r} the id {found}, its config.json "
            f"{config.audio_token_id}: the files do not belong together, or the tokenizer's are missing"
        )


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Ids of the tokens that end an answer: the model's own, and the tokenizer's end of a turn.

    The Omni models name theirs in the code of the whole model, which a thinker alone does not have.
    """
    own = model.generation_config.eos_token_id
    ends = {own} if isinstance(own, int) else set(own or ())
    return sorted(ends | {tokenizer.eos_token_id} - {None})
