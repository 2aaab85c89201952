"""AudioToken's training step against a loop in the style of diffusers' examples, and `generate` against its pipeline.

Every width is a quarter of Stable Diffusion 1.4's and of BEATs', with heads as wide as there, and pictures have 256 px,
so that a CPU takes the parts of a step in about the published proportions; weights are random, and the same objects
work for both. Times are CPU seconds of one thread, so that what else the machine does counts for little.

* Training: the peer does as `examples/textual_inversion/textual_inversion.py` and AudioToken's own `train.py` do: it
  encodes the pictures in the step, with all that is frozen needing no gradient. Ours takes stored latents. BEATs hears
  fresh windows in both. The losses are the same but for rounding, or there is no result.
* Generation: the peer is `StableDiffusionPipeline` with the same `prompt_embeds`, steps, guidance and seed. Its
  pictures are the same but for 1e-3, or there is no result.
"""

import time
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks import Measured, best_seconds
from benchmarks._diffusion_step import Step, drawn, flops_of, optimised, products_flops_per_s
from models.audiotoken import AudioToken
from models.audiotoken.network import AudioTokenConfig, AudioTokenNetwork
from models.audiotoken.objective import AudioTokenObjective, ObjectiveSettings
from models.audiotoken.text_to_image import TextToImage
from models.audiotoken.text_to_image_fit import SCHEDULE, PicturesConfig, tokenizer_of
from models.encoders.beats import Beats
from models.encoders.beats_network import BeatsConfig, BeatsNetwork
from models.training.step import sample_rngs

WINDOW_SAMPLES = 80_000
"""5 s, as AudioToken hears."""


