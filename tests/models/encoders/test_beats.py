"""BEATs: published sizes and names, its parts by arithmetic, files of weights as they are published."""

import math

import pytest
import torch
from safetensors.torch import save_file

from models.encoders.beats import FBANK, Beats, read_beats, save_beats
from models.encoders.beats_network import BeatsConfig, BeatsNetwork, PositionConv, distance_buckets

TINY = BeatsConfig(
    patch_width=12,
    width=16,
    hidden=24,
    depth=6,
    heads=2,
    position_kernel=4,
    position_groups=4,
    buckets=8,
    max_distance=16,
    classes=5,
)
PUBLISHED = {
    "input_patch_size": 16,
    "embed_dim": 12,
    "conv_bias": False,
    "encoder_layers": 6,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 2,
    "activation_fn": "gelu",
    "layer_wise_gradient_decay_ratio": 0.6,
    "layer_norm_first": False,
    "deep_norm": True,
    "dropout": 0.0,
    "conv_pos": 4,
    "conv_pos_groups": 4,
    "relative_position_embedding": True,
    "num_buckets": 8,
    "max_distance": 16,
    "gru_rel_pos": True,
    "finetuned_model": True,
    "predictor_dropout": 0.0,
    "predictor_class": 5,
}
LABELS = {index: f"/m/{index}" for index in range(5)}


def network(config=TINY, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = BeatsNetwork(config)
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                if "grep_a" in name or "norm" in name:
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def noise(samples=16_000, count=1):
    return torch.rand(count, samples, generator=torch.Generator().manual_seed(1)) - 0.5


def save_published(path, **changes):
    torch.save({"cfg": PUBLISHED, "model": network().state_dict(), "label_dict": LABELS} | changes, path)
    return path


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    return Beats.from_pretrained(save_published(tmp_path_factory.mktemp("beats") / "beats.pt"))


def test_the_published_size_has_the_published_names_and_90_million_weights():
    with torch.device("meta"):
        made = BeatsNetwork(BeatsConfig(classes=527))
    assert sum(parameter.numel() for parameter in made.parameters()) == 90_717_055
    state = made.state_dict()
    assert state["patch_embedding.weight"].shape == (512, 1, 16, 16)
    assert state["post_extract_proj.weight"].shape == (768, 512)
    assert state["encoder.pos_conv.0.weight_g"].shape == (1, 1, 128)
    assert state["encoder.pos_conv.0.weight_v"].shape == (768, 48, 128)
    assert state["encoder.layers.11.self_attn.relative_attention_bias.weight"].shape == (320, 12)
    assert state["encoder.layers.3.self_attn.grep_a"].shape == (1, 12, 1, 1)
    assert state["predictor.weight"].shape == (527, 768)
    assert sum("layers.0." in name for name in state) == 20
    others = {name for name in state if "layers." not in name}
    assert others == {
        "patch_embedding.weight",
        *(f"{name}.{kind}" for name in ("layer_norm", "post_extract_proj", "predictor") for kind in ("weight", "bias")),
        *(f"encoder.pos_conv.0.{name}" for name in ("weight_g", "weight_v", "bias")),
        "encoder.layer_norm.weight",
        "encoder.layer_norm.bias",
    }
    assert BeatsConfig().taps == (4, 8, 12)


def test_distances_near_have_buckets_of_their_own_and_far_ones_share():
    bucket_PP = distance_buckets(20, TINY)
    # Backwards 0, 1 exactly, then by logarithm to 16: 2..5 in bucket 2, from 6 on (2 * 8^(1/2)) in bucket 3.
    assert bucket_PP[19].tolist() == [3] * 14 + [2] * 4 + [1, 0]
    # Forwards the same four, above the four of before.
    assert bucket_PP[0].tolist() == [0, 5] + [6] * 4 + [7] * 14
    published = distance_buckets(1_000, BeatsConfig())
    assert int(published.max()) == 319 and int(published[999].max()) == 159
    assert published[0, :81].tolist() == [0, *range(161, 241)]


def test_the_positions_convolution_keeps_the_length_and_its_weights_have_the_length_g():
    conv = PositionConv(4, 4, 2)
    x_BDP = torch.randn(1, 4, 7, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.conv1d(x_BDP, conv.weight_v, conv.bias, padding=2, groups=2)[..., :7]
    torch.testing.assert_close(conv(x_BDP), plain)
    with torch.no_grad():
        conv.weight_g.mul_(2)
    torch.testing.assert_close(conv(x_BDP), 2 * plain)


def test_gated_attention_by_hand():
    attention = network().encoder.layers[0].self_attn
    x_BPD = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(0))
    bias_HPP = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1))
    query, key, value = (layer(x_BPD)[0] for layer in (attention.q_proj, attention.k_proj, attention.v_proj))
    heard = []
    for head in range(2):
        part = slice(8 * head, 8 * head + 8)
        gates = torch.sigmoid(attention.grep_linear(query[:, part]).reshape(3, 2, 4).sum(-1))
        gate = gates[:, :1] * (gates[:, 1:] * attention.grep_a[0, head] - 1) + 2
        score = query[:, part] @ key[:, part].T / math.sqrt(8) + gate * bias_HPP[head]
        heard.append(score.softmax(-1) @ value[:, part])
    torch.testing.assert_close(attention(x_BPD, bias_HPP)[0], attention.out_proj(torch.cat(heard, dim=-1)))


