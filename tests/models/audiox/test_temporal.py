"""Videos to tokens: how many, and that time and place are kept apart."""

import pytest
import torch
from torch import nn

from models.audiox.temporal import TemporalReader


@pytest.fixture
def reader():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = TemporalReader(width=6, pictures=4, patches=3, tokens=5, depth=1, heads=2)
        for parameter in made.parameters():
            nn.init.normal_(parameter, std=0.4)
    return made.requires_grad_(False)


def frames(count):
    return torch.randn(2, count, 3, 6, generator=torch.Generator().manual_seed(count))


def test_a_video_becomes_so_many_tokens_in_which_order_of_time_is_felt(reader):
    tokens = reader(frames(4))
    assert tokens.shape == (2, 5, 6)
    torch.testing.assert_close(reader(frames(4)[1:])[0], tokens[1])
    assert float((reader(frames(4).flip(1)) - tokens).abs().max()) > 1e-2


def test_videos_of_other_lengths_are_spread_over_the_same_pictures(reader):
    still = frames(1)
    torch.testing.assert_close(reader(still), reader(still.expand(-1, 4, -1, -1)))
    two = frames(2)
    torch.testing.assert_close(reader(two), reader(two.repeat_interleave(2, dim=1)))
    seven = frames(7)
    torch.testing.assert_close(reader(seven), reader(seven[:, ::2]))
