"""A whole AudioX of random weights in a folder: a real T5, a fitted codec of 1,000 Hz, and a network that hears."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.audiox import AudioX
from models.audiox.adapters import Adapters
from models.audiox.conditioning import FramePatches
from models.audiox.encoder_source import ConditionSources, EncoderSource
from models.audiox.network import AudioXConfig, AudioXNetwork
from models.audiox.recipes import AudioXRecipe, Frozen, audiox_tiny, train_audiox
from models.codecs.closed_form import MdctPca, MdctPcaConfig
from models.training.execution import Execution, Spread
from models.training.step import Batch
from models.training.world import World

WORDS = ("a", "dog", "barks", "rain", "falls", "on", "the", "roof", "loud", "siren")
FRAMES = FramePatches(pictures=3, side_px=8, patch_px=4)


def save_t5(folder: Path) -> Path:
    """A random T5 with a tokenizer of ten words, as transformers saves them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    vocabulary = {word: number for number, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    vocabulary |= {f"<{number}>": number for number in range(len(vocabulary), 40)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
        model = T5EncoderModel(T5Config(vocab_size=40, decoder_start_token_id=0, **sizes))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def save_clip(folder: Path, seed: int = 0) -> Path:
    """A random vision tower of CLIP: pictures of 8 x 8 px, four patches and a class token of eight numbers each."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPVisionModel(CLIPVisionConfig(image_size=8, patch_size=4, **sizes)).save_pretrained(folder)
    CLIPImageProcessor(image_mean=[0.5, 0.5, 0.5], image_std=[0.25, 0.25, 0.25]).save_pretrained(folder)
    return folder


def fitted_codec() -> MdctPca:
    """A closed-form codec of 50 latent frames a second."""
    wave = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 4000), dtype=np.float32))
    return MdctPca.fit([wave], MdctPcaConfig(sample_rate_hz=1000, hop_samples=20, latent_channels=4))


def train_tiny(folder: Path, t5: Path, *, world: World, spread: Spread = "replicas") -> None:
    """Trains a network that reads pictures over time in four steps, of which every second has pictures."""
    tiny = audiox_tiny(latent_channels=4, text_width=8, total_clips=16)
    config = replace(
        tiny.network,
        frame_width=FRAMES.frame_width,
        frame_patches=FRAMES.frame_patches,
        width=16,
        depth=2,
        heads=2,
        context_width=12,
        frames_per_token=1,
        adapters=Adapters(video_tokens=2, video_pictures=3, video_depth=1, video_heads=1),
    )
    train_audiox(
        AudioXRecipe(network=config, objective=tiny.objective, training=tiny.training, batch_clips=4),
        _rows_at,
        frozen=Frozen(
            codec=fitted_codec(),
            sources=ConditionSources(text=EncoderSource(kind="t5", path=str(t5)), frames=FRAMES),
        ),
        folder=folder,
        data={},
        world=world,
        execution=Execution(spread=spread),
    )


def _rows_at(number: int, rows: range) -> Batch:
    rng = np.random.default_rng([5, number])
    has_pictures = number % 2 == 1
    batch = {
        "latents": torch.from_numpy(rng.standard_normal((4, 6, 4), dtype=np.float32)),
        "texts": ["rain", "", "siren", "a dog barks"],
        "frames": torch.from_numpy(rng.integers(0, 256, (4, 3, 8, 8, 3), dtype=np.uint8)),
        "has_frames": torch.full((4,), has_pictures),
        "keys": [f"{number}-{row}" for row in range(4)],
    }
    taken = {name: value[rows.start : rows.stop : rows.step] for name, value in batch.items()}
    return taken if has_pictures else {**taken, "frames": None}


def save_audiox(folder: Path) -> Path:
    """A model that reads text, pictures and sounds, in `folder/model`."""
    sources = ConditionSources(text=EncoderSource(kind="t5", path=str(save_t5(folder / "t5"))), frames=FRAMES)
    config = AudioXConfig(
        latent_channels=4,
        text_width=8,
        frame_width=FRAMES.frame_width,
        frame_patches=FRAMES.frame_patches,
        width=16,
        depth=2,
        heads=2,
        context_width=12,
        time_features=16,
        adapters=Adapters(audio=True),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AudioXNetwork(config)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    model = AudioX(network.requires_grad_(False), codec=fitted_codec(), encoders=sources.encoders(), path="flow")
    model.save_pretrained(folder / "model", sources)
    return folder
