"""Captioners in process: audio-language models through transformers, in batches, greedily.

How each family wants to be asked is in `families.py` and `questions.py`, how it is loaded in `loading.py`. Cutting and
resampling are `sound.py`'s; of a clip longer than a family's window the beginning is heard. A batch that does not fit
into memory is halved, and the size that fits kept. An answer that does not end within its bound is no caption.

torch and transformers are imported when a model is loaded, so that a driver that only counts rows starts fast.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from captioning.captioner import CaptionerIdentity, Sound, checked_answer, unended
from captioning.decoding import Decoding, Drawing
from captioning.in_process.draws import SeededChoice
from captioning.in_process.families import SAMPLE_RATE_HZ, Family, family_of
from captioning.in_process.loading import (
    DeviceMap,
    Dtype,
    Placement,
    Quantization,
    end_tokens,
    load_model,
    load_processor,
)
from captioning.in_process.pretrained import Pretrained
from captioning.in_process.questions import Turn, inputs_of
from captioning.picture import WINDOW_S
from captioning.prompt import Prompt
from curation.errors import ArgumentError, ClipError, Code, StoppedError


def default_device() -> str:
    """`cuda` where this process has one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def default_dtype(device: str) -> Dtype:
    """bfloat16 on a CUDA device, float32 on a CPU."""
    return "bfloat16" if device.startswith("cuda") else "float32"


def identity_of(
    source: Pretrained,
    *,
    dtype: Dtype,
    decoding: Decoding | None = None,
    quantize: Quantization | None = None,
    sees: bool = False,
) -> CaptionerIdentity:
    """The identity that a captioner of these settings has; nothing is loaded.

    Raises:
        ArgumentError: The model is of a family that is not known here, that sees nothing, or that is not quantised.
    """
    family = family_of(source.model_type(), source.name_or_path)
    if sees and not family.sees:
        raise ArgumentError(
            f"{source.name_or_path} is a {family.name}, which is shown no picture; leave --picture out, or take a "
            "Qwen2.5-Omni or Qwen3-Omni"
        )
    if quantize is not None and family.has_experts:
        raise ArgumentError(
            f"--quantize {quantize} would leave the experts of {source.name_or_path}, most of its weights, as large as "
            "they are; spread it by --device-map auto, or ask a server that has a quantised checkpoint of it"
        )
    return CaptionerIdentity(
        name=family.name,
        version=family.version,
        model=source.model,
        revision=source.revision,
        weights_sha256=source.weights_sha256,
        settings_sha256=source.settings_sha256,
        dtype=dtype,
        decoding=(decoding or Decoding()).as_dict(),
        sample_rate_hz=SAMPLE_RATE_HZ,
        window_s=min(family.window_s, WINDOW_S) if sees else family.window_s,
        quantized=quantize,
        sees="frames" if sees else None,
    )


