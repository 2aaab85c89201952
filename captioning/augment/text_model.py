"""The writer in process: a causal language model with a chat template, through transformers, in batches.

Any model that transformers' AutoModelForCausalLM knows and whose tokenizer has a chat template. Only safetensors are
read and no code of a model's own is run. torch and transformers are imported when a model is loaded.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from captioning.captioner import CaptionerIdentity, Sound, checked_answer, unended
from captioning.decoding import Decoding, Drawing
from captioning.in_process.audio_language import default_device, default_dtype
from captioning.in_process.draws import SeededChoice
from captioning.in_process.loading import Dtype, Placement, Quantization, end_tokens
from captioning.in_process.pretrained import Pretrained
from captioning.prompt import Prompt
from curation.errors import ArgumentError, ClipError, StoppedError

_QUOTED = re.compile(r'["\u201c]([^"\u201c\u201d]+)["\u201d]', re.DOTALL)

NAME = "text-model"
VERSION = 2
"""2: what a model thought before its answer is none of it; control characters are not kept."""


def identity_of(
    source: Pretrained, *, dtype: Dtype, decoding: Decoding | None = None, quantize: Quantization | None = None
) -> CaptionerIdentity:
    """The identity that a writer of these settings has; nothing is loaded."""
    return CaptionerIdentity(
        name=NAME,
        version=VERSION,
        model=source.model,
        revision=source.revision,
        weights_sha256=source.weights_sha256,
        settings_sha256=source.settings_sha256,
        dtype=dtype,
        decoding=(decoding or Decoding()).as_dict(),
        quantized=quantize,
    )


class TextModel:
    """A loaded model of texts. Make one with `load` or `from_pretrained`."""

    def __init__(self, *, model: Any, tokenizer: Any, identity: CaptionerIdentity) -> None:
        """Takes the loaded parts.

        Args:
            model: On its device, for inference.
            tokenizer: The tokenizer that belongs to it, with left padding and a chat template.
            identity: What it was loaded from, and how it decodes.
        """
        self._model, self._tokenizer, self._identity = model, tokenizer, identity
        self._most: int | None = None
        self._drawing = Drawing(**identity.decoding.get("drawing", {"draws": 1}))
        self._ends = end_tokens(model, tokenizer)
        self._control_tokens = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
        self._model.generation_config = self._greedy(int(identity.decoding["max_new_tokens"]))

    def _greedy(self, max_new_tokens: int) -> Any:
        from transformers import GenerationConfig

        padding = self._tokenizer.pad_token_id
        return GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_new_tokens,
            eos_token_id=self._ends,
            pad_token_id=self._ends[0] if padding is None else padding,
        )

    @classmethod
    def load(cls, source: Pretrained, placement: Placement, *, decoding: Decoding | None = None) -> Self:
        """Load a pinned model.

        Args:
            source: Which model.
            placement: Where it computes, and how its weights are kept.
            decoding: How answers are drawn.

        Raises:
            ArgumentError: It is no causal language model, its files do not belong together, or its tokenizer has no
                chat template.
        """
        import transformers

        options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        folder = source.folder()
        try:
            model, loading = transformers.AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **options, **placement.options()
            )
        except ValueError as error:
            raise ArgumentError(f"{source.name_or_path} is no causal language model: {error}") from error
        if loading["missing_keys"]:
            raise ArgumentError(
                f"the weights of {source.name_or_path} lack {len(loading['missing_keys'])} tensors, which would be "
                "random: get weights that match its config.json"
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left", **options)
        if tokenizer.chat_template is None or len(tokenizer) > model.get_input_embeddings().num_embeddings:
            raise ArgumentError(
                f"the tokenizer of {source.name_or_path} has no chat template, or more tokens than its model; take a "
                "model that was trained to answer, as Qwen/Qwen3-4B-Instruct-2507"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if placement.quantize is None and placement.device_map is None:
            model = model.to(placement.device)
        identity = identity_of(source, dtype=placement.dtype, decoding=decoding, quantize=placement.quantize)
        return cls(model=model.eval().requires_grad_(False), tokenizer=tokenizer, identity=identity)

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
            name_or_path: Name on the Hub, or a folder written by `save_pretrained`.
            revision: Branch, tag or commit on the Hub.
            device: Where it computes; None takes a CUDA device if there is one.
            dtype: Precision; None takes bfloat16 on CUDA, float32 on a CPU.
            decoding: How answers are drawn.
        """
        device = device or default_device()
        placement = Placement(device=device, dtype=dtype or default_dtype(device))
        return cls.load(Pretrained.find(name_or_path, revision=revision), placement, decoding=decoding)

    def identity(self) -> CaptionerIdentity:
        """What decides its sentences."""
        return self._identity

    def caption(self, sounds: Sequence[Sound], prompt: Prompt, draw: int = 0) -> list[str | ClipError]:
        """Write a caption for each clip from its facts.

        Args:
            sounds: The clips; their labels are the facts, a line each. Their waves are not looked at.
            prompt: With `{facts}`.
            draw: 0 for the most likely answer, above for a drawn one.

        Returns:
            A sentence each, or `NO_LABEL` (nothing is known) or `BAD_CAPTION`.

        Raises:
            StoppedError: A single question does not fit into the device's memory.
        """
        answers: dict[int, str | ClipError] = {}
        asked: dict[int, str] = {}
        for place, sound in enumerate(sounds):
            try:
                asked[place] = self._question(prompt.filled(sound.labels))
            except ClipError as error:
                answers[place] = error
        order = sorted(asked, key=lambda place: len(asked[place]))
        while order:
            batch = order[: self._most or len(order)]
            choice = SeededChoice([sounds[place].key for place in batch], draw, self._drawing) if draw else None
            texts = self._generate([asked[place] for place in batch], choice)
            if texts is None:
                self._most = len(batch) // 2
                continue
            answers |= zip(batch, texts, strict=True)
            order = order[len(batch) :]
        return [answers[place] for place in range(len(sounds))]

    def _question(self, text: str) -> str:
        """The turn of the user as the model wants it; what sources said holds no control tokens then."""
        for token in self._control_tokens:
            text = text.replace(token, " ")
        turn: str = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return turn

    def _generate(self, questions: list[str], choice: SeededChoice | None) -> list[str | ClipError] | None:
        """The answers, or None when they do not fit into memory together."""
        import torch

        inputs = self._tokenizer(questions, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = inputs.to(self._model.device)
        inputs.pop("token_type_ids", None)
        try:
            with torch.inference_mode():
                tokens_BL = self._model.generate(**inputs, logits_processor=[choice] if choice else None)
        except torch.OutOfMemoryError as error:
            if len(questions) == 1:
                raise StoppedError(
                    f"one question does not fit into the memory of {self._model.device}; use a GPU with more, or a "
                    "smaller model"
                ) from error
            torch.cuda.empty_cache()  # what is left of the larger batch would be in pieces of its size
            return None
        new_BL = tokens_BL[:, inputs["input_ids"].shape[1] :]
        ended_B = torch.isin(new_BL, torch.tensor(self._ends, device=new_BL.device)).any(dim=1).tolist()
        texts = self._tokenizer.batch_decode(new_BL, skip_special_tokens=True)
        return [
            unquoted(checked_answer(text)) if ended else unended(text, new_BL.shape[1])
            for text, ended in zip(texts, ended_B, strict=True)
        ]


def unquoted(answer: str | ClipError) -> str | ClipError:
    """An answer without quotation marks around the whole of it, which models put around a caption."""
    if isinstance(answer, ClipError):
        return answer
    match = _QUOTED.fullmatch(answer.strip())
    return match.group(1).strip() if match else answer.strip()


def builder(source: Pretrained, placement: Placement, *, decoding: Decoding | None = None) -> partial[TextModel]:
    """A picklable function without arguments that loads the model, for the stage `caption`."""
    return partial(TextModel.load, source, placement, decoding=decoding)
