"""Small parts of an AudioX: real networks of random weights, a T5 saved to a folder, a fitted codec."""

import numpy as np
import pytest
import torch

from models.audiox.conditioning import ConditionEncoders, FramePatches
from models.audiox.encoder_source import ConditionSources, EncoderSource
from models.audiox.network import AudioXConfig

WORDS = ("a", "dog", "barks", "rain", "falls", "on", "the", "roof", "loud", "siren")


class WordVectors:
    """A text encoder whose token is a random vector for each word, known by the word."""

    text_width = 6

    def text_tokens(self, texts):
        rows = [torch.stack([self._vector(word) for word in (text.split() or ["."])]) for text in texts]
        hidden = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=99.0)
        return hidden, torch.arange(hidden.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]

    def _vector(self, word):
        return torch.from_numpy(np.random.default_rng(list(word.encode())).standard_normal(6, dtype=np.float32))


@pytest.fixture
def config():
    """Sizes that fit the encoders, the T5 and the codec here, but for the width of the text."""

    def sizes(text_width):
        return AudioXConfig(
            latent_channels=4,
            text_width=text_width,
            frame_width=48,
            frame_patches=4,
            width=16,
            depth=2,
            heads=2,
            context_width=12,
            time_features=16,
        )

    return sizes


@pytest.fixture
def encoders():
    return ConditionEncoders(WordVectors(), FramePatches(pictures=3, side_px=8, patch_px=4))


@pytest.fixture
def frames():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 5, 12, 16, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory):
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
    folder = tmp_path_factory.mktemp("t5")
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def sources(t5_folder):
    frames = FramePatches(pictures=3, side_px=8, patch_px=4)
    return ConditionSources(text=EncoderSource(kind="t5", path=str(t5_folder)), frames=frames)


@pytest.fixture(scope="session")
def codec():
    from models.codecs.closed_form import MdctPca, MdctPcaConfig

    wave = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 4000), dtype=np.float32))
    return MdctPca.fit([wave], MdctPcaConfig(sample_rate_hz=1000, hop_samples=20, latent_channels=4))
