"""Networks that judge made pictures: CLIP, a small judge that was trained here, and Wav2CLIP beside a CLIP.

A judge is named `KIND:WEIGHTS`: `clip:openai/clip-vit-base-patch32`; `own:FOLDER` of a judge that was trained here
(`models/encoders/sound_picture.py`); `inception:FILE` for FID as it is published.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from curation.errors import ArgumentError
from pipelines.wiring.devices import UNLOADABLE, device_name, loading
from pipelines.wiring.hub import give_up_without_network

if TYPE_CHECKING:
    from torch import Tensor

Float = npt.NDArray[np.float32]
Pictures = Sequence[npt.NDArray[np.uint8]]

KINDS = ("clip", "own", "inception")
AT_ONCE = 32
"""Pictures that go through a network at once. Source: ours."""
TEXT = "a photo of {}"
"""For classes by CLIP. Source: ours, after AudioToken's prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureJudge:
    """A network that sees pictures, and may hear sounds.

    Args:
        name: As it was asked for.
        identity: What determines its answers.
        see: Pictures, uint8 (H, W, 3) each -> vectors (N, D).
        classes: Pictures and labels -> the label of each picture; None where its vectors are for FID alone.
        hear: Sounds at `sample_rate_hz`, (T,) each -> vectors in the space of the pictures; None where it hears none.
        sample_rate_hz: Of the sounds.
        hearing: What hears, by name and identity, where it is another network.
    """

    name: str
    identity: dict[str, Any]
    see: Callable[[Pictures], Float]
    classes: Callable[[Pictures, Sequence[str]], list[str]] | None
    hear: Callable[[Sequence[Float]], Float] | None = None
    sample_rate_hz: int = 16_000
    hearing: dict[str, Any] | None = None


def load_judge(name: str, *, hears: str | None = None) -> PictureJudge:
    """A judge by its name.

    Args:
        name: `KIND:WEIGHTS`.
        hears: For CLIP, a listener of its space: `wav2clip:FILE`.

    Raises:
        ArgumentError: It cannot be loaded, or is of no kind that is known.
    """
    kind, _, weights = name.partition(":")
    if kind not in KINDS or not weights:
        raise ArgumentError(f"--judge {name!r}: pictures are judged by KIND:WEIGHTS with a kind of {', '.join(KINDS)}")
    try:
        if kind == "inception":
            return _inception(name, weights)
        return _own(name, weights, hears) if kind == "own" else _clip(name, weights, hears)
    except UNLOADABLE as error:
        raise ArgumentError(f"--judge {name}: {error}") from error


def _own(name: str, folder: str, hears: str | None) -> PictureJudge:
    import torch

    from models.encoders.sound_picture import SoundPictureJudge

    if hears is not None:
        raise ArgumentError(f"--judge {name} hears by itself; drop --hears")
    judge = SoundPictureJudge.from_pretrained(folder)

    def classes(pictures: Pictures, labels: Sequence[str]) -> list[str]:
        if unknown := sorted(set(labels) - set(judge.config.labels)):
            raise ArgumentError(f"--judge {name} knows no label {unknown[0]!r}")
        return [label for part in _parts(pictures) for label in judge.classes_seen(part)]

    return PictureJudge(
        name=name,
        identity=judge.identity(),
        see=lambda pictures: _joined([judge.see(part) for part in _parts(pictures)]),
        classes=classes,
        hear=lambda waves: _joined([judge.hear([torch.from_numpy(wave_T)]) for wave_T in waves]),
        sample_rate_hz=judge.sample_rate_hz,
    )


def _inception(name: str, weights: str) -> PictureJudge:
    from models.encoders.inception import Inception

    eye = Inception.from_pretrained(weights, device=device_name())
    return PictureJudge(
        name=name,
        identity=eye.identity(),
        see=lambda pictures: _joined([eye.embed_picture(part) for part in _parts(pictures)]),
        classes=None,
    )


def _clip(name: str, weights: str, hears: str | None) -> PictureJudge:
    from models.encoders.clip import ClipEncoder
    from models.metrics.pictures import nearest_class

    give_up_without_network()
    with loading("CLIP", weights):
        clip = ClipEncoder.from_pretrained(weights, device=device_name())

    def see(pictures: Pictures) -> Float:
        return _joined([clip.embed_picture(part) for part in _parts(pictures)])

    def classes(pictures: Pictures, labels: Sequence[str]) -> list[str]:
        texts = clip.embed_text([TEXT.format(label) for label in labels]).cpu().numpy()
        return nearest_class(see(pictures), texts, labels)

    heard = {} if hears is None else _hearing(hears, clip.dimension)
    return PictureJudge(name=name, identity=clip.identity(), see=see, classes=classes, **heard)


def _hearing(name: str, dimension: int) -> dict[str, Any]:
    """What of a judge is another network's."""
    import torch

    from models.encoders.wav2clip import Wav2Clip

    kind, _, weights = name.partition(":")
    if kind != "wav2clip" or not weights:
        raise ArgumentError(f"--hears {name!r}: give wav2clip:FILE")
    listener = Wav2Clip.from_pretrained(weights, device=device_name())
    if listener.dimension != dimension:
        raise ArgumentError(
            f"Wav2CLIP hears into a space of {listener.dimension} numbers, CLIP sees into {dimension}: give ViT-B/32"
        )
    return {
        "hear": lambda waves: _joined([listener.embed_sound(torch.from_numpy(wave_T)[None]) for wave_T in waves]),
        "sample_rate_hz": listener.sample_rate_hz,
        "hearing": {"name": name, **listener.identity()},
    }


def _parts(pictures: Pictures) -> list[Pictures]:
    return [pictures[first : first + AT_ONCE] for first in range(0, len(pictures), AT_ONCE)]


def _joined(vectors: Sequence["Tensor"]) -> Float:
    return np.concatenate([one.float().cpu().numpy() for one in vectors])
