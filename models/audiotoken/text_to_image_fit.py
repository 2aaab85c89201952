"""Trains a small text-to-image model from nothing, for data sets and trials without published weights.

What comes out is an ordinary folder of diffusers, which `StableDiffusionPipeline.from_pretrained` loads: first an
autoencoder of pictures, then text encoder and UNet together on its latents. It knows the words and the pictures of its
data and no others. Nothing here is AudioToken's; AudioToken needs some frozen model to speak to.

Legend: B pictures, Z latent channels, h and w latent pixels, L text tokens.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.diffusion.discrete import DiscreteSchedule
from models.model_folder import RUN_MODEL, written_whole
from models.training.averaged import RowsAt, decisive, seeded, train_averaged
from models.training.ema import EmaSettings
from models.training.execution import Execution
from models.training.loop import TrainSettings, Watchers
from models.training.optimizers import OptimizerSettings
from models.training.run_folder import open_run
from models.training.schedule import Schedule
from models.training.step import Batch, StepResult
from models.training.world import World

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
"""First and last token, as CLIP's; the last one also fills up."""
SCHEDULE = DiscreteSchedule(beta_start=0.00085, beta_end=0.012, spacing="scaled_linear", target="v_prediction")
"""Levels of noise, and what is predicted. Source: Stable Diffusion 2's `scheduler_config.json`. Of a network that
predicts noise little depends on the text: from 24,000 pictures a small one had learned none (ours)."""
_SCALE_BATCHES = 8
"""Batches from which the scale of the latents is measured. Ours: a hundred pictures settle it to a percent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PicturesConfig:
    """Sizes, all ours.

    Attributes:
        side_px: Of the pictures; divided by 2 for each step between `vae_widths`.
        vae_widths: Channels of the autoencoder.
        latent_channels: Z.
        unet_widths: Channels of the UNet, each a multiple of 8.
        text_width: Of the text encoder, a multiple of 16.
        text_depth: Its blocks.
        tokens: L, with first and last.
        vocabulary: Most tokens.
    """

    side_px: int = 32
    vae_widths: tuple[int, ...] = (16, 32, 64)
    latent_channels: int = 8
    unet_widths: tuple[int, ...] = (32, 64)
    text_width: int = 64
    text_depth: int = 2
    tokens: int = 16
    vocabulary: int = 1_000

    def __post_init__(self) -> None:
        if self.side_px < 1 or self.side_px % self.reduction or self.latent_side % 2 ** (len(self.unet_widths) - 1):
            raise ValueError(f"side_px is {self.side_px}: the autoencoder and the UNet cannot halve it as often")
        if self.text_width % 16 or any(width % 8 for width in (*self.vae_widths, *self.unet_widths)):
            raise ValueError("text_width must be a multiple of 16, and the others of 8")
        if self.tokens < 3:
            raise ValueError(f"tokens is {self.tokens}: first, last and one between are 3")

    @property
    def reduction(self) -> int:
        """Pixels of a latent's side."""
        return int(2 ** (len(self.vae_widths) - 1))

    @property
    def latent_side(self) -> int:
        """h and w."""
        return self.side_px // self.reduction


@dataclass(frozen=True, kw_only=True, slots=True)
class PicturesRecipe:
    """A text-to-image model to train.

    Attributes:
        config: Sizes.
        autoencoder: The first run.
        training: The second one, of text encoder and UNet.
        batch_clips: Pictures in a batch of either.
        kl_weight: Of the divergence of the latents from a standard normal, to the mean square error. Source: ours; the
            order of Stable Diffusion's autoencoders.
        drop: How often the text is left out, for guidance. Source: 0.1 of Stable Diffusion.
    """

    config: PicturesConfig
    autoencoder: TrainSettings
    training: TrainSettings
    batch_clips: int
    kl_weight: float = 1e-6
    drop: float = 0.1

    def __post_init__(self) -> None:
        if self.batch_clips < 1:
            raise ValueError(f"batch_clips is {self.batch_clips}: it must be at least 1")
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop is {self.drop}: it goes from 0 to below 1")

    def first(self) -> "_Run":
        """The run of the autoencoder."""
        return _Run(training=self.autoencoder, batch_clips=self.batch_clips)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    training: TrainSettings
    batch_clips: int


