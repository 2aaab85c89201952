"""What neighbours sound like is learned from, also for sounds that were never trained on; a prompt is not enough."""

import pytest
import torch

from models.diffusion.discrete import DiscreteSchedule
from models.re_audioldm.conditioning import Conditions
from models.re_audioldm.network import Retrieval
from models.re_audioldm.objective import ObjectiveSettings, ReAudioLdmObjective
from models.training.averaged import seeded
from models.training.step import Batch, sample_rngs
from tests.models.re_audioldm.tiny_re_audioldm import ReAudioLdmNetwork, small_config

SETTINGS = ObjectiveSettings(schedule=DiscreteSchedule(target="v_prediction"), drop_all=0.0, drop_neighbours=0.2)


def clips(number: int, count: int = 32) -> Batch:
    """Sounds that are what is heard in their one neighbour, all of one prompt: no batch repeats a sound."""
    generator = torch.Generator().manual_seed(number)
    heard_BH = torch.randn(count, 8, generator=generator)
    return {
        "keys": [f"{number}-{row}" for row in range(count)],
        "latents": heard_BH[:, None, :4].expand(count, 6, 4).contiguous(),
        "said": torch.nn.functional.normalize(torch.ones(count, 16), dim=1),
        "has_neighbours": torch.ones(count, 1, dtype=torch.bool),
        "neighbour_heard": heard_BH[:, None, None],
        "neighbour_tokens": torch.zeros(count, 1, 1, 8),
        "neighbour_token_lengths": torch.ones(count, 1, dtype=torch.long),
    }


def trained(retrieval: Retrieval, steps: int = 400) -> ReAudioLdmNetwork:
    network = seeded(lambda: ReAudioLdmNetwork(small_config(retrieval, width=16, neighbours=1)), 0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(steps):
        ReAudioLdmObjective(SETTINGS)(network, clips(step), sample_rngs(0, 32 * step, 32)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return network.eval()


def error_at_noise(network: ReAudioLdmNetwork, *, shown: bool = True) -> float:
    """Mean squared error of the sound that a network sees in nothing but noise; 1 is what guessing the mean has."""
    batch, level_B = clips(10**6, 256), torch.full((256,), 999)
    given = Conditions.of_batch(batch, 1)
    given = given.keeping(torch.ones(256, dtype=torch.bool), torch.full((256,), shown))
    noise_BFD = torch.randn(256, 6, 4, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        found_BFD = -network(noise_BFD, level_B, given)  # v is -x where there is no sound left
    return float((found_BFD - batch["latents"]).square().mean())


@pytest.mark.slow
def test_what_is_heard_in_a_neighbour_is_told_of_sounds_that_were_never_trained_on() -> None:
    reads = trained("audio")
    assert error_at_noise(reads) < 0.3
    assert error_at_noise(reads, shown=False) > 0.8, "the same network without its neighbours"
    assert error_at_noise(trained("none", 200)) > 0.8
