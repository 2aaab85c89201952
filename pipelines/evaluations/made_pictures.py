"""Pictures that a run makes of clips' sounds, with fixed seeds, and what of those clips they are compared with.

A picture depends on its clip's sound, the seed and the settings, and on the others that are made at once only in
rounding.
"""

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from curation.keys import short_hash
from curation.shards.reader import Shards
from curation.tables import write_bytes
from pipelines.evaluations.sound_sets import decoded
from pipelines.makers.maker import How, Maker
from pipelines.prompts import Prompt
from pipelines.recipes.sounded_pictures import clip_frames

Picture = npt.NDArray[np.uint8]
"""(H, W, 3), RGB."""

AT_ONCE = 8
"""Pictures made at once. Source: ours."""

REAL_RATE_HZ = 2.0
"""Pictures a second of the real set. Source: ours."""
SIDE_PX = 256
"""Side of true pictures before a judge makes them its own size. Source: ours; above that of any judge here."""


def make_some(maker: Maker, shards: Shards, numbers: Sequence[int], how: How, seed: int) -> list[Picture]:
    """A picture of the sound of each clip, all at once."""
    seeds = [(seed, int(short_hash(shards.key(number), 12), 16)) for number in numbers]
    with tempfile.TemporaryDirectory() as scratch:
        prompts = []
        for number in numbers:
            file = Path(scratch) / f"{shards.key(number)}.flac"
            file.write_bytes(shards.read(number, ("flac",))["flac"])
            prompts.append(Prompt(audio=file, clip=shards.key(number)))
        return [np.asarray(picture_HW3, np.uint8) for picture_HW3 in maker.make(prompts, seeds, how)]


def write_picture(file: Path, picture_HW3: Picture) -> None:
    """Write a PNG in one step."""
    content = io.BytesIO()
    Image.fromarray(picture_HW3).save(content, format="PNG")
    write_bytes(file, content.getvalue())


@dataclass(frozen=True, slots=True)
class Shown:
    """What a clip shows while it is listened to.

    Args:
        true: A picture of the middle.
        again: An earlier one.
        all: All of them, at `REAL_RATE_HZ`, at least one.
    """

    true: Picture
    again: Picture
    all: Sequence[Picture]

    @classmethod
    def of(cls, shards: Shards, number: int, seconds: float) -> "Shown":
        """What a clip of a generation shows in its first seconds."""
        frames = clip_frames(shards, number, REAL_RATE_HZ, SIDE_PX)[: max(1, round(seconds * REAL_RATE_HZ))]
        return cls(true=frames[len(frames) // 2], again=frames[len(frames) // 4], all=list(frames))


def sound_of(shards: Shards, number: int, sample_rate_hz: int, seconds: float) -> npt.NDArray[np.float32]:
    """What is listened to of a clip, mono, (T,) float32 at a rate."""
    content = shards.read(number, ("flac",))["flac"]
    return decoded(content, sample_rate_hz, f"clip {shards.key(number)}", seconds)
