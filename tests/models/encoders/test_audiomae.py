"""AudioMAE: published sizes and names, wherever a file holds them; the language of audio by arithmetic."""

import math

import pytest
import torch
from safetensors.torch import save_file

from models.encoders.audiomae import AudioMae, audiomae_tensors, pool_patches, save_audiomae
from models.encoders.audiomae_network import AudioMaeConfig, AudioMaeEncoder, sincos_positions

TINY = AudioMaeConfig(frames=64, mel_bins=32, width=16, depth=4, heads=2)
PUBLISHED = AudioMaeConfig(frames=64, width=64, depth=3, heads=1)
"""As small as published weights could be: heads of 64, 128 bands."""


def encoder(config=TINY, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AudioMaeEncoder(config)
        torch.nn.init.normal_(network.cls_token)
        torch.nn.init.normal_(network.norm.bias)
    return network


def noise(samples=9_000, count=1):
    return torch.rand(count, samples, generator=torch.Generator().manual_seed(1)) - 0.5


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    return AudioMae.from_pretrained(save_audiomae(encoder(), tmp_path_factory.mktemp("audiomae")))


def test_the_published_size_has_timms_names_and_85_million_weights():
    with torch.device("meta"):
        network = AudioMaeEncoder(AudioMaeConfig())
    state = network.state_dict()
    assert sum(value.numel() for value in state.values()) == 85_648_128
    assert state["pos_embed"].shape == (1, 513, 768)
    assert state["patch_embed.proj.weight"].shape == (768, 1, 16, 16)
    assert state["blocks.11.attn.qkv.weight"].shape == (2304, 768)
    names = {name.split(".", 2)[2] for name in state if name.startswith("blocks.")}
    halves = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    assert names == {f"{half}.{kind}" for half in halves for kind in ("weight", "bias")}
    assert AudioMaeConfig.of_weights(state) == AudioMaeConfig()
    assert AudioMaeConfig().patches == 512


def test_positions_by_hand():
    table = sincos_positions((3, 2), 8)
    assert table.shape == (1, 7, 8) and bool((table[0, 0] == 0).all())
    # Patch 5 is the third in time and the second in frequency; rates are 1 and 1 / 100.
    angles = [1.0, 0.01], [2.0, 0.02]
    expected = [wave(angle) for pair in angles for wave in (math.sin, math.cos) for angle in pair]
    assert table[0, 6].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_mean_of_the_last_blocks_normalised():
    network = encoder()
    mel_BFM = torch.randn(2, 64, 32, generator=torch.Generator().manual_seed(0))
    outputs = []
    for block in network.blocks:
        block.register_forward_hook(lambda _, __, output: outputs.append(output))
    heard = network(mel_BFM)
    assert heard.shape == (2, 8, 16) and len(outputs) == 4
    expected = (network.norm(outputs[1]) + network.norm(outputs[2]) + network.norm(outputs[3]))[:, 1:] / 3
    torch.testing.assert_close(heard, expected)
    with pytest.raises(ValueError, match=r"takes spectrograms \(B, 64, 32\), got \(1, 63, 32\)"):
        network(torch.zeros(1, 63, 32))


def test_a_block_by_hand():
    """One head, one token: attention lets the value through."""
    block = encoder(AudioMaeConfig(frames=16, mel_bins=16, width=8, depth=1, heads=1, averaged_blocks=1)).blocks[0]
    x = torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(2))
    value = block.attn.qkv(block.norm1(x))[..., 16:]
    middle = x + block.attn.proj(value)
    expected = middle + block.mlp.fc2(torch.nn.functional.gelu(block.mlp.fc1(block.norm2(middle))))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(
    ("factor", "vectors"), [(1, 512), (2, 128), (3, 42), (4, 32), (8, 8), (16, 4), (64, 1), (99, 1)]
)
def test_vectors_of_a_factor(factor, vectors):
    assert pool_patches(torch.zeros(1, 512, 4), (64, 8), factor).shape == (1, vectors, 4)


def test_pooling_by_hand():
    patch_BPD = torch.arange(16.0).reshape(1, 16, 1)
    # Four by four, windows of two by two: the first holds 0, 1, 4, 5: mean 2.5, maximum 5.
    assert pool_patches(patch_BPD, (4, 4), 2).flatten().tolist() == [3.75, 5.75, 11.75, 13.75]
    assert torch.equal(pool_patches(patch_BPD, (4, 4), 1), patch_BPD)
    assert pool_patches(patch_BPD, (4, 4), 8).flatten().tolist() == [(7.5 + 15) / 2]
    with pytest.raises(ValueError, match="at least 1, got 0"):
        pool_patches(patch_BPD, (4, 4), 0)


def test_what_a_listener_says_of_itself(listener):
    assert (listener.sample_rate_hz, listener.dimension, listener.longest_samples) == (16_000, 16, 63 * 160 + 400)
    assert listener.config == TINY
    for factor in (1, 2, 4):
        heard = listener.language_of_audio(noise(), factor=factor)
        assert heard.shape == (1, listener.vectors(factor), 16)
    assert listener.language_of_audio(noise()).shape == (1, 1, 16)


