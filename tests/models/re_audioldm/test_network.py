"""The network: what it reads, what masks hide, and its sizes."""

from dataclasses import replace

import pytest
import torch

from models.re_audioldm.conditioning import Conditions
from models.re_audioldm.network import ReAudioLdmNetwork
from models.re_audioldm.recipes import Widths, re_audioldm_large, re_audioldm_small, re_audioldm_tiny
from tests.models.re_audioldm.tiny_re_audioldm import conditions, small_config, small_network

Z_BFD = torch.randn(4, 6, 4, generator=torch.Generator().manual_seed(1))
LEVEL_B = torch.tensor([0, 300, 600, 999])


def answer(network, given, z_BFD=Z_BFD, level_B=LEVEL_B):
    with torch.no_grad():
        return network(z_BFD, level_B, given)


def differs(first, second):
    """Which samples' answers differ."""
    return ((first - second).abs().flatten(1).amax(1) > 1e-4).tolist()


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("recipe", "retrieval", "count"),
    [
        (re_audioldm_small, "none", 185_036_552),
        (re_audioldm_small, "audio", 266_449_800),
        (re_audioldm_small, "audio+text", 351_467_784),
        (re_audioldm_large, "none", 433_450_480),
        (re_audioldm_large, "audio+text", 802_918_152),
    ],
)
def test_the_sizes_of_the_paper(recipe, retrieval, count):
    with torch.device("meta"):
        network = ReAudioLdmNetwork(recipe(retrieval=retrieval).network)
    assert parameters(network) == count


def test_the_size_of_tiny():
    widths = Widths(latent_channels=8, latent_bins=16, said=64, heard=96, text=64)
    with torch.device("meta"):
        assert parameters(ReAudioLdmNetwork(re_audioldm_tiny(widths=widths).network)) == 1_041_936


def test_everything_that_is_shown_is_read_by_its_sample_alone():
    network, given = small_network(), conditions()
    whole = answer(network, given)
    assert whole.shape == (4, 6, 4)
    said = given.said_BS.roll(1, dims=1)
    assert differs(whole, answer(network, replace(given, said_BS=said))) == [True] * 4
    heard, text = given.heard_BKLH.clone(), given.text_BKNT.clone()
    heard[0, 1] += 1
    assert differs(whole, answer(network, replace(given, heard_BKLH=heard))) == [True, False, False, False]
    text[1, 0, 0] += 1
    assert differs(whole, answer(network, replace(given, text_BKNT=text))) == [False, True, False, False]
    assert differs(whole, answer(network, given, level_B=LEVEL_B.flip(0))) == [True] * 4


def test_masked_tokens_and_absent_neighbours_change_nothing():
    network, given = small_network(), conditions()
    whole = answer(network, given)
    heard, text = given.heard_BKLH.clone(), given.text_BKNT.clone()
    heard[~given.has_BK] = 9.0
    place_N = torch.arange(text.shape[2])
    text[place_N >= given.text_lengths_BK[:, :, None]] = 9.0
    torch.testing.assert_close(answer(network, replace(given, heard_BKLH=heard, text_BKNT=text)), whole)
    beyond = given.text_BKNT.clone()
    beyond[:, :, 3:] = 9.0  # the network reads three tokens of a caption
    torch.testing.assert_close(answer(network, replace(given, text_BKNT=beyond)), whole)


def test_no_neighbours_is_the_same_however_it_is_said():
    network, given = small_network(), conditions()
    nothing_B = torch.zeros(4, dtype=torch.bool)
    dropped = answer(network, given.keeping(~nothing_B, nothing_B))
    torch.testing.assert_close(answer(network, Conditions(said_BS=given.said_BS)), dropped)
    assert differs(dropped, answer(network, given)) == [True, True, True, False], "the fourth has none anyway"
    emptied = answer(network, given.emptied())
    torch.testing.assert_close(answer(network, Conditions(said_BS=torch.zeros(4, 16))), emptied)
    assert differs(dropped, emptied) == [True] * 4


def test_fewer_neighbours_are_read_as_if_there_were_no_more():
    network = small_network(neighbours=1)
    one = conditions(1)
    two = conditions(2)
    only_first = replace(two, has_BK=two.has_BK & torch.tensor([True, False]))
    torch.testing.assert_close(answer(network, one), answer(network, only_first))


@pytest.mark.parametrize(("retrieval", "reads"), [("none", (False, False)), ("audio", (True, False))])
def test_what_retrieval_leaves_out_is_not_read(retrieval, reads):
    network, given = small_network(retrieval), conditions()
    whole = answer(network, given)
    heard = answer(network, replace(given, heard_BKLH=given.heard_BKLH + 1))
    text = answer(network, replace(given, text_BKNT=given.text_BKNT + 1))
    assert (any(differs(whole, heard)), any(differs(whole, text))) == reads
    assert any(differs(whole, answer(network, replace(given, said_BS=-given.said_BS))))


def test_latents_lie_channel_by_channel():
    network, seen = small_network("none"), []
    network.unet.register_forward_hook(lambda module, args, output: seen.append((args[0], output[0])))
    said = answer(network, Conditions(said_BS=torch.ones(4, 16)))
    (given_BZFW, found_BZFW), (frame, channel, band) = seen[0], (5, 1, 0)
    assert given_BZFW.shape == (4, 2, 6, 2)
    assert torch.equal(given_BZFW[:, channel, frame, band], Z_BFD[:, frame, 2 * channel + band])
    assert torch.equal(found_BZFW[:, channel, frame, band], said[:, frame, 2 * channel + band])


def test_any_length_of_sound_goes_through():
    for frames in (1, 5, 7):
        assert answer(small_network(), conditions(), torch.zeros(4, frames, 4)).shape == (4, frames, 4)


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="latents have 6 channels, the network was made for 2 x 2"):
        small_network()(torch.zeros(4, 6, 6), LEVEL_B, conditions())
    for sizes, match in (
        ({"retrieval": "sound"}, "retrieval is 'sound': choose one of none, audio, audio\\+text"),
        ({"neighbours": 0}, "neighbours is 0"),
        ({"multiples": (1,)}, "at least two levels"),
        ({"head_channels": 3}, "head_channels is 3: it must divide 8"),
        ({"heard_width": 0}, "heard_width is 0"),
    ):
        with pytest.raises(ValueError, match=match):
            replace(small_config(), **sizes)
    assert replace(small_config("none"), heard_width=0, text_width=0).retrieval == "none"
