"""AudioLDM 2's training step against a loop in the style of diffusers' examples, and `generate` against its pipeline.

Every width is a quarter of the published one, heads of attention are as wide as there (T5's are not), and sounds have
5.12 s, so that a CPU takes the parts of a step in about the published proportions; weights are random, and the same
objects work for both.

* Training, the phase `diffusion`: the peer does as `examples/text_to_image/train_text_to_image.py` does: it runs the
  autoencoder, T5 and AudioMAE in the step. Ours takes what was stored. The losses are the same but for 1e-4, or there
  is no result.
* Training, compiled: both take what was stored; ours compiles block by block, as `train --compile` does, the peer its
  UNet as a whole. The UNet has the same width but fewer levels and layers (`COMPILED`), for compiling takes minutes.
* Generation: the peer is `AudioLDM2Pipeline`, loaded from the folder that ours wrote, with the same noise, steps and
  guidance. The sounds are the same but for 1e-3, or there is no result.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import Measured, best_seconds
from benchmarks._diffusion_step import Step, compared, compared_compiled, drawn, in_bins, optimised
from models.audioldm2 import AudioLDM2
from models.audioldm2.conditioning import FrozenEncoders
from models.audioldm2.hearing import Hearing
from models.audioldm2.language import LanguageConfig
from models.audioldm2.network import AudioLdm2Config, AudioLdm2Network, UNetConfig
from models.audioldm2.objective import AudioLdm2Objective, ObjectiveSettings, published_schedule, trained_parts
from models.audioldm2.recipes import Widths
from models.audiox.pretrained import T5TextTokens
from models.audiox.sampling import start_noise
from models.codecs.mel_training import MelVaeConfig
from models.codecs.mel_vae import MelVaeCodec
from models.encoders.audiomae import AudioMae, save_audiomae
from models.encoders.audiomae_network import AudioMaeConfig, AudioMaeEncoder
from models.encoders.clap import ClapEncoder
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from models.encoders.word_t5 import save_word_t5
from models.training.execution import Execution, prepare_blocks
from models.training.step import sample_rngs

SECONDS, SAMPLES = 5.12, 81_920
CAPTIONS = ["a dog barks in the rain while a car drives by on a wet road", "a church bell rings over the city at noon"]


def sizes(share: int) -> tuple[AudioLdm2Config, MelVaeConfig, AudioMaeConfig]:
    """The published sizes with every width divided."""
    widths = Widths(latent_frames=128, said_width=64, text_width=1024 // share, loa_width=768 // share, vectors=4)
    network = AudioLdm2Config(
        language=LanguageConfig(streams=widths.streams, vectors=4, width=widths.loa_width),
        unet=UNetConfig(
            latent_frames=128,
            loa_width=widths.loa_width,
            text_width=widths.text_width,
            width=128 // share,
            head_channels=32,
            norm_groups=32 // share,
        ),
    )
    codec = MelVaeConfig(
        widths=(128 // share, 256 // share, 512 // share), vocoder_width=1024 // share, kernels=(11, 8, 4, 4, 4)
    )
    return network, codec, AudioMaeConfig(frames=512, width=768 // share, heads=12 // share)


def made_model(folder: Path, share: int) -> AudioLDM2:
    """A model of random weights."""
    config, codec, listener = sizes(share)
    build_tiny_clap(CAPTIONS, TinyClapConfig()).save(folder / "clap")
    save_word_t5(CAPTIONS, folder / "t5", width=config.unet.text_width or 16, depth=24)
    save_audiomae(AudioMaeEncoder(listener), folder / "audiomae")
    return AudioLDM2(
        AudioLdm2Network.of_config(config),
        codec=audible(MelVaeCodec(codec.build_vae(), codec.build_vocoder(), weights_sha256="random")),
        encoders=FrozenEncoders(
            ClapEncoder.from_pretrained(folder / "clap"),
            T5TextTokens.from_pretrained(folder / "t5"),
            AudioMae.from_pretrained(folder / "audiomae"),
        ),
        hearing=Hearing(window_s=SECONDS),
    )


def audible(codec: MelVaeCodec) -> MelVaeCodec:
    """A codec of random weights that can be heard: as it is made, its sounds are silence, and all are the same."""
    for module in (*codec.vae.decoder.modules(), *codec.vocoder.modules()):
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Conv2d):
            nn.init.normal_(module.weight, std=1.5 * module.weight[0].numel() ** -0.5)
    return codec


def stored(model: AudioLDM2, wave_BT: Tensor, texts: list[str]) -> dict[str, Any]:
    """A batch as the loader gives it."""
    listener, text = model.encoders.listener, model.encoders.text
    assert listener is not None
    with torch.no_grad():
        latents_BFD = model.codec.encode(wave_BT[:, None])
        hidden_BTC, mask_BT = text.text_tokens(texts)
    return {
        "keys": [str(row) for row in range(len(texts))],
        "latents": latents_BFD,
        "heard": listener.language_of_audio(wave_BT),
        "said": model.encoders.clap.embed_text(texts),
        "tokens": hidden_BTC,
        "token_lengths": mask_BT.sum(1).tolist(),
        "texts": texts,
    }


def ours(network: AudioLdm2Network, batch: dict[str, Any]) -> Step:
    """A step on what was stored."""
    trained_parts(network, "diffusion")
    objective = AudioLdm2Objective(ObjectiveSettings(phase="diffusion", drop=0.0), {})
    parameters = [one for one in network.parameters() if one.requires_grad]
    return optimised(
        lambda: objective(network.train(), batch, sample_rngs(0, 0, len(batch["keys"]))).loss, parameters, fused=True
    )


def peer(model: AudioLDM2, unet: Any, wave_BT: Tensor, batch: dict[str, Any], *, encodes: bool) -> Step:
    """A step as the examples make it, of the numbers that ours draws; the frozen encoders run in it, or do not."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(**published_schedule().scheduler_settings())
    rngs = sample_rngs(0, 0, len(batch["keys"]))
    for rng in rngs:
        rng.random(3)  # the objective draws these first: what is dropped, and of what the LOA is
    levels, noise_BFD = drawn(published_schedule(), rngs, batch["latents"].shape[1:])
    noise, latents = in_bins(noise_BFD), in_bins(batch["latents"])
    vae, text, listener = model.codec.vae, model.encoders.text, model.encoders.listener
    assert listener is not None
    loa, (hidden, mask) = batch["heard"], text.text_tokens(batch["texts"])

    def loss_of() -> Tensor:
        nonlocal latents, loa, hidden, mask
        if encodes:
            with torch.no_grad():
                latents = vae.encode(model.codec.mel(wave_BT)[:, None]).latent_dist.mean
                loa = listener.language_of_audio(wave_BT)
                hidden, mask = text.text_tokens(batch["texts"])
        noisy = scheduler.add_noise(latents, noise, levels)
        found = unet(
            noisy,
            levels,
            encoder_hidden_states=loa,
            encoder_hidden_states_1=hidden,
            encoder_attention_mask_1=mask,
            return_dict=False,
        )[0]
        return nn.functional.mse_loss(found.float(), noise.float())

    return optimised(loss_of, list(unet.parameters()), fused=False)


