"""Training an AudioMAE from nothing: most patches are hidden, and a decoder has to say what they were.

Source: P.-Y. Huang et al. 2022 (arXiv 2207.06405) and its published code: masks without structure, loss on hidden
patches alone. The decoder here attends to everything, as the paper's first one; its best attends within windows. What
is kept is the encoder.

Shapes: B sounds, T samples, F frames, M mel bands, P patches, V visible ones, S numbers of a patch, D width, E width of
the decoder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.encoders.audiomae import AudioMae, save_audiomae
from models.encoders.audiomae_network import (
    NORM_EPSILON,
    AudioMaeConfig,
    AudioMaeEncoder,
    Block,
    sincos_positions,
)
from models.encoders.kaldi_fbank import KaldiFbank
from models.model_folder import RUN_MODEL
from models.training.averaged import open_together, seeded, train_averaged, written
from models.training.ema import EmaSettings
from models.training.execution import Execution
from models.training.loop import TrainSettings, Watchers
from models.training.optimizers import OptimizerSettings
from models.training.schedule import Schedule
from models.training.step import Batch, StepResult
from models.training.world import World

VARIANCE_FLOOR = 1e-6
"""Added to a patch's variance before it is divided by. Source: the published code of MAE."""

LEVELLED_CLIPS = 256
"""Clips from which the level of its vectors is measured. Ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskingConfig:
    """What is hidden, and the decoder. Source of the defaults: the published code.

    Attributes:
        hidden_ratio: Share of the patches that is hidden, in (0, 1).
        is_normalised: Whether a patch is compared after its own mean and deviation are taken out of it.
        decoder_width: A multiple of 4 and of `decoder_heads`.
        decoder_depth: Blocks of the decoder.
        decoder_heads: Of its attention.
    """

    hidden_ratio: float = 0.8
    is_normalised: bool = True
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.hidden_ratio < 1:
            raise ValueError(f"hidden_ratio must be between 0 and 1, got {self.hidden_ratio}")
        if self.decoder_depth < 1 or self.decoder_heads < 1:
            raise ValueError(
                f"decoder_depth and decoder_heads must be at least 1, got {self.decoder_depth} and {self.decoder_heads}"
            )
        if self.decoder_width < 4 or self.decoder_width % 4 or self.decoder_width % self.decoder_heads:
            raise ValueError(
                f"decoder_width must be a multiple of 4 and of decoder_heads ({self.decoder_heads}), "
                f"got {self.decoder_width}"
            )

    def visible(self, patches: int) -> int:
        """How many of so many patches are seen, at least 1."""
        return max(1, int(patches * (1 - self.hidden_ratio)))


class MaskedAutoencoder(nn.Module):
    """An encoder that sees some patches, and a decoder that says what is in all of them."""

    positions: Tensor

    def __init__(self, size: AudioMaeConfig, masking: MaskingConfig) -> None:
        super().__init__()
        self.encoder = AudioMaeEncoder(size)
        width = masking.decoder_width
        self.enter = nn.Linear(size.width, width)
        self.hidden_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("positions", sincos_positions(size.grid, width))
        self.blocks = nn.ModuleList([Block(width, masking.decoder_heads) for _ in range(masking.decoder_depth)])
        self.norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.leave = nn.Linear(width, size.patch**2)
        self._draw_weights()

    def _draw_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.encoder.patch_embed.proj.weight.data.flatten(1))
        nn.init.normal_(self.encoder.cls_token, std=0.02)
        nn.init.normal_(self.hidden_token, std=0.02)

    def forward(self, mel_BFM: Tensor, visible_BV: Tensor) -> Tensor:
        """Says what is in each patch.

        Args:
            mel_BFM: float32, as the encoder's `config.fbank` has it.
            visible_BV: int64, the patches that are seen, no two of a sound equal.

        Returns:
            float32 (B, P, S).
        """
        patch_BPD = self.encoder.embed(mel_BFM)
        seen_BVD = patch_BPD.gather(1, visible_BV[..., None].expand(-1, -1, patch_BPD.shape[2]))
        x_BLD = self.encoder.with_first(seen_BVD)
        for block in self.encoder.blocks:
            x_BLD = block(x_BLD)
        y_BLE = self.enter(self.encoder.norm(x_BLD))
        hidden_BPE = self.hidden_token.to(y_BLE.dtype).expand(patch_BPD.shape[0], patch_BPD.shape[1], -1)
        placed_BPE = hidden_BPE.scatter(1, visible_BV[..., None].expand(-1, -1, y_BLE.shape[2]), y_BLE[:, 1:])
        y_BLE = torch.cat([y_BLE[:, :1], placed_BPE], dim=1) + self.positions
        for block in self.blocks:
            y_BLE = block(y_BLE)
        return torch.as_tensor(self.leave(self.norm(y_BLE)))[:, 1:]


def cut_patches(mel_BFM: Tensor, patch: int) -> Tensor:
    """Numbers of each patch: (B, F, M) -> (B, P, S), time the slower, between patches and within one."""
    return mel_BFM.unfold(1, patch, patch).unfold(2, patch, patch).flatten(1, 2).flatten(2)


class MaskedAutoencoding:
    """What a step minimises: the mean square error on hidden patches."""

    def __init__(self, size: AudioMaeConfig, masking: MaskingConfig) -> None:
        self.size, self.masking = size, masking
        self._fbank = KaldiFbank(size.fbank)

    def __call__(self, network: nn.Module, batch: Batch, rngs: Sequence[np.random.Generator]) -> StepResult:
        """The loss of a batch.

        Args:
            network: A `MaskedAutoencoder`.
            batch: `waves`, float32 (B, 1, T) at 16 kHz, full scale 1.
            rngs: Draw the patches that are seen.
        """
        wave_BT = batch["waves"][:, 0]
        mel_BFM = self._fbank.to(wave_BT.device)(wave_BT)
        visible_BV = torch.from_numpy(
            np.stack([rng.permutation(self.size.patches)[: self.masking.visible(self.size.patches)] for rng in rngs])
        ).to(wave_BT.device)
        said_BPS = network(mel_BFM, visible_BV).float()
        true_BPS = cut_patches(mel_BFM, self.size.patch)
        if self.masking.is_normalised:
            mean_BP1, variance_BP1 = true_BPS.mean(-1, keepdim=True), true_BPS.var(-1, keepdim=True)
            true_BPS = (true_BPS - mean_BP1) / (variance_BP1 + VARIANCE_FLOOR).sqrt()
        is_hidden_BP = torch.ones(said_BPS.shape[:2], device=wave_BT.device).scatter(1, visible_BV, 0.0)
        error_BP = (said_BPS - true_BPS).square().mean(-1)
        return StepResult(loss=(error_BP * is_hidden_BP).sum() / is_hidden_BP.sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioMaeRecipe:
    """An AudioMAE to train.

    Attributes:
        size: Of the encoder.
        masking: What is hidden, and the decoder.
        training: The run.
        batch_clips: Clips of one batch, over all processes.
        window_samples: Length of a training sample; what is missing to the encoder's frames is filled up.
    """

    size: AudioMaeConfig
    training: TrainSettings
    batch_clips: int
    window_samples: int
    masking: MaskingConfig = field(default_factory=MaskingConfig)

    def __post_init__(self) -> None:
        if self.batch_clips < 1:
            raise ValueError(f"batch_clips must be at least 1, got {self.batch_clips}")
        longest = self.size.fbank.samples_of(self.size.frames)
        if not 0 < self.window_samples <= longest:
            raise ValueError(f"window_samples must be in 1..{longest}, got {self.window_samples}")

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""
        return self.size.fbank.sample_rate_hz

    @property
    def channels(self) -> int:
        """Channels of the sounds."""
        return 1

    @property
    def hop_samples(self) -> int:
        """Samples of a patch."""
        return self.size.patch * self.size.fbank.hop_samples


def audiomae_tiny(*, total_clips: int = 4_000, seed: int = 0) -> AudioMaeRecipe:
    """An AudioMAE that two CPU cores train in minutes: 5.12 s, patches of 16 by 16, 96 wide. All of it is ours.

    Args:
        total_clips: Length of the run.
        seed: Of the run.
    """
    return AudioMaeRecipe(
        size=AudioMaeConfig(frames=512, width=96, depth=4, heads=4),
        masking=MaskingConfig(hidden_ratio=0.75, decoder_width=64, decoder_depth=2, decoder_heads=4),
        training=TrainSettings(
            seed=seed,
            total_clips=total_clips,
            schedule=Schedule(peak=1e-3, warmup_clips=min(400, total_clips // 10), decay="cosine", floor=0.01),
            ema=EmaSettings(halflife_clips=200),
            optimizer=OptimizerSettings(weight_decay=1e-2, betas=(0.9, 0.95)),
            clip_seconds=5.12,
            report_every_clips=400,
            save_every_clips=2_000,
        ),
        batch_clips=16,
        window_samples=81_920,
    )


def audiomae_speech_tiny(*, total_clips: int = 8_000, seed: int = 0) -> AudioMaeRecipe:
    """`audiomae_tiny` for words of about a second: 1.28 s are 8 by 8 patches. All of it is ours.

    Args:
        total_clips: Length of the run.
        seed: Of the run.
    """
    recipe = audiomae_tiny(total_clips=total_clips, seed=seed)
    return replace(
        recipe,
        size=replace(recipe.size, frames=128),
        training=replace(recipe.training, clip_seconds=1.28),
        window_samples=20_480,
    )


def audiomae_base(*, total_clips: int = 66_000_000, seed: int = 0) -> AudioMaeRecipe:
    """ViT-B/16 over 10.24 s, for GPUs.

    Source: the published code, `submit_pretrain_audioset2M.sh` and `main_pretrain.py`: 512 clips a batch, 33 epochs of
    AudioSet's 2 million clips, 3 of them warm-up, AdamW with betas 0.9 and 0.95 and weight decay 1e-4, a rate of 2e-4
    for each 256 clips of a batch, half a cosine. Ours: gradients are clipped, weights averaged, and sounds neither
    rolled nor made louder.

    Args:
        total_clips: Length of the run.
        seed: Of the run.
    """
    return AudioMaeRecipe(
        size=AudioMaeConfig(),
        training=TrainSettings(
            seed=seed,
            total_clips=total_clips,
            schedule=Schedule(peak=4e-4, warmup_clips=total_clips // 11, decay="cosine"),
            ema=EmaSettings(halflife_clips=500_000),
            optimizer=OptimizerSettings(weight_decay=1e-4, betas=(0.9, 0.95)),
            clip_seconds=10.24,
            report_every_clips=51_200,
            save_every_clips=1_024_000,
        ),
        batch_clips=512,
        window_samples=163_840,
    )


def train_audiomae(
    recipe: AudioMaeRecipe,
    waves_at: Callable[[int, range], Batch],
    *,
    folder: Path,
    data: Mapping[str, Any],
    world: World,
    execution: Execution | None = None,
    watchers: Watchers | None = None,
) -> AudioMae | None:
    """Trains an AudioMAE, or goes on with the run in the folder, and saves the averaged encoder in `folder/model`.

    Args:
        recipe: What to train.
        waves_at: Rows of batch b: `keys`, and `waves` as float32 (B, 1, T), full scale 1.
        folder: Of the run.
        data: What the batches are made of, as JSON; a run is not resumed with other data.
        world: The processes that train together.
        execution: How the run is executed.
        watchers: Who is told what.

    Returns:
        The listener, or None where the run was stopped before its end, or in another process than the first.

    Raises:
        ValueError: If the folder holds another run, or the network shall be spread as shards: the average would have
            to be gathered to be saved, for a network that fits on every device.
        FloatingPointError: If a loss is not finite.
    """
    if execution is not None and execution.spread == "shards":
        raise ValueError("an AudioMAE is trained as replicas; drop --spread shards")
    open_together(folder, {"recipe": written(recipe), "data": dict(data)}, world)
    averaged = train_averaged(
        seeded(lambda: MaskedAutoencoder(recipe.size, recipe.masking), recipe.training.seed).to(world.device),
        MaskedAutoencoding(recipe.size, recipe.masking),
        waves_at,
        recipe,
        folder=folder,
        world=world,
        execution=execution,
        watchers=watchers,
    )
    if averaged is None:
        return None
    encoder = averaged.encoder.eval().requires_grad_(False)
    batches = range(-(-LEVELLED_CLIPS // recipe.batch_clips))
    level(encoder, [waves_at(number, range(recipe.batch_clips))["waves"][:, 0] for number in batches])
    return AudioMae.from_pretrained(save_audiomae(encoder, folder / RUN_MODEL), device=world.device)


@torch.no_grad()
def level(encoder: AudioMaeEncoder, waves: Sequence[Tensor]) -> None:
    """Has each number of an encoder's vectors have the mean 0 and the deviation 1, by its last normalisation.

    Ours. In a small encoder what all vectors have in common is several times as large as what they say of a sound, and
    whatever reads them first has to learn that away. Since all blocks that are averaged go through that normalisation,
    its gain and shift do it exactly.

    Args:
        encoder: In evaluation mode.
        waves: Sounds (B, T) at its rate, full scale 1.
    """
    fbank = KaldiFbank(encoder.config.fbank).to(encoder.norm.weight.device)
    heard_ND = torch.cat([encoder(fbank(wave_BT.to(encoder.norm.weight.device))).flatten(0, 1) for wave_BT in waves])
    deviation_D, mean_D = torch.std_mean(heard_ND.double(), dim=0)
    deviation_D = deviation_D.clamp_min(1e-6)
    encoder.norm.weight.copy_(encoder.norm.weight / deviation_D)
    encoder.norm.bias.copy_((encoder.norm.bias - mean_D) / deviation_D)
