"""Small parts of an AudioX: real networks of random weights, a T5 saved to a folder, a fitted codec."""

import numpy as np
import pytest
import torch

from models.audiox.conditioning import ConditionEncoders
from models.audiox.encoder_source import ConditionSources, EncoderSource
from models.audiox.network import AudioXConfig
from tests.models.audiox.tiny_audiox import FRAMES, fitted_codec, save_t5


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
    return ConditionEncoders(WordVectors(), FRAMES)


@pytest.fixture
def frames():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 5, 12, 16, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory):
    """A random T5 with a tokenizer of ten words, as transformers saves them."""
    return save_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture
def sources(t5_folder):
    return ConditionSources(text=EncoderSource(kind="t5", path=str(t5_folder)), frames=FRAMES)


@pytest.fixture(scope="session")
def codec():
    return fitted_codec()
