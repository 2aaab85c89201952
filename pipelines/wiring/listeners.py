"""Networks that judge sounds: features and logits of CLAP, EfficientAT, AST, VGGish and PANNs, all in one form.

A listener is named `KIND:WEIGHTS`, as `efficientat:mn04`, `clap:laion/clap-htsat-unfused`, `vggish:FILE.pth`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.keys import short_hash
from curation.storage import cache_folder
from pipelines.wiring.devices import UNLOADABLE, device_name
from pipelines.wiring.embedders import load_clap
from pipelines.wiring.taggers import load_tagger
from retrieval_index.windows import windows

if TYPE_CHECKING:
    from torch import Tensor

Float = npt.NDArray[np.float32]

RESAMPLER = "soxr HQ"
"""How sounds come to a listener's rate: `soxr.resample(..., quality="HQ")`, after the mean over channels."""

SOUNDS_AT_ONCE = 32
"""Windows that go through a network at once. Source: ours; 5 MB of samples at 48 kHz and 10 s are 60 MB."""

HUB_CLAP = "laion/clap-htsat-unfused"
"""The CLAP that is used by default where it is in the Hub's cache."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a listener makes of one sound.

    Args:
        features_ED: (E, D): an embedding of the sound (E is 1), or of each of its examples (VGGish).
        logits_L: (L,), before softmax or sigmoid; None where it knows no classes.
    """

    features_ED: Float
    logits_L: Float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """A network that hears sounds.

    Args:
        kind: One of `KINDS`.
        name: Its weights, as they were asked for.
        sample_rate_hz: Rate at which it wants sounds, Hz.
        window_s: Longest sound at once; longer ones are the mean of their windows, by their lengths. None: any.
        features: What its features are, in words.
        identity: What determines its answers.
        listen: (B, T) float32 -> features (B, E, D), and logits (B, L) or None.
        embed_text: Texts -> (B, D) in the space of its features; None where it knows no words.
    """

    kind: str
    name: str
    sample_rate_hz: int
    window_s: float | None
    features: str
    identity: dict[str, Any]
    listen: "Callable[[Tensor], tuple[Tensor, Tensor | None]]"
    embed_text: Callable[[Sequence[str]], Float] | None = None

    @property
    def folder_name(self) -> str:
        """Under which what it heard is kept."""
        return f"{self.kind}-{short_hash(self.identity, 8)}"

    @property
    def weights_sha256(self) -> str:
        """Hash of its weights."""
        return str(self.identity["weights_sha256"])

    def hear(self, waves: Sequence[Float]) -> list[Heard]:
        """Listen to sounds of any lengths.

        Args:
            waves: (T,) float32 each, at its rate, at least one sample long.
        """
        import torch

        parts: dict[int, list[tuple[int, Float]]] = {}
        for number, wave_T in enumerate(waves):
            length_s = self.window_s or len(wave_T) / self.sample_rate_hz
            for _, window_T in windows(wave_T, self.sample_rate_hz, length_s, hop_ratio=1.0):
                parts.setdefault(len(window_T), []).append((number, window_T))
        found: list[list[tuple[int, Heard]]] = [[] for _ in waves]
        for samples, members in parts.items():
            for first in range(0, len(members), SOUNDS_AT_ONCE):
                some = members[first : first + SOUNDS_AT_ONCE]
                features, logits = self.listen(torch.from_numpy(np.stack([window_T for _, window_T in some])))
                answers = features.float().cpu().numpy(), None if logits is None else logits.float().cpu().numpy()
                for row, (number, _) in enumerate(some):
                    heard = Heard(answers[0][row], None if answers[1] is None else answers[1][row])
                    found[number].append((samples, heard))
        return [_mean(windows_of) for windows_of in found]


def _mean(windows_of: Sequence[tuple[int, Heard]]) -> Heard:
    """One answer of those to a sound's windows, weighted by their lengths."""
    if len(windows_of) == 1:
        return windows_of[0][1]
    weights = np.array([samples for samples, _ in windows_of], np.float64)
    weights /= weights.sum()
    features = np.tensordot(weights, np.stack([heard.features_ED for _, heard in windows_of]), 1)
    logits = [heard.logits_L for _, heard in windows_of if heard.logits_L is not None]
    mean_L = np.tensordot(weights, np.stack(logits), 1).astype(np.float32) if logits else None
    return Heard(features.astype(np.float32), mean_L)


