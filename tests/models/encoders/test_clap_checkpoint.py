"""laion-clap's own files: what comes out is the network that went in, and what is wrong with a file is said."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ClapFeatureExtractor, ClapModel

from models.encoders.clap import ClapEncoder
from models.encoders.clap_checkpoint import clap_config, load_checkpoint, read_checkpoint, renamed, size_name
from models.encoders.clap_mel import int16_round_trip
from tests.models.encoders.tiny_checkpoint import TEXTS, laion_state, tokenizer, write_checkpoint


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClapModel]:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClapModel]:
    return write_checkpoint(tmp_path_factory.mktemp("fused"), fusion=True)


def changed(saved: tuple[Path, ClapModel], folder: Path, change: Any) -> Path:
    """A copy of a checkpoint of which something was changed."""
    for file in saved[0].parent.iterdir():
        shutil.copy(file, folder)
    state = laion_state(saved[1])
    replaced = change(state)
    torch.save({"state_dict": replaced if isinstance(replaced, dict) else state}, folder / "tiny.pt")
    return folder / "tiny.pt"


@pytest.mark.parametrize("kind", ["saved", "fused"])
def test_every_tensor_comes_back(kind: str, request: pytest.FixtureRequest) -> None:
    path, model = request.getfixturevalue(kind)
    loaded, mel = load_checkpoint(path)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in loaded.state_dict().items())
    for part in ("text_config", "audio_config"):
        ours, theirs = (getattr(one.config, part).to_dict() for one in (loaded, model))
        assert ours == theirs
    assert mel.mel_scale == ("htk" if kind == "fused" else "slaney")
    assert (mel.sample_rate_hz, mel.window_s, mel.f_min_hz, mel.f_max_hz) == (48_000, 10.0, 50.0, 14_000.0)


@pytest.mark.parametrize("kind", ["saved", "fused"])
def test_vectors_equal_those_of_transformers(kind: str, request: pytest.FixtureRequest) -> None:
    path, model = request.getfixturevalue(kind)
    encoder = ClapEncoder.from_pretrained(path)
    random = np.random.default_rng(0)
    waves = [random.uniform(-0.5, 0.5, samples).astype(np.float32) for samples in (480_000, 100_000)]
    extractor = ClapFeatureExtractor(
        frequency_min=50,
        frequency_max=14_000,
        truncation="fusion" if kind == "fused" else "rand_trunc",
        padding="repeatpad",
    )
    words = tokenizer()(TEXTS, padding=True, return_tensors="pt")
    for wave in waves:
        rounded = int16_round_trip(torch.from_numpy(wave)).numpy()
        features = extractor([rounded], sampling_rate=48_000, return_tensors="pt")
        with torch.no_grad():
            theirs = model.get_audio_features(
                features["input_features"], is_longer=torch.zeros_like(features["is_longer"])
            ).pooler_output
        torch.testing.assert_close(encoder.embed_sound(torch.from_numpy(wave)[None]), theirs, atol=1e-4, rtol=0)
    with torch.no_grad():
        theirs = model.get_text_features(words["input_ids"], words["attention_mask"]).pooler_output
    torch.testing.assert_close(encoder.embed_text(TEXTS), theirs, atol=1e-4, rtol=0)


def test_the_identity_names_the_file_and_the_conversion(saved: tuple[Path, ClapModel]) -> None:
    identity = ClapEncoder.from_pretrained(saved[0]).identity()
    assert identity["weights_sha256"] == hashlib.sha256(saved[0].read_bytes()).hexdigest()
    assert identity["conversion"] == "1"


@pytest.mark.parametrize(
    ("channels", "third", "name"),
    [(96, 6, "HTSAT-tiny"), (128, 12, "HTSAT-base"), (256, 12, "HTSAT-large"), (96, 7, "HTSAT of 96 channels")],
)
def test_a_size_is_known_by_its_shapes(channels: int, third: int, name: str) -> None:
    blocks = {
        f"audio_branch.layers.{s}.blocks.{n}.x": 0 for s, depth in enumerate((2, 2, third, 2)) for n in range(depth)
    }
    tensors: Any = {**blocks, "audio_branch.patch_embed.proj.weight": torch.zeros(channels, 1, 4, 4)}
    assert size_name(tensors).startswith(name)


def test_a_bare_state_dict_in_half_precision_is_read(saved: tuple[Path, ClapModel], tmp_path: Path) -> None:
    state = {key.removeprefix("module."): value for key, value in laion_state(saved[1]).items()}
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    half["audio_branch.logmel_extractor.melW"] = state["audio_branch.logmel_extractor.melW"]
    torch.save(half, tmp_path / "half.pt")
    loaded, _ = load_checkpoint(tmp_path / "half.pt")
    assert {tensor.dtype for tensor in loaded.parameters()} == {torch.float32}


def test_the_old_format_without_a_zip_is_read(saved: tuple[Path, ClapModel], tmp_path: Path) -> None:
    torch.save({"state_dict": laion_state(saved[1])}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read_checkpoint(tmp_path / "old.pt").keys() == read_checkpoint(saved[0]).keys()


def test_qkv_is_divided_in_the_order_query_key_value() -> None:
    qkv = torch.arange(6.0)[:, None].expand(6, 2)
    found = renamed({"audio_branch.layers.0.blocks.1.attn.qkv.weight": qkv})
    stem = "audio_model.audio_encoder.layers.0.blocks.1.attention.self"
    assert [found[f"{stem}.{part}.weight"][0, 0].item() for part in ("query", "key", "value")] == [0, 2, 4]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch evil",)


@pytest.mark.parametrize("key", ["optimizer", "state_dict"])
def test_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, key: Evil()}, "evil.pt")
    with pytest.raises(ValueError, match=r"it holds .*, and a pickle can run code"):
        read_checkpoint("evil.pt")
    assert not (tmp_path / "evil").exists()


def test_numpy_objects_are_skipped_and_never_built(tmp_path: Path, saved: tuple[Path, ClapModel]) -> None:
    path, _ = write_checkpoint(tmp_path, best=np.float32(0.9), when=np.float64(3))
    assert read_checkpoint(path).keys() == read_checkpoint(saved[0]).keys()
    path, _ = write_checkpoint(tmp_path, array=np.zeros(3))
    with pytest.raises(ValueError, match=r"it holds .*, and a pickle can run code"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {"a.weight": torch.zeros(1)}, "is no CLAP of laion-clap: its tensors are a.weight"),
        (lambda s: {}, "its tensors are nothing"),
        (lambda s: s.pop("module.audio_branch.patch_embed.proj.weight") is None, "another sound tower than HTSAT"),
        (
            lambda s: s.update({"module.text_branch.embeddings.token_type_embeddings.weight": torch.zeros(2, 64)}),
            "another text tower than RoBERTa",
        ),
        (
            lambda s: s.update({"module.audio_branch.patch_embed.mel_conv2d.bias": torch.zeros(8)}),
            "in another way than aff_2d",
        ),
        (
            lambda s: s.update({"module.audio_branch.patch_embed.proj.weight": torch.zeros(8, 4, 4, 4)}),
            "in another way than aff_2d",
        ),
        (
            lambda s: s.update({"module.audio_branch.logmel_extractor.melW": torch.zeros(513, 64)}),
            "was trained on another log-mel",
        ),
        (
            lambda s: s.pop("module.audio_branch.layers.1.blocks.1.norm1.weight") is None,
            r"lacks 1 tensors, the first is audio_model.*layers\.1\.blocks\.1\.layernorm_before\.weight",
        ),
        (lambda s: s.update({"module.audio_branch.extra": torch.zeros(1)}), "has beside those of CLAP 1 tensors"),
        (lambda s: s.update({"module.audio_branch.norm.weight": torch.zeros(9)}), "does not hold a whole CLAP.*norm"),
        (lambda s: s.pop("module.audio_projection.2.weight") is None, "does not hold a whole CLAP"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    saved: tuple[Path, ClapModel], tmp_path: Path, change: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        load_checkpoint(changed(saved, tmp_path, change))


def test_a_file_that_is_none_is_refused(saved: tuple[Path, ClapModel], tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "short.pt").write_bytes(saved[0].read_bytes()[:5000])
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("text.pt", "empty.pt", "short.pt"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as weights"):
            read_checkpoint(tmp_path / name)
    with pytest.raises(ValueError, match="holds a list, not tensors by name"):
        read_checkpoint(tmp_path / "list.pt")
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*gone\.pt"):
        read_checkpoint(tmp_path / "gone.pt")


def test_a_missing_or_foreign_tokenizer_is_named(saved: tuple[Path, ClapModel], tmp_path: Path) -> None:
    shutil.copy(saved[0], tmp_path)
    words = tokenizer()
    words.add_tokens([f"word{n}" for n in range(500)])
    words.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"put the files of roberta-base's tokenizer .* beside the checkpoint"):
        ClapEncoder.from_pretrained(tmp_path / "tiny.pt")


def test_the_sizes_of_a_network_are_those_of_its_tensors(saved: tuple[Path, ClapModel]) -> None:
    config = clap_config(read_checkpoint(saved[0]))
    assert (config.audio_config.depths, config.audio_config.num_attention_heads) == ([1, 2, 1, 1], [1, 2, 4, 8])
    assert (config.text_config.num_hidden_layers, config.text_config.intermediate_size) == (2, 96)
    assert (config.projection_dim, config.audio_config.window_size) == (24, 8)
