"""Trains a tiny CLAP from nothing on a small corpus of captioned sounds, in well under a minute on two cores.

It is for corpora of a few kinds of sound and for tests; it does not fine-tune published models. What it saves is an
ordinary transformers folder, which `ClapEncoder.from_pretrained` loads like any other.

Shapes: N clips, B batch, F frames, M mel bands, L tokens, D joint dimension.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast

from models.encoders.clap_mel import ClapMel, ClapMelConfig, int16_round_trip

# The order gives the ids RoBERTa has, which ClapTextConfig presumes: <s> 0, <pad> 1, </s> 2.
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BOS_ID, PAD_ID, EOS_ID, MASK_ID = 0, 1, 2, 4
# Source: Radford et al. 2021 (CLIP), section 2.5: the temperature's inverse never exceeds 100.
LARGEST_SCALE = 100.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyClapConfig:
    """Size and training of a tiny CLAP. All defaults are ours, chosen by the clock: 300 steps take 30 s on one core.

    Attributes:
        sample_rate_hz: rate of the sounds.
        window_s: longest sound, whole seconds; shorter ones are repeated up to it.
        hop_ms: time between mel frames.
        n_fft: samples of the Hann window.
        mel_bins: mel bands.
        f_min_hz: lower edge of the lowest band.
        f_max_hz: upper edge of the highest band.
        audio_width: width of the first stage of the sound tower; the second has twice that.
        text_width: width of the text tower.
        text_layers: blocks of the text tower.
        text_tokens: longest caption, with its first and last token.
        vocabulary: largest number of tokens.
        dimension: joint dimension.
        batch_clips: clips of one step.
        learning_rate: peak of AdamW's rate, after a linear warm-up and before a cosine decay to zero.
        word_dropout: share of caption tokens hidden in training, so that no single word carries the meaning.
        gain_db: sounds are made louder or softer by up to this much in training.
    """

    sample_rate_hz: int = 16_000
    window_s: int = 4
    hop_ms: float = 20.0
    n_fft: int = 1024
    mel_bins: int = 64
    f_min_hz: float = 50.0
    f_max_hz: float = 7_600.0
    audio_width: int = 32
    text_width: int = 64
    text_layers: int = 2
    text_tokens: int = 48
    vocabulary: int = 2_000
    dimension: int = 64
    batch_clips: int = 32
    learning_rate: float = 2e-3
    word_dropout: float = 0.15
    gain_db: float = 6.0

    def __post_init__(self) -> None:
        for name in ("window_s", "audio_width", "text_width", "text_layers", "dimension"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.audio_width % 8 or self.text_width % 4:
            raise ValueError(
                f"audio_width must divide by 8 and text_width by 4, got {self.audio_width} and {self.text_width}"
            )
        if self.mel_bins < 16 or self.mel_bins % 16:
            raise ValueError(f"mel_bins must be a multiple of 16 (patches of 8, merged by two), got {self.mel_bins}")
        if self.text_tokens < 3:
            raise ValueError(f"text_tokens must be at least 3, got {self.text_tokens}")
        if self.vocabulary < len(SPECIAL_TOKENS) + 256:
            raise ValueError(f"vocabulary must hold 256 bytes and {len(SPECIAL_TOKENS)} marks, got {self.vocabulary}")
        if self.batch_clips < 2:
            raise ValueError(f"batch_clips must be at least 2 (the others are the negatives), got {self.batch_clips}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate must lie between 0 and 1, got {self.learning_rate}")
        if not 0 <= self.word_dropout < 1:
            raise ValueError(f"word_dropout must be in [0, 1), got {self.word_dropout}")
        if not 0 <= self.gain_db <= 40:
            raise ValueError(f"gain_db must be in [0, 40], got {self.gain_db}")
        _ = self.mel  # checks the rest

    @property
    def mel(self) -> ClapMelConfig:
        """Settings of the log-mel."""
        return ClapMelConfig(
            sample_rate_hz=self.sample_rate_hz,
            window_s=float(self.window_s),
            n_fft=self.n_fft,
            hop_samples=round(self.hop_ms * self.sample_rate_hz / 1000),
            mel_bins=self.mel_bins,
            f_min_hz=self.f_min_hz,
            f_max_hz=self.f_max_hz,
        )

    @property
    def spec_size(self) -> int:
        """Side of the square picture the sound tower sees: `mel_bins` bands by F frames, folded `ratio` times."""
        ratio = math.ceil(math.sqrt(self.mel.frames / self.mel_bins))
        return self.mel_bins * ratio


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyClap:
    """A tiny CLAP with what belongs to it."""

    model: ClapModel
    tokenizer: Any
    extractor: ClapFeatureExtractor

    def save(self, folder: str | Path) -> Path:
        """Writes the folder that `ClapEncoder.from_pretrained` loads (safetensors and JSON), and returns it."""
        folder = Path(folder)
        for part in (self.model, self.tokenizer, self.extractor):
            part.save_pretrained(folder)
        return folder


def build_tiny_clap(captions: list[str], config: TinyClapConfig, *, seed: int = 0) -> TinyClap:
    """Makes an untrained tiny CLAP whose tokenizer knows the words of the captions.

    Args:
        captions: at least one.
        config: sizes.
        seed: of the weights.

    Raises:
        ValueError: no captions.
    """
    if not captions:
        raise ValueError("a tiny CLAP's tokenizer is made from captions, and there are none")
    tokenizer = _tokenizer(captions, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ClapModel(_clap_config(config, vocabulary=len(tokenizer)))
    mel = config.mel
    extractor = ClapFeatureExtractor(
        feature_size=mel.mel_bins,
        sampling_rate=mel.sample_rate_hz,
        hop_length=mel.hop_samples,
        max_length_s=config.window_s,
        fft_window_size=mel.n_fft,
        frequency_min=mel.f_min_hz,
        frequency_max=mel.f_max_hz,
        truncation="rand_trunc",
        padding=mel.padding,
    )
    return TinyClap(model=model, tokenizer=tokenizer, extractor=extractor)


def contrastive_loss(sound_BD: Tensor, text_BD: Tensor, scale: Tensor, group_B: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE between sounds and texts, in which a group's members share the target instead of competing.

    Args:
        sound_BD: float (B, D), unit length.
        text_BD: float (B, D), unit length; row b describes sound b.
        scale: scalar, inverse temperature, positive.
        group_B: int (B,); pairs of one group count as each other's match in equal parts. Without it each pair
            stands alone.

    Returns:
        Scalar, in nats, the mean of both directions; ln B for vectors that are all equal, without groups.

    Source: Radford et al. 2021, figure 3; for sound Wu et al. 2023, equation 1; equal parts of a group as in
    Khosla et al. 2020 (supervised contrastive learning), equation 2.
    """
    logits_BB = scale * sound_BD @ text_BD.T
    if group_B is None:
        group_B = torch.arange(len(logits_BB), device=logits_BB.device)
    same_BB = (group_B[:, None] == group_B[None, :]).to(logits_BB.dtype)
    target_BB = same_BB / same_BB.sum(dim=1, keepdim=True)
    return (nn.functional.cross_entropy(logits_BB, target_BB) + nn.functional.cross_entropy(logits_BB.T, target_BB)) / 2


