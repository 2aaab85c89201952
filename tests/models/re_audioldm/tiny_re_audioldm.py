"""A whole Re-AudioLDM of random weights: a tiny CLAP, a tiny AudioMAE, a T5 of ten words, and a codec of 1,000 Hz."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.audiox.encoder_source import EncoderSource
from models.encoders.audiomae import save_audiomae
from models.encoders.audiomae_network import AudioMaeConfig, AudioMaeEncoder
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from models.re_audioldm.conditioning import Conditions, EncoderSources
from models.re_audioldm.network import ReAudioLdmConfig, ReAudioLdmNetwork, Retrieval
from models.re_audioldm.recipes import Frozen, ReAudioLdmRecipe, Widths, re_audioldm_tiny, train_re_audioldm
from models.training.execution import Execution, Spread
from models.training.step import Batch
from models.training.world import World
from tests.models.audiox.tiny_audiox import WORDS, fitted_codec, save_t5

WIDTHS = Widths(latent_channels=2, latent_bins=2, said=16, heard=8, text=8)
"""Of the parts here; the codec has four channels, which these tests take for two by two."""

CLAP = TinyClapConfig(
    sample_rate_hz=8_000, window_s=1, f_max_hz=3_900, audio_width=16, text_width=32, text_layers=1, dimension=16
)


def save_sources(folder: Path, *, reads: bool = True) -> EncoderSources:
    """The encoders, saved to a folder."""
    clap = build_tiny_clap([" ".join(WORDS)], CLAP, seed=0).save(folder / "clap")
    if not reads:
        return EncoderSources(clap=str(clap), listener=None, text=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        audiomae = AudioMaeEncoder(AudioMaeConfig(frames=64, width=8, depth=3, heads=2))
    return EncoderSources(
        clap=str(clap),
        listener=str(save_audiomae(audiomae, folder / "listener").parent),
        text=EncoderSource(kind="t5", path=str(save_t5(folder / "t5"))),
        heard_s=0.5,
    )


def small_config(retrieval: Retrieval = "audio+text", **sizes: Any) -> ReAudioLdmConfig:
    """A network of two levels."""
    given = {"neighbours": 2, "text_tokens": 3, "width": 8, "multiples": (1, 2), "layers": 1}
    groups = {"head_channels": 4, "norm_groups": 4}
    return ReAudioLdmConfig(retrieval=retrieval, **{**WIDTHS.sizes(), **given, **groups, **sizes})


def small_network(retrieval: Retrieval = "audio+text", **sizes: Any) -> ReAudioLdmNetwork:
    """A network of random weights, none of them zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ReAudioLdmNetwork(small_config(retrieval, **sizes))
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    return network.eval()


def small_recipe(retrieval: Retrieval = "audio+text", total_clips: int = 48) -> ReAudioLdmRecipe:
    """Twelve steps of four clips."""
    tiny = re_audioldm_tiny(widths=WIDTHS, total_clips=total_clips)
    training = replace(tiny.training, report_every_clips=8, save_every_clips=16)
    return replace(tiny, network=small_config(retrieval), training=training, batch_clips=4)


def rows_at(number: int, rows: range) -> Batch:
    """Latents about 3 with a spread of 5, and neighbours: of the third sample only one, of the fourth none."""
    rng = np.random.default_rng([4, number])
    has_BK = torch.tensor([[True, True], [True, True], [True, False], [False, False]])
    lengths_BK = torch.tensor([[2, 4], [1, 3], [4, 0], [0, 0]])
    heard = rng.standard_normal((4, 2, 2, 8), dtype=np.float32)
    batch = {
        "latents": torch.from_numpy(3 + 5 * rng.standard_normal((4, 6, 4), dtype=np.float32)),
        "texts": ["rain", "siren", "a dog barks", "loud"],
        "said": nn.functional.normalize(torch.from_numpy(rng.standard_normal((4, 16), dtype=np.float32)), dim=1),
        "neighbours": [["a", "b"], ["c", "a"], ["d"], []],
        "has_neighbours": has_BK,
        "neighbour_heard": torch.from_numpy(heard) * has_BK[:, :, None, None],
        "neighbour_tokens": torch.from_numpy(rng.standard_normal((4, 2, 4, 8), dtype=np.float32)),
        "neighbour_token_lengths": lengths_BK,
        "keys": [f"{number}-{row}" for row in range(4)],
    }
    return {name: value[rows.start : rows.stop : rows.step] for name, value in batch.items()}


def train_small(folder: Path, encoders: Path, *, world: World, spread: Spread = "replicas") -> None:
    """Trains a network of `small_recipe` in four steps, with the encoders that `save_sources` wrote."""
    sources = EncoderSources(
        clap=str(encoders / "clap"),
        listener=str(encoders / "listener"),
        text=EncoderSource(kind="t5", path=str(encoders / "t5")),
        heard_s=0.5,
    )
    train_re_audioldm(
        small_recipe(total_clips=16),
        rows_at,
        frozen=Frozen(codec=fitted_codec(), sources=sources),
        folder=folder,
        data={},
        world=world,
        execution=Execution(spread=spread),
    )


def conditions(most: int = 2) -> Conditions:
    """Those of four samples of `rows_at`."""
    return Conditions.of_batch(rows_at(0, range(4)), most)