def pictures_tiny(*, total_clips: int = 9_600, seed: int = 0) -> PicturesRecipe:
    """For some minutes of a CPU core, and pictures of a few kinds: 32 px, latents of 8 x 8 x 8. All of it is ours.

    Args:
        total_clips: Pictures seen by the text encoder and the UNet; the autoencoder sees half as many.
        seed: Of both runs.
    """
    ours = {"seed": seed, "report_every_clips": 320, "save_every_clips": 3_200}
    optimizer = OptimizerSettings(weight_decay=1e-3, betas=(0.9, 0.99))
    seen = max(1, total_clips // 2)
    return PicturesRecipe(
        config=PicturesConfig(),
        autoencoder=TrainSettings(
            **ours,
            total_clips=seen,
            schedule=Schedule(peak=2e-3, warmup_clips=seen // 20, decay="cosine", floor=0.02),
            ema=EmaSettings(halflife_clips=200),
            optimizer=optimizer,
        ),
        training=TrainSettings(
            **ours,
            total_clips=total_clips,
            schedule=Schedule(peak=2e-3, warmup_clips=total_clips // 20, decay="cosine", floor=0.02),
            ema=EmaSettings(halflife_clips=600),
            optimizer=optimizer,
        ),
        batch_clips=16,
    )


class TextAndUnet(nn.Module):
    """The two networks that are trained together."""

    def __init__(self, config: PicturesConfig, vocabulary: int) -> None:
        super().__init__()
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel

        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=config.text_width,
                intermediate_size=4 * config.text_width,
                num_hidden_layers=config.text_depth,
                num_attention_heads=config.text_width // 16,
                max_position_embeddings=config.tokens,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        )
        deep = len(config.unet_widths) - 1
        self.unet = UNet2DConditionModel(
            sample_size=config.latent_side,
            in_channels=config.latent_channels,
            out_channels=config.latent_channels,
            block_out_channels=config.unet_widths,
            down_block_types=("CrossAttnDownBlock2D",) * deep + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * deep,
            layers_per_block=1,
            cross_attention_dim=config.text_width,
            attention_head_dim=4,
            norm_num_groups=8,
        )

    def forward(self, noised_BZhw: Tensor, level_B: Tensor, ids_BL: Tensor) -> Tensor:
        """What the UNet predicts for texts by their tokens, (B, Z, h, w)."""
        states_BLD = self.text_encoder(input_ids=ids_BL).last_hidden_state
        return torch.as_tensor(self.unet(noised_BZhw, level_B, encoder_hidden_states=states_BLD, return_dict=False)[0])


def autoencoder_of(config: PicturesConfig) -> Any:
    """An untrained `AutoencoderKL`."""
    from diffusers import AutoencoderKL

    steps = len(config.vae_widths)
    return AutoencoderKL(
        block_out_channels=config.vae_widths,
        down_block_types=("DownEncoderBlock2D",) * steps,
        up_block_types=("UpDecoderBlock2D",) * steps,
        latent_channels=config.latent_channels,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=config.side_px,
        mid_block_add_attention=False,
    )


def tokenizer_of(texts: Iterable[str], config: PicturesConfig) -> Any:
    """A `CLIPTokenizer` that knows the words of some texts.

    Raises:
        ValueError: There is no text.
    """
    from tokenizers import Tokenizer, models, trainers
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    said = sorted(set(texts))
    if not any(text.strip() for text in said):
        raise ValueError("a tokenizer is made from texts, and there are none")
    own = CLIPTokenizer(vocab={BOS: 0, EOS: 1}, merges=[]).backend_tokenizer
    learned = Tokenizer(models.BPE(unk_token=EOS, end_of_word_suffix="</w>"))
    learned.normalizer, learned.pre_tokenizer = own.normalizer, own.pre_tokenizer
    alphabet = sorted(ByteLevel.alphabet())
    learned.train_from_iterator(
        said,
        trainers.BpeTrainer(
            vocab_size=config.vocabulary,
            special_tokens=[BOS, EOS, *(letter + "</w>" for letter in alphabet)],
            initial_alphabet=alphabet,
            end_of_word_suffix="</w>",
            show_progress=False,
        ),
    )
    model = json.loads(learned.to_str())["model"]
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=config.tokens)


class AutoencoderObjective:
    """Mean square error of the pictures, and a little divergence of the latents."""

    def __init__(self, kl_weight: float) -> None:
        self.kl_weight = kl_weight

    def __call__(self, network: nn.Module, batch: Batch, rngs: Sequence[np.random.Generator]) -> StepResult:
        """The loss of `pictures`, uint8 (B, H, W, 3); where in their spread the latents lie is drawn."""
        wanted_B3HW = scaled(batch["pictures"])
        found: Any = network.encode(wanted_B3HW).latent_dist  # type: ignore[operator]
        shape = tuple(found.mean.shape[1:])
        place = torch.from_numpy(np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs]))
        made = network.decode(found.mean + found.std * place.to(found.mean), return_dict=False)[0]  # type: ignore[operator]
        divergence = 0.5 * (found.mean.square() + found.var - 1 - found.logvar).sum((1, 2, 3)).mean()
        error = (made - wanted_B3HW).square().mean()
        tallies = {"error": torch.stack([error.detach(), torch.ones_like(error)])}
        return StepResult(loss=error + self.kl_weight * divergence, tallies=tallies)