def load_listener(asked: str, option: str = "--embedder") -> Listener:
    """A listener by `KIND:WEIGHTS`, on the GPU where there is one.

    Args:
        asked: Its name.
        option: By which it was asked for.

    Raises:
        ArgumentError: The kind is unknown, or the weights cannot be loaded.
    """
    kind, _, name = asked.partition(":")
    if kind not in KINDS or not name:
        raise ArgumentError(f"{option} {asked!r}: sounds are judged by KIND:WEIGHTS with a kind of {', '.join(KINDS)}")
    try:
        return KINDS[kind](name)
    except UNLOADABLE as error:
        raise ArgumentError(f"{option} {asked}: {error}") from error


def _clap(name: str) -> Listener:
    encoder = load_clap(name).encoder
    return Listener(
        kind="clap",
        name=name,
        sample_rate_hz=encoder.sample_rate_hz,
        window_s=encoder.window_s,
        features="projected, of length 1",
        identity=dict(encoder.identity()),
        listen=lambda wave_BT: (encoder.embed_sound(wave_BT)[:, None], None),
        embed_text=lambda texts: np.asarray(encoder.embed_text(list(texts)).cpu().numpy(), np.float32),
    )


def _tagger(kind: str, name: str) -> Listener:
    tagger = load_tagger(name).tagger
    if type(tagger).__name__.lower() != kind:
        raise ArgumentError(f"--embedder {kind}:{name}: these are weights of {type(tagger).__name__}")

    def listen(wave_BT: "Tensor") -> "tuple[Tensor, Tensor]":
        logits_BL, vector_BD = tagger.forward(wave_BT)
        return vector_BD[:, None], logits_BL

    return Listener(
        kind=kind,
        name=name,
        sample_rate_hz=tagger.sample_rate_hz,
        window_s=tagger.window_s,
        features="before the classifier",
        identity=tagger.identity(),
        listen=listen,
    )


def _vggish(name: str) -> Listener:
    from models.encoders.vggish import Vggish

    vggish = Vggish.from_pretrained(Path(name).expanduser(), device=device_name())
    return Listener(
        kind="vggish",
        name=name,
        sample_rate_hz=vggish.sample_rate_hz,
        window_s=None,
        features="of every 0.96 s, before the last ReLU and PCA",
        identity=vggish.identity(),
        listen=lambda wave_BT: (vggish.forward(wave_BT), None),
    )


def _panns(name: str) -> Listener:
    from models.encoders.panns import Panns

    panns = Panns.from_pretrained(Path(name).expanduser(), device=device_name())

    def listen(wave_BT: "Tensor") -> "tuple[Tensor, Tensor]":
        logits_BL, vector_BD = panns.forward(wave_BT)
        return vector_BD[:, None], logits_BL

    return Listener(
        kind="panns",
        name=name,
        sample_rate_hz=panns.sample_rate_hz,
        window_s=panns.window_s,
        features="before the classifier, after its ReLU",
        identity=panns.identity(),
        listen=listen,
    )


KINDS: dict[str, Callable[[str], Listener]] = {
    "clap": _clap,
    "efficientat": lambda name: _tagger("efficientat", name),
    "ast": lambda name: _tagger("ast", name),
    "vggish": _vggish,
    "panns": _panns,
}
"""Kind -> what loads it from its weights."""


def listeners_at_hand(dataset: Dataset) -> list[str]:
    """Those that need no download: EfficientAT's mn04 in the cache; a CLAP of the Hub's cache, or the dataset's own."""
    from huggingface_hub import try_to_load_from_cache

    from pipelines.weights import PUBLISHED

    known = PUBLISHED["mn04"]
    file = cache_folder() / "weights" / f"{(known.sha256 or '')[:12]}-{known.url.rpartition('/')[2]}"
    own = dataset.folder("runs") / "clap-tiny" / "model"
    found = ["efficientat:mn04"] if file.is_file() else []
    if isinstance(try_to_load_from_cache(HUB_CLAP, "model.safetensors"), str):
        found.append(f"clap:{HUB_CLAP}")
    elif own.is_dir():
        found.append(f"clap:{own}")
    return found