def fit_tiny_clap(
    waves: Sequence[np.ndarray[Any, np.dtype[np.float32]]],
    captions: Sequence[Sequence[str]],
    *,
    groups: Sequence[int] | None = None,
    config: TinyClapConfig,
    steps: int,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
    device: str | torch.device = "cpu",
) -> TinyClap:
    """Trains a tiny CLAP from nothing.

    Args:
        waves: N mono sounds, float32 at `config.sample_rate_hz`, none longer than `config.window_s`.
        captions: for each sound one or more; each step draws one.
        groups: for each sound a number; sounds of one number are not told apart. None: all are.
        config: sizes and training.
        steps: optimiser steps, at least 1.
        seed: of weights, batches and augmentation; the same seed gives the same model on one machine.
        on_step: called after each step with its number from 1 and its loss.
        device: where to train; the result is on the CPU.

    Raises:
        ValueError: lengths differ, a sound has no caption or is too long, fewer than two sounds.
    """
    _check_corpus(waves, captions, groups, steps)
    clap = build_tiny_clap([text for texts in captions for text in texts], config, seed=seed)
    mel = ClapMel(config.mel)
    mel_NFM = torch.cat([mel(int16_round_trip(torch.from_numpy(wave)[None])) for wave in waves]).to(device)
    tokens = [_encode(clap.tokenizer, list(texts), config).to(device) for texts in captions]
    group_N = torch.as_tensor(list(groups) if groups is not None else list(range(len(waves))), device=device)
    model = clap.model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    for step in range(steps):
        rng = np.random.default_rng([seed, step])
        chosen = rng.permutation(len(waves))[: config.batch_clips]
        features_BFM = _vary_sound(mel_NFM[chosen], rng, config)
        ids_BL = torch.stack([tokens[clip][rng.integers(len(tokens[clip]))] for clip in chosen])
        ids_BL = _hide_words(ids_BL, rng, config)
        sound_BD = model.get_audio_features(input_features=features_BFM[:, None]).pooler_output
        text_BD = model.get_text_features(input_ids=ids_BL, attention_mask=(ids_BL != PAD_ID).long()).pooler_output
        scale = model.logit_scale_a.exp().clamp(max=LARGEST_SCALE)
        loss = contrastive_loss(sound_BD, text_BD, scale, group_N[chosen])
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step + 1, loss.item())
    with torch.no_grad():
        model.logit_scale_t.copy_(model.logit_scale_a)
    model.to("cpu").eval()
    return clap