def frozen_parts(width: int, side: int) -> tuple[TextToImage, Beats, Any]:
    """A text-to-image model, a BEATs, both of random weights, and diffusers' pipeline around the first.

    Args:
        width: Of the UNet's first level: 320 in Stable Diffusion 1.4.
        side: Of the latents: 64 there.
    """
    share = width / 320
    tokenizer = tokenizer_of(["a photo of a dog"], PicturesConfig(tokens=77))
    text_width = round(768 * share)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=text_width,
            intermediate_size=4 * text_width,
            num_hidden_layers=12,
            num_attention_heads=12,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=side,
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        cross_attention_dim=text_width,
        attention_head_dim=round(8 * share),  # diffusers calls the number of heads so
        norm_num_groups=8,
    )
    vae_width = round(128 * share)
    vae = AutoencoderKL(
        block_out_channels=(vae_width, 2 * vae_width, 4 * vae_width, 4 * vae_width),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        norm_num_groups=8,
        sample_size=8 * side,
    )
    scheduler = DDIMScheduler(**SCHEDULE.scheduler_settings(), clip_sample=False, steps_offset=1)
    pipeline = StableDiffusionPipeline(
        vae=deepcopy(vae),  # laid out as diffusers has it
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    model = TextToImage(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        unet=unet,
        vae=vae,
        scheduler_config={**scheduler.config, "_class_name": "DDIMScheduler"},
        identity={},
    )
    pipeline.set_progress_bar_config(disable=True)
    heard = BeatsConfig(width=round(768 * share), hidden=round(3072 * share), patch_width=round(512 * share))
    return model, Beats(BeatsNetwork(heard), weights_sha256="random"), pipeline


def training_peer(
    model: TextToImage, listener: Beats, network: nn.Module, batch: dict[str, Any], draws: dict[str, Tensor]
) -> Step:
    """A step as the examples make it, of the numbers that ours draws."""
    scheduler = DDIMScheduler(**SCHEDULE.scheduler_settings())
    prompt = AudioTokenObjective(ObjectiveSettings(), model, listener).prompt
    pixels = batch["pictures"].permute(0, 3, 1, 2).float() / 127.5 - 1

    def loss_of() -> Tensor:
        found = model.vae.encode(pixels).latent_dist
        latents = (found.mean + found.std * draws["place"]).detach() * model.vae.config.scaling_factor
        noisy = scheduler.add_noise(latents, draws["noise"], draws["levels"])
        with torch.no_grad():
            features = listener.features(batch["waves"])
        token = network(features)
        said = model.unet(noisy, draws["levels"], encoder_hidden_states=prompt.states(token)).sample
        wanted = scheduler.get_velocity(latents, draws["noise"], draws["levels"])
        return nn.functional.mse_loss(said.float(), wanted) + 0.01 * token.abs().mean()

    return optimised(loss_of, network.parameters(), fused=False, most_norm=None)


def training_ours(model: TextToImage, listener: Beats, network: nn.Module, batch: dict[str, Any]) -> Step:
    """A step on stored latents."""
    objective = AudioTokenObjective(ObjectiveSettings(), model, listener)
    latents, spreads = model.latent_moments(batch["pictures"])
    stored = {"keys": batch["keys"], "waves": batch["waves"], "latents": latents, "spreads": spreads}
    count = len(batch["keys"])
    return optimised(
        lambda: objective(network, stored, sample_rngs(0, 0, count)).loss,
        network.parameters(),
        fused=True,
        most_norm=None,
    )


def draws_of(model: TextToImage, count: int) -> dict[str, Tensor]:
    """What the objective draws for the first clips of a run with seed 0: levels, noise, places in latents' spread."""
    shape = (int(model.vae.config.latent_channels), model.latent_side, model.latent_side)
    rngs = sample_rngs(0, 0, count)
    levels, noise = drawn(model.schedule, rngs, shape)
    place = torch.from_numpy(np.stack([rng.standard_normal(shape, np.float32) for rng in rngs]))
    return {"levels": levels, "noise": noise, "place": place}


def measure(width: int = 80, side: int = 32, batch: int = 1, steps: int = 4, rounds: int = 12) -> Measured:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, listener, pipeline = frozen_parts(width, side)
    config = AudioTokenConfig(heard_width=listener.dimension, token_width=model.token_width, dropout=0.0)
    network, other = AudioTokenNetwork(config), AudioTokenNetwork(config)
    other.load_state_dict(network.state_dict())
    waves = 0.1 * torch.randn(batch, WINDOW_SAMPLES)
    pictures = torch.randint(0, 256, (batch, 8 * side, 8 * side, 3), dtype=torch.uint8)
    given = {"keys": [str(row) for row in range(batch)], "waves": waves, "pictures": pictures}
    ours = training_ours(model, listener, network, given)
    theirs = training_peer(model, listener, other, given, draws_of(model, batch))
    np.testing.assert_allclose(ours(), theirs(), rtol=1e-4)
    ours_s, theirs_s = best_seconds(ours, theirs, rounds=rounds, clock=time.process_time)
    ours_flops, theirs_flops = flops_of(ours), flops_of(theirs)

    made_by = AudioToken(network, pictures=model, listener=listener)

    def made() -> np.ndarray:
        return made_by.generate(waves[:1], steps=steps, seeds=[1]).numpy() / 255

    def made_by_pipeline() -> np.ndarray:
        return np.asarray(
            pipeline(
                prompt_embeds=made_by.states(waves[:1]),
                num_inference_steps=steps,
                guidance_scale=7.5,
                generator=[torch.Generator().manual_seed(1)],
                output_type="np",
            ).images
        )

    np.testing.assert_allclose(made(), made_by_pipeline(), atol=1e-3 + 0.5 / 255)  # ours are whole numbers of 255
    made_s, made_by_pipeline_s = best_seconds(made, made_by_pipeline, rounds=rounds, clock=time.process_time)
    return {
        "ratio": theirs_s / ours_s,
        "peer": "a loop in the style of diffusers' textual_inversion.py, pictures encoded in the step",
        "clips_a_cpu_second": batch / ours_s,
        "peer_clips_a_cpu_second": batch / theirs_s,
        "gflop_a_clip": ours_flops / batch / 1e9,
        "peer_gflop_a_clip": theirs_flops / batch / 1e9,
        "gflop_a_cpu_second": ours_flops / ours_s / 1e9,
        "ratio_to_bare_products": ours_flops / ours_s / products_flops_per_s(time.process_time),
        "generate_ratio": made_by_pipeline_s / made_s,
        "generate_cpu_s": made_s,
        "pipeline_cpu_s": made_by_pipeline_s,
        "steps": steps,
        "threads": torch.get_num_threads(),
    }