def generations(model: AudioLDM2, folder: Path, steps: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """One sound by ours, and by the pipeline."""
    from diffusers import AudioLDM2Pipeline

    model.save_pretrained(folder / "model")
    pipeline = AudioLDM2Pipeline.from_pretrained(str(folder / "model"), low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    noise = start_noise([(0, 0)], 1, (128, model.codec.latent_channels)).unflatten(2, (8, -1)).transpose(1, 2)

    def by_ours() -> Tensor:
        model.encoders.forget()  # what it was asked before
        return model.generate(CAPTIONS[:1], seconds=SECONDS, steps=steps, guidance=3.5, seed=[(0, 0)])[:, 0]

    def by_pipeline() -> Tensor:
        made = pipeline(
            CAPTIONS[:1], audio_length_in_s=SECONDS, num_inference_steps=steps, guidance_scale=3.5, latents=noise
        )
        return torch.from_numpy(made.audios)

    return by_ours, by_pipeline


COMPILED: dict[str, Any] = {"multiples": (1, 2, 3), "layers": 1}
"""Sizes of the UNet that is compiled: every kind of block that the whole one has."""


def compiled_ratio(
    model: AudioLDM2, share: int, wave_BT: Tensor, batch: dict[str, Any], rounds: int
) -> dict[str, float]:
    """Both compiled, on what was stored."""
    whole = sizes(share)[0]
    network = AudioLdm2Network.of_config(replace(whole, unet=replace(whole.unet, **COMPILED)))
    network.latent_scale.copy_(model.network.latent_scale)
    other = twin(network.unet)
    prepare_blocks(network, Execution(compile=True))
    ways = ours(network, batch), peer(model, torch.compile(other), wave_BT, batch, encodes=False)
    return compared_compiled(*ways, rounds=rounds)


def twin(unet: Any) -> Any:
    """The same UNet once more, as diffusers makes it."""
    from diffusers import AudioLDM2UNet2DConditionModel

    other = AudioLDM2UNet2DConditionModel.from_config(unet.config)
    other.load_state_dict(unet.state_dict())
    return other


def measure(share: int = 4, batch: int = 4, steps: int = 5, rounds: int = 10) -> Measured:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = made_model(folder, share)
        by_ours, by_pipeline = generations(model, folder, steps)
        made = by_ours()
        if float(made.std()) < 0.01:
            raise ValueError("the sounds are silent, and say nothing of whether they are the same")
        np.testing.assert_allclose(made, by_pipeline().clamp(-1, 1), atol=1e-3)
        made_s, pipeline_s = best_seconds(by_ours, by_pipeline, rounds=rounds)
        wave_BT = 0.1 * torch.randn(batch, SAMPLES)
        given = stored(model, wave_BT, [CAPTIONS[row % 2] for row in range(batch)])
        step, peer_step = (
            ours(model.network, given),
            peer(model, twin(model.network.unet), wave_BT, given, encodes=True),
        )
        found = compared(step, peer_step, clips=batch, rounds=rounds)
        compiled = compiled_ratio(model, share, wave_BT, given, rounds)
    return {
        **found,
        **compiled,
        "generate_ratio": pipeline_s / made_s,
        "generate_s": made_s,
        "pipeline_s": pipeline_s,
        "steps": steps,
        "threads": torch.get_num_threads(),
    }