def test_a_block_scales_what_goes_past_its_halves():
    block = network().encoder.layers[0]
    x_BPD, bias_HPP = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3, 3)
    scale = 12**0.25
    middle = block.self_attn_layer_norm(scale * x_BPD + block.self_attn(x_BPD, bias_HPP))
    expected = block.final_layer_norm(scale * middle + block.fc2(torch.nn.functional.gelu(block.fc1(middle))))
    torch.testing.assert_close(block(x_BPD, bias_HPP), expected)


def test_one_table_of_positions_serves_all_blocks():
    made = network()
    mel_BFM = torch.randn(1, 64, 128, generator=torch.Generator().manual_seed(0))
    before = made(mel_BFM)
    with torch.no_grad():
        made.encoder.layers[5].self_attn.relative_attention_bias.weight.add_(
            torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
        )
    assert not torch.allclose(made(mel_BFM)[0], before[0], atol=1e-4)


def test_a_published_file_is_read_and_its_taps_are_joined(listener):
    assert listener.config == TINY
    assert listener.labels == tuple(LABELS.values())
    assert (listener.sample_rate_hz, listener.dimension) == (16_000, 48)
    wave_BT = noise()
    outputs = listener.forward(wave_BT)
    features = listener.features(wave_BT)
    assert len(outputs) == 6 and features.shape == (1, listener.patches(16_000), 48) == (1, 48, 48)
    assert torch.equal(features, torch.cat([outputs[1], outputs[3], outputs[5]], dim=-1))
    expected = torch.sigmoid(listener.network.predictor(outputs[5]).mean(1))
    torch.testing.assert_close(listener.tag(wave_BT), expected)


@pytest.mark.parametrize(("samples", "patches"), [(0, 8), (2_800, 8), (5_359, 8), (5_360, 16), (80_000, 248)])
def test_frames_that_fill_no_patch_are_not_heard(listener, samples, patches):
    assert listener.patches(samples) == patches
    features = listener.features(torch.zeros(1, samples))
    assert features.shape == (1, patches, 48) and bool(torch.isfinite(features).all())


def test_batch_equals_one_by_one_bit_for_bit(listener):
    wave_BT = noise(count=3)
    one_by_one = torch.cat([listener.features(one[None]) for one in wave_BT])
    assert torch.equal(listener.features(wave_BT), one_by_one)
    assert not torch.allclose(one_by_one[0], one_by_one[1], atol=1e-3)
    with pytest.raises(ValueError, match=r"needs mono sounds as \(B, T\), got shape \(100,\)"):
        listener.features(torch.zeros(100))


