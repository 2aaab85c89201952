"""Multi-modal masked training: which modalities a sample is shown, and which parts of those are hidden.

Source of the idea: AudioX, arXiv 2503.10522, "masks inputs across modalities"; its ratios were not published, but for
two that its code has: all conditions go with probability 0.1, and of a prompt of sound one span of 0.7 to 1.0 of its
length is hidden. The other ratios are ours, and all are settings.

Every draw is a pure function of the generator it is given. The training loop gives each sample one that is a function
of the run's seed and the sample's number, so masks depend on (seed, batch, row) and on nothing else.

Legend: L text tokens, N pictures, P features of a picture, F frames of a prompt of sound.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionDrop:
    """How often a sample is not shown a condition at all.

    Source: `everything` as in AudioX's code; the others are ours.

    Attributes:
        everything: Probability that all conditions are taken away (which guidance needs).
        text: Probability that the text is, by itself.
        frames: Probability that the pictures are, by themselves.
        audio: Probability that the prompt of sound is, by itself.
    """

    everything: float = 0.1
    text: float = 0.1
    frames: float = 0.1
    audio: float = 0.1

    def __post_init__(self) -> None:
        _require_ratios(self, "everything", "text", "frames", "audio")

    def draw(self, rng: np.random.Generator) -> tuple[bool, bool, bool]:
        """Whether one sample keeps its text, its pictures, and (by the first of these draws) anything."""
        everything, text, frames = rng.random(3)
        stays = bool(everything >= self.everything)
        return stays and bool(text >= self.text), stays and bool(frames >= self.frames), stays

    def draw_audio(self, rng: np.random.Generator) -> bool:
        """Whether one sample keeps its prompt of sound, if it keeps anything."""
        return bool(rng.random() >= self.audio)


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanMask:
    """One span of a sequence is hidden.

    Attributes:
        probability: That any is.
        least: Least part of the length that is hidden.
        most: Most part.
    """

    probability: float = 0.0
    least: float = 0.0
    most: float = 1.0

    def __post_init__(self) -> None:
        _require_ratios(self, "probability", "least", "most")
        _require_order(self.least, self.most)

    def draw(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """Which of the elements are shown: bool (length,), with one run of False at most."""
        is_masked, part, place = rng.random(3)
        shown = np.ones(length, dtype=bool)
        if is_masked < self.probability:
            hidden = round((self.least + (self.most - self.least) * part) * length)
            start = int(place * (length - hidden + 1))
            shown[start : start + hidden] = False
        return shown


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchMask:
    """Patches of pictures are hidden over a span of neighbouring pictures.

    Attributes:
        probability: That any are.
        least: Least part of a picture's patches that is hidden.
        most: Most part.
        least_time: Least part of the pictures in which they are.
    """

    probability: float = 0.0
    least: float = 0.0
    most: float = 1.0
    least_time: float = 0.0

    def __post_init__(self) -> None:
        _require_ratios(self, "probability", "least", "most", "least_time")
        _require_order(self.least, self.most)

    def draw(self, rng: np.random.Generator, pictures: int, patches: int) -> np.ndarray:
        """Which patches are shown: bool (N, P), the same ones hidden in a span of neighbouring pictures."""
        is_masked, part = rng.random(2)
        unseen = SpanMask(probability=1.0, least=self.least_time, most=1.0).draw(rng, pictures)
        order = rng.permutation(patches)
        shown = np.ones((pictures, patches), dtype=bool)
        if is_masked < self.probability:
            hidden = round((self.least + (self.most - self.least) * part) * patches)
            shown[np.ix_(~unseen, order[:hidden])] = False
        return shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Masking:
    """How parts of the conditions that a sample keeps are hidden.

    Attributes:
        text: Of its tokens.
        frames: Of the patches of its pictures.
        audio: Of a prompt that is the sound itself; what sounded before is never hidden.
    """

    text: SpanMask = field(default_factory=SpanMask)
    frames: PatchMask = field(default_factory=PatchMask)
    audio: SpanMask = field(default_factory=lambda: SpanMask(probability=1.0, least=0.7, most=1.0))


def default_masking() -> Masking:
    """What the larger recipes use.

    Source: the span of sound is the published one. Ours: that one prompt in five is shown whole, since a network that
    never saw one does not follow it (docs/log.md); and the others, light, as text is short.
    """
    return Masking(
        audio=SpanMask(probability=0.8, least=0.7, most=1.0),
        text=SpanMask(probability=0.3, least=0.1, most=0.5),
        frames=PatchMask(probability=0.3, least=0.25, most=0.75, least_time=0.25),
    )


def _require_ratios(settings: object, *names: str) -> None:
    for name in names:
        if not 0 <= (value := getattr(settings, name)) <= 1:
            raise ValueError(f"{type(settings).__name__}.{name} is {value}: it goes from 0 to 1")


def _require_order(least: float, most: float) -> None:
    if least > most:
        raise ValueError(f"least {least} is above most {most}")