def test_batch_equals_one_by_one_bit_for_bit(listener):
    wave_BT = noise(count=3)
    one_by_one = torch.cat([listener.forward(one[None]) for one in wave_BT])
    assert torch.equal(listener.forward(wave_BT), one_by_one)
    assert not torch.allclose(one_by_one[0], one_by_one[1], atol=1e-3)


def test_what_is_trained_on_its_vectors_gets_gradients(listener):
    layer = torch.nn.Linear(16, 1)
    layer(listener.language_of_audio(noise())).mean().backward()
    assert layer.weight.grad is not None and bool(layer.weight.grad.any())


def test_silence_and_no_sound_have_finite_answers_and_too_long_is_refused(listener):
    for samples in (0, 1, 8_000, listener.longest_samples):
        assert torch.isfinite(listener.forward(torch.zeros(1, samples))).all()
    with pytest.raises(ValueError, match="at most 10480 samples"):
        listener.forward(torch.zeros(1, listener.longest_samples + 1))


@pytest.mark.parametrize(
    "prefix", ["", "model.", "encoder.", "module.", "cond_stage_models.0.cond_stage_models.1.audiomae.model."]
)
def test_published_files_hold_it_below_any_prefix(tmp_path, prefix):
    network = encoder(PUBLISHED)
    held = {prefix + name: value for name, value in network.state_dict().items()}
    beside = {"mask_token", "decoder_blocks.0.attn.qkv.weight", "decoder_norm.weight"}
    held |= {prefix + name: torch.zeros(3) for name in beside}
    held |= {"clap.patch_embed.proj.weight": torch.zeros(3), "clap.layers.0.blocks.0.attn.qkv.weight": torch.zeros(3)}
    torch.save({"state_dict": held}, tmp_path / "weights.pth")
    loaded = AudioMae.from_pretrained(tmp_path)
    assert loaded.config == PUBLISHED
    mel_BFM = torch.randn(1, 64, 128, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded.network(mel_BFM), network(mel_BFM))


def test_a_table_of_positions_comes_with_the_weights(tmp_path):
    network = encoder(PUBLISHED)
    exchanged = sincos_positions((8, 4), 64)
    assert not torch.equal(exchanged, network.pos_embed)
    torch.save({"model": network.state_dict() | {"pos_embed": exchanged}}, tmp_path / "weights.pth")
    assert torch.equal(AudioMae.from_pretrained(tmp_path).network.pos_embed, exchanged)


def test_the_same_one_twice_is_one_and_two_that_differ_are_refused():
    state = encoder().state_dict()
    twice = {f"{place}.{name}": value for place in ("a", "b") for name, value in state.items()}
    assert audiomae_tensors(twice).keys() == state.keys()
    with pytest.raises(ValueError, match=r"differ, below 'a\.' and 'b\.'"):
        audiomae_tensors(twice | {"b.norm.bias": torch.ones(16)})
    with pytest.raises(ValueError, match="no AudioMAE found"):
        audiomae_tensors({"layer.weight": torch.zeros(2)})


def test_a_fine_tuned_one_without_the_last_normalisation_is_refused(tmp_path):
    state = encoder(PUBLISHED).state_dict()
    tuned = {name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: state[name] for name in state}
    save_file(tuned, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors does not hold an AudioMAE.*norm\.weight"):
        AudioMae.from_pretrained(tmp_path)


def test_foreign_and_damaged_files_are_refused(tmp_path):
    torch.save({"model": {"weight": torch.zeros(2)}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="no AudioMAE found"):
        AudioMae.from_pretrained(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"b\.pth cannot be read"):
        AudioMae.from_pretrained(tmp_path / "b.pth")
    with pytest.raises(FileNotFoundError):
        AudioMae.from_pretrained(tmp_path / "absent")


def test_identity_names_the_weights(listener, tmp_path):
    other = AudioMae.from_pretrained(save_audiomae(encoder(seed=1), tmp_path / "other"))
    again = AudioMae.from_pretrained(save_audiomae(encoder(), tmp_path / "again"))
    assert again.identity() == listener.identity() != other.identity()
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"frames": 0}, "frames must be at least 1, got 0"),
        ({"frames": 1000}, "1000"),
        ({"mel_bins": 100}, "100"),
        ({"width": 770}, "770"),
        ({"heads": 7}, "7"),
        ({"averaged_blocks": 13}, "13"),
        ({"averaged_blocks": 0}, "got 0"),
    ],
)
def test_config_names_the_bad_value(changes, value):
    with pytest.raises(ValueError, match=value):
        AudioMaeConfig(**changes)


@pytest.mark.parametrize("absent", ["patch_embed.proj.weight", "pos_embed", "blocks."])
def test_sizes_are_not_read_off_other_weights(absent):
    state = {name: value for name, value in encoder(PUBLISHED).state_dict().items() if not name.startswith(absent)}
    with pytest.raises(ValueError, match="not weights of an AudioMAE"):
        AudioMaeConfig.of_weights(state)
    with pytest.raises(ValueError, match="width 16"):
        AudioMaeConfig.of_weights(encoder().state_dict())