def test_what_is_trained_on_its_features_gets_gradients(listener):
    layer = torch.nn.Linear(48, 1)
    layer(listener.features(noise())).mean().backward()
    assert layer.weight.grad is not None and bool(layer.weight.grad.any())


def test_one_that_was_not_fine_tuned_has_features_and_no_classes(tmp_path):
    state = {name: value for name, value in network().state_dict().items() if not name.startswith("predictor.")}
    held = {"cfg": PUBLISHED | {"finetuned_model": False}, "model": state}
    torch.save(held, tmp_path / "beats.pt")
    plain = Beats.from_pretrained(tmp_path)
    assert plain.labels is None and plain.config.classes is None
    assert plain.features(noise()).shape == (1, 48, 48)
    with pytest.raises(ValueError, match="not fine-tuned"):
        plain.tag(noise())


def test_saved_and_read_again_answers_alike(listener, tmp_path):
    again = Beats.from_pretrained(save_beats(listener.network, tmp_path, labels=listener.labels))
    assert (again.config, again.labels) == (TINY, listener.labels)
    assert torch.equal(again.features(noise()), listener.features(noise()))
    bias = again.network.encoder.layers
    assert bias[0].self_attn.relative_attention_bias is bias[5].self_attn.relative_attention_bias
    assert again.identity() == Beats.from_pretrained(tmp_path).identity() != listener.identity()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"cfg": None}, "does not hold `cfg` and `model`"),
        ({"model": {"weight": "text"}}, "something else than tensors"),
        ({"cfg": PUBLISHED | {"layer_norm_first": True}}, "layer_norm_first=True"),
        ({"cfg": PUBLISHED | {"activation_fn": "glu"}}, "activation_fn='glu'"),
        ({"cfg": PUBLISHED | {"encoder_layers": 7}}, "does not fit its own sizes"),
        ({"cfg": PUBLISHED | {"encoder_embed_dim": 17}}, "got 17"),
        ({"label_dict": {0: "/m/0"}}, "1 labels cannot name 5 classes"),
        ({"label_dict": {1: "/m/0"}}, "does not name classes by their numbers"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        Beats.from_pretrained(save_published(tmp_path / "beats.pt", **changes))


def test_damaged_and_foreign_files_are_refused(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.pt cannot be read as weights"):
        read_beats(tmp_path / "a.pt")
    torch.save({"cfg": PUBLISHED, "model": {}, "beside": Beats}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"b\.pt cannot be read as weights"):
        read_beats(tmp_path / "b.pt")
    (tmp_path / "c.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"c\.safetensors cannot be read as weights"):
        read_beats(tmp_path / "c.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "d.safetensors")
    with pytest.raises(ValueError, match="does not name the sizes of a BEATs"):
        read_beats(tmp_path / "d.safetensors")
    with pytest.raises(FileNotFoundError):
        Beats.from_pretrained(tmp_path / "absent.pt")


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"patch": 0}, "patch must be at least 1, got 0"),
        ({"depth": 2}, "got 2"),
        ({"heads": 5}, r"\(5\)"),
        ({"position_groups": 7}, r"\(7\)"),
        ({"buckets": 6}, "got 6"),
        ({"max_distance": 80}, "and 80"),
        ({"classes": 0}, "got 0"),
    ],
)
def test_config_names_the_bad_value(changes, value):
    with pytest.raises(ValueError, match=value):
        BeatsConfig(**changes)


def test_the_spectrogram_is_of_16_bits_with_kaldis_window():
    assert (FBANK.window, FBANK.full_scale, FBANK.mel_bins) == ("povey", 2**15, 128)
    assert (FBANK.mean, FBANK.deviation, FBANK.frames) == (15.41663, 6.55582, None)
