"""Listeners by name: every kind from tiny weights of the real classes, long sounds, and what is at hand."""

from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch

from curation.dataset import Dataset
from curation.errors import ArgumentError
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from models.encoders.efficientat import MobileNet, MobileNetConfig
from pipelines.weights import PUBLISHED
from pipelines.wiring.listeners import HUB_CLAP, Heard, Listener, listeners_at_hand, load_listener
from tests.models.encoders.tiny_ast import save_ast
from tests.models.encoders.tiny_listeners import save_cnn14, save_vggish


def noise(seconds: float, rate_hz: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate_hz)).astype(np.float32)


def name_of(kind: str, folder: Path) -> str:
    """Weights of this kind, saved."""
    if kind == "vggish":
        return str(save_vggish(folder / "vggish.pth"))
    if kind == "panns":
        return str(save_cnn14(folder / "Cnn14_16k.pth"))
    if kind == "efficientat":
        torch.manual_seed(0)
        torch.save(MobileNet(MobileNetConfig(width=0.1)).state_dict(), folder / "mn01.pt")
        return str(folder / "mn01.pt")
    if kind == "ast":
        return str(save_ast(folder / "ast"))
    config = TinyClapConfig(sample_rate_hz=8_000, window_s=1, f_max_hz=3_900, audio_width=16, text_width=32)
    return str(build_tiny_clap(["a dog barks", "rain"], config, seed=0).save(folder / "clap"))


@pytest.mark.parametrize(
    ("kind", "examples", "classes"),
    [("vggish", 2, None), ("panns", 1, 527), ("efficientat", 1, 527), ("ast", 1, 5), ("clap", 1, None)],
)
def test_every_kind_hears_sounds_of_any_length(tmp_path: Path, kind: str, examples: int, classes: int | None) -> None:
    listener = load_listener(f"{kind}:{name_of(kind, tmp_path)}")
    waves = [noise(seconds, listener.sample_rate_hz, n) for n, seconds in enumerate((2.0, 0.3, 2.0))]
    heard = listener.hear(waves)
    assert heard[0].features_ED.shape[0] == examples
    assert heard[1].features_ED.shape[0] == 1
    assert heard[0].features_ED.dtype == np.float32
    assert {None if one.logits_L is None else len(one.logits_L) for one in heard} == {classes}
    alone = listener.hear(waves[2:])[0]
    np.testing.assert_allclose(heard[2].features_ED, alone.features_ED, atol=1e-5)
    assert len(listener.weights_sha256) == 64 and listener.folder_name.startswith(f"{kind}-")
    assert (listener.embed_text is not None) == (kind == "clap")
    if listener.embed_text is not None:
        assert listener.embed_text(["rain", "a dog barks"]).shape == (2, heard[0].features_ED.shape[1])


def test_a_long_sound_is_the_mean_of_its_windows_by_their_lengths() -> None:
    """Its feature is a window's first sample: windows of 4, 4 and 2 samples weigh 0.4, 0.4 and 0.2."""
    listener = Listener(
        kind="ast",
        name="first",
        sample_rate_hz=4,
        window_s=1.0,
        features="",
        identity={"weights_sha256": ""},
        listen=lambda wave_BT: (wave_BT[:, None, :1], 2 * wave_BT[:, :1]),
    )
    found = listener.hear([np.arange(10, dtype=np.float32), np.full(4, 7.0, np.float32)])
    assert found[0].features_ED.tolist() == [[pytest.approx(0.4 * 0 + 0.4 * 4 + 0.2 * 8)]]
    assert found[0].logits_L is not None and found[0].logits_L.tolist() == [pytest.approx(6.4)]
    assert found[1] == Heard(found[1].features_ED, found[1].logits_L)
    assert found[1].features_ED.tolist() == [[7.0]]


def test_what_is_no_listener_is_refused(tmp_path: Path) -> None:
    for asked in ("panns", "panns:", "yamnet:x", ""):
        with pytest.raises(ArgumentError, match="sounds are judged by KIND:WEIGHTS with a kind of clap"):
            load_listener(asked)
    with pytest.raises(ArgumentError, match=r"--embedder panns:.*no file of weights"):
        load_listener(f"panns:{tmp_path / 'none.pth'}")
    with pytest.raises(ArgumentError, match="not those of torchvggish's VGGish"):
        load_listener(f"vggish:{save_cnn14(tmp_path / 'cnn.pth')}")
    with pytest.raises(ArgumentError, match="these are weights of EfficientAt"):
        load_listener(f"ast:{name_of('efficientat', tmp_path)}")


def test_what_is_at_hand_needs_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached: dict[str, str] = {}
    monkeypatch.setenv("FOUNDSOUND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: cached.get(name))
    dataset = Dataset.create(tmp_path / "dataset")
    assert listeners_at_hand(dataset) == []
    own = dataset.folder("runs") / "clap-tiny" / "model"
    own.mkdir(parents=True)
    assert listeners_at_hand(dataset) == [f"clap:{own}"]
    file = tmp_path / "cache" / "weights" / "899a8c621706-mn04_as_mAP_432.pt"
    assert PUBLISHED["mn04"].url.endswith("mn04_as_mAP_432.pt")
    file.parent.mkdir(parents=True)
    file.touch()
    cached[HUB_CLAP] = "there"
    assert listeners_at_hand(dataset) == ["efficientat:mn04", f"clap:{HUB_CLAP}"]
