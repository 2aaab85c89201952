"""A whole AudioLDM 2 of random weights: every part is real, and as small as it goes."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from models.audioldm2 import AudioLDM2
from models.audioldm2.conditioning import FrozenEncoders
from models.audioldm2.hearing import Hearing
from models.audioldm2.language import LanguageConfig, StreamConfig
from models.audioldm2.network import AudioLdm2Config, AudioLdm2Network, UNetConfig
from models.audiox.pretrained import T5TextTokens
from models.codecs.mel_vae import MelVaeCodec
from models.encoders.audiomae import AudioMae, save_audiomae
from models.encoders.audiomae_network import AudioMaeConfig, AudioMaeEncoder
from models.encoders.clap import ClapEncoder
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from models.encoders.word_t5 import save_word_t5
from tests.models.codecs.tiny_mel import SIZE as MEL

CAPTIONS = ["a dog barks twice", "rain falls on the roof", "the loud siren"]
LISTENER = AudioMaeConfig(frames=64, width=16, depth=3, heads=2)
"""Hears 0.64 s: four by eight patches, of which a factor of 1 makes 32 vectors, and a factor of 2 two by four."""

CONFIG = AudioLdm2Config(
    language=LanguageConfig(
        streams=(StreamConfig(name="clap", width=8), StreamConfig(name="t5", width=16)),
        vectors=8,
        width=16,
        depth=2,
        heads=2,
        positions=64,
    ),
    unet=UNetConfig(
        latent_channels=2,
        latent_frames=16,
        loa_width=16,
        text_width=16,
        width=8,
        multiples=(1, 2),
        layers=1,
        head_channels=8,
        norm_groups=4,
    ),
)
HEARING = Hearing(window_s=0.64, factor=2)


def random_network(seed: int = 0, config: AudioLdm2Config = CONFIG) -> AudioLdm2Network:
    """A network of weights that are not near zero, so that every part matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AudioLdm2Network.of_config(config)
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.3 / max(1, parameter[0].numel() / 8) ** 0.5)
            elif not name.endswith("weight"):
                nn.init.normal_(parameter, std=0.1)
        network.latent_scale.fill_(0.7)
        network.mean_loa_LW.normal_()
    return network


def save_encoders(folder: Path) -> Path:
    """CLAP in `clap`, T5 in `t5`, AudioMAE in `audiomae`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        clap = build_tiny_clap(CAPTIONS, replace(TinyClapConfig(), dimension=8, window_s=1, text_tokens=20))
        clap.save(folder / "clap")
        save_audiomae(AudioMaeEncoder(LISTENER), folder / "audiomae")
    save_word_t5(CAPTIONS, folder / "t5", width=16, depth=1)
    return folder


def codec() -> MelVaeCodec:
    """A random codec of 2 x 16 latent channels at 25 frames a second, whose vocoder can be heard."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        vae, vocoder = MEL.build_vae(), MEL.build_vocoder()
        for module in (*vae.decoder.modules(), *vocoder.modules()):
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Conv2d):
                nn.init.normal_(module.weight, std=1.5 * (module.weight[0].numel()) ** -0.5)
    return MelVaeCodec(vae, vocoder, weights_sha256="none")


def encoders(folder: Path) -> FrozenEncoders:
    """What `save_encoders` wrote."""
    return FrozenEncoders(
        ClapEncoder.from_pretrained(folder / "clap"),
        T5TextTokens.from_pretrained(folder / "t5"),
        AudioMae.from_pretrained(folder / "audiomae"),
    )


def tiny_audioldm2(folder: Path) -> AudioLDM2:
    """The whole model; its encoders are saved in the folder."""
    return AudioLDM2(
        random_network().requires_grad_(False), codec=codec(), encoders=encoders(save_encoders(folder)), hearing=HEARING
    )
