"""Re-AudioLDM's training step against a loop in the style of diffusers' examples.

Every width is a quarter of the published one, heads of attention are as wide as there (T5's are not), sounds have
5.12 s and three neighbours are read, so that a CPU takes the parts of a step in about the published proportions;
weights are random, and the same objects work for both.

* Training: the peer does as `examples/text_to_image/train_text_to_image.py` does: it runs what is frozen in the step,
  the autoencoder for the sound, CLAP for the prompt, AudioMAE and T5 for the neighbours. Ours takes what was stored.
  The losses are the same but for 1e-4, or there is no result.
* Training, compiled: both take what was stored; ours compiles block by block, as `train --compile` does, the peer its
  UNet as a whole. The network has the same width but fewer levels and layers (`COMPILED`), for compiling takes minutes.

There is no pipeline of Re-AudioLDM to generate against.
"""

import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from benchmarks import Measured
from benchmarks._diffusion_step import Step, compared, compared_compiled, drawn, in_bins, optimised
from models.audiox.encoder_source import EncoderSource
from models.codecs.mel_training import MelVaeConfig
from models.codecs.mel_vae import MelVaeCodec
from models.encoders.audiomae import save_audiomae
from models.encoders.audiomae_network import AudioMaeConfig, AudioMaeEncoder
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from models.encoders.word_t5 import save_word_t5
from models.re_audioldm.conditioning import Conditions, EncoderSources, FrozenEncoders, streams_of
from models.re_audioldm.network import ReAudioLdmConfig, ReAudioLdmNetwork
from models.re_audioldm.objective import ObjectiveSettings, ReAudioLdmObjective
from models.re_audioldm.recipes import Widths
from models.training.execution import Execution, prepare_blocks
from models.training.step import sample_rngs