class TextToImageObjective:
    """The diffusion's mean square error on latents of pictures, told by their texts."""

    def __init__(self, vae: Any, scale: float, tokenizer: Any, *, drop: float) -> None:
        self.vae, self.scale, self.tokenizer, self.drop = vae, scale, tokenizer, drop

    def __call__(self, network: nn.Module, batch: Batch, rngs: Sequence[np.random.Generator]) -> StepResult:
        """The loss of `pictures` and `texts`."""
        with torch.no_grad():
            found = self.vae.encode(scaled(batch["pictures"])).latent_dist
        shape = tuple(found.mean.shape[1:])
        levels = [SCHEDULE.draw(rng) for rng in rngs]
        noise, place = (
            torch.from_numpy(np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs])).to(found.mean)
            for _ in range(2)
        )
        texts = ["" if rng.random() < self.drop else text for text, rng in zip(batch["texts"], rngs, strict=True)]
        x_BZhw = (found.mean + found.std * place) * self.scale
        level_B = torch.tensor(levels, device=x_BZhw.device)
        ids_BL = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        predicted_BZhw = network(SCHEDULE.noised(x_BZhw, noise, level_B), level_B, ids_BL.to(x_BZhw.device))
        return StepResult(loss=(predicted_BZhw.float() - SCHEDULE.wanted(x_BZhw, noise, level_B)).square().mean())


def scaled(pictures_BHW3: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) from -1 to 1."""
    return pictures_BHW3.permute(0, 3, 1, 2).float() / 127.5 - 1


def train_pictures(
    recipe: PicturesRecipe,
    batch_at: RowsAt,
    *,
    texts: Iterable[str],
    folder: Path,
    data: Mapping[str, Any],
    world: World,
    execution: Execution | None = None,
    watchers: Watchers | None = None,
) -> Path | None:
    """Trains both networks, or goes on with the runs in the folder, and saves a pipeline in `folder/model`.

    Args:
        recipe: What to train.
        batch_at: Rows of batch b: `keys`, `pictures` uint8 (B, H, W, 3), `texts`.
        texts: All texts, from which the words are learned.
        folder: Of the run; the autoencoder's own is `autoencoder` in it.
        data: What the batches are made of, as JSON; a run is not resumed with other data.
        world: The processes that train together.
        execution: How the run is executed.
        watchers: Who is told what, of both runs.

    Returns:
        The pipeline's folder, or None where the run was stopped before its end, or in another process than the first.

    Raises:
        ValueError: The folder holds another run, or networks shall be spread as shards.
        FloatingPointError: A loss is not finite.
    """
    if (execution is not None and execution.spread == "shards") or world.size > 1:
        raise ValueError("a small text-to-image model is trained in one process; drop --workers and --spread")
    settings = asdict(recipe)
    for run in ("autoencoder", "training"):
        settings[run] = decisive(settings[run])
    open_run(folder, {"recipe": settings, "data": dict(data)})
    seed, fitted = recipe.training.seed, partial(train_averaged, world=world, execution=execution, watchers=watchers)
    vae: Any = seeded(lambda: autoencoder_of(recipe.config), seed).to(world.device)
    first = AutoencoderObjective(recipe.kl_weight)
    vae = fitted(vae, first, batch_at, recipe.first(), folder=folder / "autoencoder")
    if vae is None:
        return None
    scale = latent_scale(vae, (batch_at(number, range(recipe.batch_clips)) for number in range(_SCALE_BATCHES)))
    tokenizer = tokenizer_of(texts, recipe.config)
    networks: Any = seeded(lambda: TextAndUnet(recipe.config, len(tokenizer)), seed).to(world.device)
    second = TextToImageObjective(vae, scale, tokenizer, drop=recipe.drop)
    networks = fitted(networks, second, batch_at, recipe, folder=folder)
    if networks is None:
        return None
    vae.register_to_config(scaling_factor=scale)
    return save_pipeline(networks, vae, tokenizer, folder / RUN_MODEL)


@torch.no_grad()
def latent_scale(vae: Any, batches: Iterable[Batch]) -> float:
    """One over the spread of the latents of some pictures."""
    device = next(vae.parameters()).device
    means = [vae.encode(scaled(batch["pictures"].to(device))).latent_dist.mean.flatten() for batch in batches]
    return float(1 / torch.cat(means).std())


def save_pipeline(networks: TextAndUnet, vae: Any, tokenizer: Any, folder: Path) -> Path:
    """Writes the folder of a `StableDiffusionPipeline`, whole or not at all, and returns it."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=networks.text_encoder,
        tokenizer=tokenizer,
        unet=networks.unet,
        scheduler=DDIMScheduler(**SCHEDULE.ddim_settings()),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with written_whole(folder) as partial:
        pipeline.save_pretrained(str(partial), safe_serialization=True)
    return folder
