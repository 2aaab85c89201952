"""Published sizes, and which stream the UNet reads where."""

from dataclasses import replace

import pytest
import torch

from models.audioldm2.language import Stream
from models.audioldm2.network import AudioLdm2Config, AudioLdm2Network, UNetConfig
from models.audioldm2.recipes import PUBLISHED, audioldm2_base, audioldm2_large
from tests.models.audioldm2.tiny_audioldm2 import CONFIG, random_network


def counted(config: AudioLdm2Config) -> tuple[int, int]:
    with torch.device("meta"):
        network = AudioLdm2Network.of_config(config)
    trained = [one for one in network.language.parameters() if one.requires_grad]
    return sum(one.numel() for one in network.unet.parameters()), sum(one.numel() for one in trained)


def test_the_published_sizes_have_the_published_parameters() -> None:
    """The paper says 346 M for its UNet and 712 M for the large one; GPT-2 base without its vocabulary has 85.8 M."""
    unet, language = counted(audioldm2_base().network)
    adapters = (512 + 1) * 768 + (1024 + 1) * 768 + 4 * 768
    assert unet == 346_943_496
    assert language == 124_439_808 - 50_257 * 768 + adapters
    assert counted(audioldm2_large().network)[0] == 718_012_296
    assert (PUBLISHED.latent_channels, PUBLISHED.latent_frames, PUBLISHED.vectors) == (8, 256, 8)


def test_the_noise_depends_on_loa_text_and_level_and_not_on_hidden_tokens() -> None:
    network = random_network().requires_grad_(False).eval()
    rng = torch.Generator().manual_seed(0)
    z, loa, tokens = (torch.randn(shape, generator=rng) for shape in ((1, 6, 32), (1, 8, 16), (1, 4, 16)))

    def noise(loa=loa, tokens=tokens, level=5, shown=3):
        return network.noise(z, torch.tensor([level]), loa, Stream.of_tokens(tokens, [shown]))

    first = noise()
    assert first.shape == z.shape
    for other in (noise(loa=loa + 1), noise(tokens=tokens + 1), noise(level=900), noise(shown=4)):
        assert float((other - first).abs().max()) > 1e-3
    hidden = tokens.clone()
    hidden[:, 3:] = 100.0
    torch.testing.assert_close(noise(tokens=hidden), first)
    with pytest.raises(ValueError, match="33 channels, no multiple of the network's 2"):
        network.noise(torch.zeros(1, 6, 33), torch.tensor([0]), loa, None)


def test_latents_stand_channel_by_channel() -> None:
    """A UNet that only copies gives back what came in, in the same places."""
    network = random_network()

    class Copy(torch.nn.Module):
        config = network.unet.config

        def forward(self, z, level, **others):
            self.seen = z
            return (z,)

    network.unet = Copy()
    z = torch.arange(2 * 3 * 32.0).view(2, 3, 32)
    torch.testing.assert_close(network.noise(z, torch.zeros(2).long(), torch.zeros(2, 8, 16), None), z)
    torch.testing.assert_close(network.unet.seen[0, 1], z[0, :, 16:])


def test_without_text_the_unet_reads_the_loa_alone() -> None:
    unet = replace(CONFIG.unet, text_width=None)
    network = AudioLdm2Network.of_config(replace(CONFIG, unet=unet, text_stream=None))
    widths = {block.attn2.to_k.in_features for block in network.unet.modules() if hasattr(block, "attn2")}
    assert 16 in widths and network.text_stream is None
    assert network.noise(torch.zeros(1, 4, 32), torch.tensor([3]), torch.zeros(1, 8, 16), None).shape == (1, 4, 32)


def test_scale_and_mean_are_measured() -> None:
    network = random_network()
    latents = torch.randn(4, 6, 32, generator=torch.Generator().manual_seed(0)) * 5
    network.fit_scale([latents[:2], latents[2:]])
    assert float((latents * network.latent_scale).std(correction=0)) == pytest.approx(1, abs=1e-5)
    heard = torch.randn(4, 8, 16, generator=torch.Generator().manual_seed(1))
    network.fit_mean_loa([heard[:1], heard[1:]])
    torch.testing.assert_close(network.mean_loa_LW, heard.mean(0))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"width": 0}, "width is 0"),
        ({"text_width": 0}, "text_width is 0"),
        ({"multiples": (1,)}, "at least two levels"),
        ({"head_channels": 3}, "must divide"),
        ({"plain_levels": 2}, "last level always has attention"),
    ],
)
def test_sizes_that_cannot_be_are_refused(how: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNetConfig(**{"width": 8, "multiples": (1, 2), "head_channels": 8, "norm_groups": 4, **how})


def test_parts_of_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="says vectors of 16, the UNet reads 8"):
        replace(CONFIG, unet=replace(CONFIG.unet, loa_width=8))
    with pytest.raises(ValueError, match="reads 16 channels beside the LOA, stream 'clap' has 8"):
        replace(CONFIG, text_stream="clap")