def _check_corpus(
    waves: Sequence[np.ndarray[Any, Any]], captions: Sequence[Sequence[str]], groups: Sequence[int] | None, steps: int
) -> None:
    if len(waves) < 2:
        raise ValueError(f"contrastive training needs at least two sounds, got {len(waves)}")
    if len(captions) != len(waves):
        raise ValueError(f"each sound needs its list of captions: {len(waves)} sounds, {len(captions)} lists")
    if groups is not None and len(groups) != len(waves):
        raise ValueError(f"each sound needs its group: {len(waves)} sounds, {len(groups)} groups")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    for clip, texts in enumerate(captions):
        if not texts:
            raise ValueError(f"sound {clip} has no caption; leave it out or caption it")


def _tokenizer(captions: list[str], config: TinyClapConfig) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        min_frequency=1,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(captions, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BOS_ID), ("</s>", EOS_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=config.text_tokens,
        padding_side="right",
    )


def _clap_config(config: TinyClapConfig, *, vocabulary: int) -> ClapConfig:
    heads = config.audio_width // 8
    return ClapConfig(
        projection_dim=config.dimension,
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": config.text_width,
            "num_hidden_layers": config.text_layers,
            "num_attention_heads": 4,
            "intermediate_size": 4 * config.text_width,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            # Positions count from pad_token_id + 1.
            "max_position_embeddings": config.text_tokens + PAD_ID + 1,
            "pad_token_id": PAD_ID,
            "bos_token_id": BOS_ID,
            "eos_token_id": EOS_ID,
        },
        audio_config={
            "num_mel_bins": config.mel_bins,
            "spec_size": config.spec_size,
            # Overlapping patches, ours; over three seeds no clear difference from patches of 8 was measured.
            "patch_size": 16,
            "patch_stride": [8, 8],
            "window_size": 4,
            "patch_embeds_hidden_size": config.audio_width,
            "depths": [1, 1],
            "num_attention_heads": [heads, 2 * heads],
            "hidden_size": 2 * config.audio_width,
            "hidden_dropout_prob": 0.0,
            "mlp_ratio": 2.0,
        },
    )


def _encode(tokenizer: Any, texts: list[str], config: TinyClapConfig) -> Tensor:
    batch = tokenizer(texts, padding="max_length", truncation=True, max_length=config.text_tokens, return_tensors="pt")
    return torch.as_tensor(batch["input_ids"])


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear over the first tenth of the steps, then half a cosine to zero."""
    warm_up = max(1, steps // 10)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _vary_sound(mel_BFM: Tensor, rng: np.random.Generator, config: TinyClapConfig) -> Tensor:
    """Turns the window in time and changes the gain of each sound; in decibels a gain is a sum."""
    shifts = rng.integers(mel_BFM.shape[1], size=len(mel_BFM))
    rolled_BFM = torch.stack([mel_FM.roll(int(shift), dims=0) for mel_FM, shift in zip(mel_BFM, shifts, strict=True)])
    gain_B = rng.uniform(-config.gain_db, config.gain_db, size=len(mel_BFM)).astype(np.float32)
    return (rolled_BFM + torch.from_numpy(gain_B).to(mel_BFM.device)[:, None, None]).clamp_min(-100.0)


def _hide_words(ids_BL: Tensor, rng: np.random.Generator, config: TinyClapConfig) -> Tensor:
    hidden_BL = torch.from_numpy(rng.random(tuple(ids_BL.shape)) < config.word_dropout).to(ids_BL.device)
    return torch.where(hidden_BL & (ids_BL >= len(SPECIAL_TOKENS)), MASK_ID, ids_BL)