class AudioLanguageModel:
    """A loaded model that listens and writes. Make one with `load` or `from_pretrained`."""

    def __init__(self, *, family: Family, model: Any, processor: Any, identity: CaptionerIdentity) -> None:
        """Takes the loaded parts.

        Args:
            family: What kind of model it is.
            model: On its device, for inference.
            processor: The processor that belongs to it, with left padding.
            identity: What it was loaded from, and how it decodes.
        """
        self._family = family
        self._most: int | None = None
        self._drawing = Drawing(**identity.decoding.get("drawing", {"draws": 1}))
        self._model = model
        self._processor = processor
        self._identity = identity
        self._ends = end_tokens(model, processor.tokenizer)
        self._model.generation_config = _greedy(
            model.generation_config, self._ends, processor.tokenizer, identity.decoding["max_new_tokens"]
        )
        self._control_tokens = sorted(processor.tokenizer.get_added_vocab(), key=len, reverse=True)

    @classmethod
    def load(
        cls, source: Pretrained, placement: Placement, *, decoding: Decoding | None = None, sees: bool = False
    ) -> Self:
        """Load a pinned model; only safetensors, and no code of the model's own.

        Args:
            source: Which model.
            placement: Where it computes, and how its weights are kept.
            decoding: How answers are drawn.
            sees: Whether it is shown the picture of each clip.

        Raises:
            ArgumentError: It is a model of another family, or its files do not belong together.
        """
        identity = identity_of(source, dtype=placement.dtype, decoding=decoding, quantize=placement.quantize, sees=sees)
        family = family_of(source.model_type(), source.name_or_path)
        model = load_model(source, family, placement)
        processor = load_processor(source, family, model.config, sees=sees)
        return cls(family=family, model=model, processor=processor, identity=identity)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: Dtype | None = None,
        decoding: Decoding | None = None,
        quantize: Quantization | None = None,
        sees: bool = False,
    ) -> Self:
        """Find and load a model in one step, as a notebook wants it.

        Args:
            name_or_path: `Qwen/Qwen2-Audio-7B-Instruct`, or a folder.
            revision: Branch, tag or commit on the Hub.
            device: Where it computes; None takes a CUDA device if there is one.
            dtype: Precision; None takes bfloat16 on CUDA, float32 on a CPU.
            decoding: How answers are drawn.
            quantize: `8bit` or `4bit` keeps the weights in so many bits.
            sees: Whether it is shown the picture of each clip.
        """
        device = device or default_device()
        source = Pretrained.find(name_or_path, revision=revision)
        placement = Placement(device=device, dtype=dtype or default_dtype(device), quantize=quantize)
        return cls.load(source, placement, decoding=decoding, sees=sees)

    def identity(self) -> CaptionerIdentity:
        """What decides its sentences."""
        return self._identity

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        """Ask the same prompt about each sound, all in one batch.

        Args:
            sounds: With waves at 16 kHz, no longer than the identity's window; with frames for one that sees.
            prompt: What is asked.
            draw: 0 for the most likely answer, above for a drawn one.

        Returns:
            A sentence each, or `TOO_SHORT`, `NO_LABEL` or `BAD_CAPTION`.

        Raises:
            ValueError: A wave is missing, at another rate or too long, or frames are, which is the caller's mistake.
        """
        answers: dict[int, str | ClipError] = {}
        asked: dict[int, Turn] = {}
        for place, sound in enumerate(sounds):
            try:
                asked[place] = self._turn(sound, prompt)
            except ClipError as error:
                answers[place] = error
        if asked:
            keys = [sounds[place].key for place in asked]
            answers |= zip(asked, self._answers(list(asked.values()), keys, draw), strict=True)
        return [answers[place] for place in range(len(sounds))]

    def _turn(self, sound: Sound, prompt: Prompt) -> Turn:
        wave_T, frames_NHWC = sound.wave_T, sound.frames_NHWC
        if wave_T is None or sound.sample_rate_hz != SAMPLE_RATE_HZ:
            raise ValueError(
                f"clip {sound.key}: a wave at {SAMPLE_RATE_HZ} Hz is wanted, not {sound.sample_rate_hz} Hz"
            )
        family, seconds, window_s = self._family, len(wave_T) / SAMPLE_RATE_HZ, self._identity.window_s
        if window_s is not None and seconds > window_s:
            raise ValueError(f"clip {sound.key} has {len(wave_T)} samples, more than {window_s:g} s: cut it first")
        if (frames_NHWC is None) == (self._identity.sees == "frames"):
            raise ValueError(f"clip {sound.key}: frames are wanted by a captioner that sees, and by no other")
        if seconds < family.shortest_s:
            raise ClipError(
                Code.TOO_SHORT, f"{seconds:.3f} s of sound; {family.name} hears none below {family.shortest_s:g} s"
            )
        text = self._plain(prompt.filled(sound.labels)) if family.takes_prompt else ""
        return Turn(text=text, wave_T=wave_T, frames_NHWC=frames_NHWC)

    def _plain(self, text: str) -> str:
        """The text without control tokens: a label from a list must not end the user's turn or announce a sound."""
        for token in self._control_tokens:
            text = text.replace(token, " ")
        return text

    def _answers(self, turns: list[Turn], keys: Sequence[str], draw: int) -> list[str | ClipError]:
        """The answers in order; of long and short sounds those of about one length go together.

        Raises:
            StoppedError: A single sound does not fit into the device's memory.
        """
        import torch

        order = sorted(range(len(turns)), key=lambda place: len(turns[place].wave_T))
        answers: dict[int, str | ClipError] = {}
        while order:
            batch = order[: self._most or len(order)]
            choice = SeededChoice([keys[place] for place in batch], draw, self._drawing) if draw else None
            try:
                answers |= zip(batch, self._generate([turns[place] for place in batch], choice), strict=True)
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    raise StoppedError(
                        f"one sound does not fit into the memory of {self._model.device}; use a GPU with more, a "
                        "smaller model, --quantize, or --device-map auto"
                    ) from error
                self._most = len(batch) // 2
                torch.cuda.empty_cache()  # what is left of the larger batch would be in pieces of its size
                continue
            order = order[len(batch) :]
        return [answers[place] for place in range(len(turns))]

    def _generate(self, turns: list[Turn], choice: SeededChoice | None) -> list[str | ClipError]:
        import torch

        inputs = inputs_of(turns, self._processor, self._family).to(self._model.device)
        inputs["input_features"] = inputs["input_features"].to(getattr(torch, str(self._identity.dtype)))
        shown = {"use_audio_in_video": True} if self._identity.sees else {}
        with torch.inference_mode():
            tokens_BL = self._model.generate(**inputs, **shown, logits_processor=[choice] if choice else None)
        new_BL = tokens_BL[:, inputs["input_ids"].shape[1] :]
        ended_B = torch.isin(new_BL, torch.tensor(self._ends, device=new_BL.device)).any(dim=1).tolist()
        texts = self._processor.tokenizer.batch_decode(new_BL, skip_special_tokens=True)
        return [
            checked_answer(text) if ended else unended(text, new_BL.shape[1])
            for text, ended in zip(texts, ended_B, strict=True)
        ]


def _greedy(own: Any, ends: list[int], tokenizer: Any, max_new_tokens: int) -> Any:
    """A generation config that keeps the model's end and padding tokens and nothing else of its own."""
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        bos_token_id=own.bos_token_id,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id if own.pad_token_id is None else own.pad_token_id,
    )


def builder(
    source: Pretrained,
    *,
    device: str,
    dtype: Dtype,
    decoding: Decoding | None = None,
    quantize: Quantization | None = None,
    device_map: DeviceMap | None = None,
    sees: bool = False,
) -> partial[AudioLanguageModel]:
    """A picklable function without arguments that loads the model, for the stage `caption`."""
    placement = Placement(device=device, dtype=dtype, quantize=quantize, device_map=device_map)
    return partial(AudioLanguageModel.load, source, placement, decoding=decoding, sees=sees)
