"""Captioners in process: audio-language models through transformers, in batches, greedily.

How each family wants to be asked is in `families.py`. Cutting and resampling are `sound.py`'s; of a clip longer than a
family's window the beginning is heard. A batch that does not fit into memory is halved, and the size that fits kept.

torch and transformers are imported when a model is loaded, so that a driver that only counts rows starts fast.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from captioning.captioner import CaptionerIdentity, Sound, checked_answer
from captioning.decoding import Decoding, Drawing
from captioning.in_process.draws import SeededChoice
from captioning.in_process.families import CHUNK_S, SAMPLE_RATE_HZ, Family, family_of
from captioning.in_process.pretrained import Pretrained
from captioning.prompt import Prompt
from curation.errors import ArgumentError, ClipError, Code, StoppedError

Dtype = Literal["float32", "bfloat16", "float16"]
Conversation = list[dict[str, Any]]


def default_device() -> str:
    """`cuda` where this process has one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def default_dtype(device: str) -> Dtype:
    """bfloat16 on a CUDA device, float32 on a CPU."""
    return "bfloat16" if device.startswith("cuda") else "float32"


def identity_of(source: Pretrained, *, dtype: Dtype, decoding: Decoding | None = None) -> CaptionerIdentity:
    """The identity that a captioner of these settings has; nothing is loaded.

    Raises:
        ArgumentError: The model is of a family that is not known here.
    """
    family = family_of(source.model_type(), source.name_or_path)
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
        window_s=family.window_s,
    )