SECONDS, SAMPLES = 5.12, 81_920
CAPTIONS = ["a dog barks in the rain while a car drives by on a wet road", "a church bell rings over the city at noon"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a step needs: a codec, frozen encoders, and the sizes of a network for them."""

    codec: MelVaeCodec
    encoders: FrozenEncoders
    config: ReAudioLdmConfig


def made_parts(folder: Path, share: int, neighbours: int) -> Parts:
    """Parts of random weights, with the published widths divided by `share`."""
    codec = MelVaeConfig(
        widths=(128 // share, 256 // share, 512 // share), vocoder_width=1024 // share, kernels=(11, 8, 4, 4, 4)
    )
    listener = AudioMaeEncoder(AudioMaeConfig(frames=512, width=768 // share, heads=12 // share))
    sources = EncoderSources(
        clap=str(build_tiny_clap(CAPTIONS, TinyClapConfig()).save(folder / "clap")),
        listener=str(save_audiomae(listener, folder / "audiomae").parent),
        text=EncoderSource(kind="t5", path=str(save_word_t5(CAPTIONS, folder / "t5", width=1024 // share, depth=24))),
        heard_s=SECONDS,
    )
    encoders = sources.encoders()
    made = MelVaeCodec(codec.build_vae(), codec.build_vocoder(), weights_sha256="random")
    config = ReAudioLdmConfig(
        **Widths.of(made, encoders).sizes(),
        neighbours=neighbours,
        width=128 // share,
        head_channels=32,
        norm_groups=32 // share,
    )
    return Parts(made, encoders, config)


@dataclass(frozen=True, slots=True)
class Clips:
    """What a batch is made of: sounds and prompts, and K sounds and captions found for each.

    Args:
        wave_BT: At 16 kHz.
        texts: B.
        found_BKT: Sounds of the neighbours.
        captions: Theirs, K for each of B.
    """

    wave_BT: Tensor
    texts: list[str]
    found_BKT: Tensor
    captions: list[list[str]]

    @classmethod
    def drawn(cls, batch: int, neighbours: int) -> "Clips":
        """Noise, and the captions in turn."""
        texts = [CAPTIONS[row % 2] for row in range(batch)]
        found_BKT = 0.1 * torch.randn(batch, neighbours, SAMPLES)
        return cls(0.1 * torch.randn(batch, SAMPLES), texts, found_BKT, [[text] * neighbours for text in texts])


def stored(parts: Parts, clips: Clips) -> dict[str, Any]:
    """A batch as the loader gives it."""
    with torch.no_grad():
        found = [
            [parts.encoders.neighbour(wave_T, text) for wave_T, text in zip(waves, texts, strict=True)]
            for waves, texts in zip(clips.found_BKT, clips.captions, strict=True)
        ]
        conditions = Conditions.of_neighbours(parts.encoders.said(clips.texts), found)
        latents_BFD = parts.codec.encode(clips.wave_BT[:, None])
    return {
        "keys": [str(row) for row in range(len(clips.texts))],
        "latents": latents_BFD,
        "said": conditions.said_BS,
        "neighbour_heard": conditions.heard_BKLH,
        "neighbour_tokens": conditions.text_BKNT,
        "neighbour_token_lengths": conditions.text_lengths_BK,
        "has_neighbours": conditions.has_BK,
    }


SETTINGS = ObjectiveSettings(drop_all=0.0, drop_neighbours=0.0)
"""Nothing is taken away, so that both see the same."""


def ours(network: ReAudioLdmNetwork, batch: dict[str, Any]) -> Step:
    """A step on what was stored."""
    objective = ReAudioLdmObjective(SETTINGS)
    count = len(batch["keys"])
    return optimised(
        lambda: objective(network.train(), batch, sample_rngs(0, 0, count)).loss, network.parameters(), fused=True
    )


def encoded(parts: Parts, clips: Clips) -> tuple[Tensor, Conditions]:
    """What the peer makes in its step, all sounds and all captions at once: latents (B, Z, F, W) and conditions."""
    encoders, count = parts.encoders, clips.found_BKT.shape[:2]
    listener, text = encoders.listener, encoders.text
    if listener is None or text is None:
        raise ValueError("the peer reads neighbours")
    with torch.no_grad():
        latents_BZFW = parts.codec.vae.encode(parts.codec.mel(clips.wave_BT)[:, None]).latent_dist.mean
        heard_BKLH = listener.language_of_audio(clips.found_BKT.flatten(0, 1)).unflatten(0, count)
        tokens, mask = text.text_tokens([one for several in clips.captions for one in several])
        conditions = Conditions(
            said_BS=encoders.clap.embed_text(clips.texts),
            heard_BKLH=heard_BKLH,
            text_BKNT=tokens.unflatten(0, count),
            text_lengths_BK=mask.sum(1).unflatten(0, count),
            has_BK=torch.ones(count, dtype=torch.bool),
        )
    return latents_BZFW, conditions


def peer(
    network: ReAudioLdmNetwork, unet: Any, batch: dict[str, Any], again: Callable[[], tuple[Tensor, Conditions]]
) -> Step:
    """A step as the examples make it, of the numbers that ours draws.

    Args:
        network: Its UNet is trained, with its tokens that stand for nothing.
        unet: The UNet, maybe compiled.
        batch: As ours has it, for the numbers that are drawn.
        again: Gives latents and conditions in every step.
    """
    scheduler = DDPMScheduler(**SETTINGS.schedule.scheduler_settings())
    levels, noise_BFD = drawn(SETTINGS.schedule, sample_rngs(0, 0, len(batch["keys"])), batch["latents"].shape[1:])
    noise = in_bins(noise_BFD)

    def loss_of() -> Tensor:
        latents_BZFW, conditions = again()
        streams = streams_of(conditions, network.nothing_heard_H, network.nothing_text_T, network.config.text_tokens)
        if streams.heard is None or streams.text is None:
            raise ValueError("the peer reads neighbours")
        found = unet(
            scheduler.add_noise(latents_BZFW, noise, levels),
            levels,
            encoder_hidden_states=streams.heard.tokens_BLC,
            encoder_attention_mask=streams.heard.mask_BL,
            encoder_hidden_states_1=streams.text.tokens_BLC,
            encoder_attention_mask_1=streams.text.mask_BL,
            class_labels=conditions.said_BS,
            return_dict=False,
        )[0]
        return nn.functional.mse_loss(found.float(), noise.float())

    return optimised(loss_of, network.parameters(), fused=False)


COMPILED: dict[str, Any] = {"multiples": (1, 2, 3), "layers": 1}
"""Sizes of the network that is compiled: every kind of block that the whole one has."""


def compiled_ratio(config: ReAudioLdmConfig, batch: dict[str, Any], rounds: int) -> dict[str, float]:
    """Both compiled, on what was stored."""
    network = ReAudioLdmNetwork(replace(config, **COMPILED))
    other = deepcopy(network)
    latents_BZFW = in_bins(batch["latents"])
    conditions = Conditions.of_batch(batch, network.config.neighbours)
    prepare_blocks(network, Execution(compile=True))
    theirs = peer(other, torch.compile(other.unet), batch, lambda: (latents_BZFW, conditions))
    return compared_compiled(ours(network, batch), theirs, rounds=rounds)


def measure(
    share: int = 4, batch: int = 4, neighbours: int = 3, rounds: int = 10, *, compiles: bool = True
) -> Measured:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        parts = made_parts(Path(scratch), share, neighbours)
        network, clips = ReAudioLdmNetwork(parts.config), Clips.drawn(batch, neighbours)
        given, other = stored(parts, clips), deepcopy(network)
        step, peer_step = ours(network, given), peer(other, other.unet, given, lambda: encoded(parts, clips))
        found = compared(step, peer_step, clips=batch, rounds=rounds)
        compiled = compiled_ratio(parts.config, given, rounds) if compiles else {}
    return {**found, "neighbours": neighbours, **compiled, "threads": torch.get_num_threads()}