class AudioLanguageModel:
    """A loaded model that listens and writes. Make one with `load` or `from_pretrained`."""

    def __init__(self, *, family: Family, model: Any, processor: Any, identity: CaptionerIdentity) -> None:
        """Takes the loaded parts.

        Args:
            family: What kind of model it is.
            model: On its device.
            processor: The processor that belongs to it.
            identity: What it was loaded from, and how it decodes.

        Raises:
            ArgumentError: Processor and model do not belong together.
        """
        _check_processor(processor, model.config, family, str(identity.model))
        self._family = family
        self._most: int | None = None
        self._drawing = Drawing(**identity.decoding.get("drawing", {"draws": 1}))
        processor.tokenizer.padding_side = "left"
        self._model = model.eval().requires_grad_(False)
        self._processor = processor
        self._identity = identity
        self._model.generation_config = _greedy(model.generation_config, identity.decoding["max_new_tokens"])
        self._control_tokens = sorted(processor.tokenizer.get_added_vocab(), key=len, reverse=True)

    @classmethod
    def load(cls, source: Pretrained, *, device: str, dtype: Dtype, decoding: Decoding | None = None) -> Self:
        """Load a pinned model; only safetensors, and no code of the model's own.

        Args:
            source: Which model.
            device: Where it computes, as `cpu` or `cuda`.
            dtype: Precision of weights and arithmetic.
            decoding: How answers are drawn.

        Raises:
            ArgumentError: It is a model of another family, or its files do not belong together.
        """
        import torch
        import transformers

        family = family_of(source.model_type(), source.name_or_path)
        folder = source.folder()
        model, loading = getattr(transformers, family.model_class).from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        if loading["missing_keys"]:
            missing = sorted(loading["missing_keys"])
            raise ArgumentError(
                f"the weights of {source.name_or_path} lack {len(missing)} tensors, the first is {missing[0]}; they "
                "would be random: get weights that match its config.json"
            )
        processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        identity = identity_of(source, dtype=dtype, decoding=decoding)
        return cls(family=family, model=model.to(device), processor=processor, identity=identity)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: Dtype | None = None,
        decoding: Decoding | None = None,
    ) -> Self:
        """Find and load a model in one step, as a notebook wants it.

        Args:
            name_or_path: `Qwen/Qwen2-Audio-7B-Instruct`, or a folder.
            revision: Branch, tag or commit on the Hub.
            device: Where it computes; None takes a CUDA device if there is one.
            dtype: Precision; None takes bfloat16 on CUDA, float32 on a CPU.
            decoding: How answers are drawn.
        """
        device = device or default_device()
        source = Pretrained.find(name_or_path, revision=revision)
        return cls.load(source, device=device, dtype=dtype or default_dtype(device), decoding=decoding)

    def identity(self) -> CaptionerIdentity:
        """What decides its sentences."""
        return self._identity

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        """Ask the same prompt about each sound, all in one batch.

        Args:
            sounds: With waves at 16 kHz, no longer than the family's window.
            prompt: What is asked.
            draw: 0 for the most likely answer, above for a drawn one.

        Returns:
            A sentence each, or `TOO_SHORT`, `NO_LABEL` or `BAD_CAPTION`.

        Raises:
            ValueError: A wave is missing, at another rate or too long, which is the caller's mistake.
        """
        answers: dict[int, str | ClipError] = {}
        asked: dict[int, Conversation] = {}
        for place, sound in enumerate(sounds):
            try:
                asked[place] = self._conversation(sound, prompt)
            except ClipError as error:
                answers[place] = error
        if asked:
            keys = [sounds[place].key for place in asked]
            texts = self._answers(list(asked.values()), keys, draw)
            answers |= zip(asked, map(checked_answer, texts), strict=True)
        return [answers[place] for place in range(len(sounds))]

    def _conversation(self, sound: Sound, prompt: Prompt) -> Conversation:
        wave_T = sound.wave_T
        if wave_T is None or sound.sample_rate_hz != SAMPLE_RATE_HZ:
            raise ValueError(
                f"clip {sound.key}: a wave at {SAMPLE_RATE_HZ} Hz is wanted, not {sound.sample_rate_hz} Hz"
            )
        family, seconds = self._family, len(wave_T) / SAMPLE_RATE_HZ
        if seconds > family.window_s:
            raise ValueError(
                f"clip {sound.key} has {len(wave_T)} samples, more than {family.window_s:g} s: cut it first"
            )
        if seconds < family.shortest_s:
            raise ClipError(
                Code.TOO_SHORT, f"{seconds:.3f} s of sound; {family.name} hears none below {family.shortest_s:g} s"
            )
        text = self._plain(prompt.filled(sound.labels))
        content = [{"type": "audio", "audio": wave_T}, {"type": "text", "text": text}]
        return [{"role": "user", "content": content}]

    def _plain(self, text: str) -> str:
        """The text without control tokens: a label from a list must not end the user's turn or announce a sound."""
        for token in self._control_tokens:
            text = text.replace(token, " ")
        return text

    def _answers(self, conversations: list[Conversation], keys: Sequence[str], draw: int) -> list[str]:
        """The answers in order; of long and short sounds those of about one length go together.

        Raises:
            StoppedError: A single sound does not fit into the device's memory.
        """
        import torch

        order = sorted(range(len(conversations)), key=lambda place: len(conversations[place][0]["content"][0]["audio"]))
        answers: dict[int, str] = {}
        while order:
            batch = order[: self._most or len(order)]
            choice = SeededChoice([keys[place] for place in batch], draw, self._drawing) if draw else None
            try:
                texts = self._generate([conversations[place] for place in batch], choice)
                answers |= zip(batch, texts, strict=True)
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    raise StoppedError(
                        f"one sound does not fit into the memory of {self._model.device}; use a GPU with more, or a "
                        "smaller model"
                    ) from error
                self._most = len(batch) // 2
                continue
            order = order[len(batch) :]
        return [answers[place] for place in range(len(conversations))]

    def _generate(self, conversations: list[Conversation], choice: SeededChoice | None) -> list[str]:
        import torch

        inputs = self._processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs=dict(self._family.processor_options),
        ).to(self._model.device)
        inputs["input_features"] = inputs["input_features"].to(self._model.dtype)
        with torch.inference_mode():
            tokens_BL = self._model.generate(**inputs, logits_processor=[choice] if choice else None)
        new_BL = tokens_BL[:, inputs["input_ids"].shape[1] :]
        answers: list[str] = self._processor.batch_decode(new_BL, skip_special_tokens=True)
        return answers


def _greedy(own: Any, max_new_tokens: int) -> Any:
    """A generation config that keeps the model's end and padding tokens and nothing else of its own."""
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id,
    )


def _check_processor(processor: Any, config: Any, family: Family, name: str) -> None:
    extractor = processor.feature_extractor
    if (extractor.sampling_rate, extractor.chunk_length) != (SAMPLE_RATE_HZ, CHUNK_S):
        raise ArgumentError(
            f"the processor of {name} hears windows of {extractor.chunk_length} s at {extractor.sampling_rate} Hz; "
            f"{family.name} has {CHUNK_S:g} s at {SAMPLE_RATE_HZ} Hz: check its preprocessor_config.json"
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


def builder(
    source: Pretrained, *, device: str, dtype: Dtype, decoding: Decoding | None = None
) -> partial[AudioLanguageModel]:
    """A picklable function without arguments that loads the model, for the stage `caption`."""
    return partial(AudioLanguageModel.load, source, device=device, dtype=dtype, decoding=decoding)
