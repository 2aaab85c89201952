"""What a row trains: its `type` says which of its conditions are shown.

Source of the names: AudioX's code, `{text, video, text+video, audio, uni}_condition-{audio, music}`; `image_condition`
is ours. "audio" is sound in general and "music" music: they differ in what a prompt of sound is, the sound itself with
a span hidden (inpainting), or what sounded before (completion).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Which conditions a sample is shown.

    Attributes:
        text: Its caption.
        video: Its pictures.
        is_still: Of the pictures only one, standing still.
        audio: A prompt of sound.
        is_music: The prompt is what sounded before, where that is known.
    """

    text: bool = False
    video: bool = False
    is_still: bool = False
    audio: bool = False
    is_music: bool = False


_CONDITIONS: dict[str, dict[str, bool]] = {
    "text": {"text": True},
    "video": {"video": True},
    "text+video": {"text": True, "video": True},
    "image": {"video": True, "is_still": True},
    "audio": {"text": True, "audio": True},
    "uni": {"text": True, "video": True, "audio": True},
}
"""`audio` rows keep their caption, which says what the hidden part should be, as `uni` rows keep everything."""

CONDITIONS = tuple(_CONDITIONS)
"""First halves of a type."""


def task_of(type_: str) -> Task:
    """The task of a row.

    Args:
        type_: As `text+video_condition-music`.

    Raises:
        ValueError: if there is no such type.
    """
    condition, _, kind = type_.partition("_condition-")
    if condition not in _CONDITIONS or kind not in ("audio", "music"):
        raise ValueError(f"type {type_!r} is unknown: give {{{', '.join(CONDITIONS)}}}_condition-{{audio, music}}")
    return Task(**_CONDITIONS[condition], is_music=kind == "music")


def check_types(types: Iterable[str], *, reads_sound: bool) -> None:
    """See that a network can be trained on rows of some types.

    Args:
        types: Of the rows.
        reads_sound: Whether the network reads prompts of sound.

    Raises:
        ValueError: if there is no such type, or one has a prompt of sound and the network reads none.
    """
    for type_ in sorted(types):
        if task_of(type_).audio and not reads_sound:
            raise ValueError(
                f"rows of type {type_!r} have a prompt of sound, which this network does not read: "
                "give its config adapters.audio, or leave these rows out"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskMix:
    """How often a row that has no `type` trains what; kinds whose conditions it lacks are left out of the draw.

    The numbers are ours: AudioX's mixture was not published.

    Attributes:
        weights: By the first half of a type, none below 0, not all 0.
        music: Probability that a prompt of sound is what sounded before, where that is known.
    """

    weights: Mapping[str, float]
    music: float = 0.5

    def __post_init__(self) -> None:
        if unknown := self.weights.keys() - _CONDITIONS.keys():
            raise ValueError(
                f"no conditions are called {', '.join(sorted(unknown))}: choose of {', '.join(CONDITIONS)}"
            )
        if min(self.weights.values(), default=0) < 0 or sum(self.weights.values()) <= 0:
            raise ValueError(f"weights of tasks are {dict(self.weights)}: none below 0, and not all 0")
        if not 0 <= self.music <= 1:
            raise ValueError(f"probability music is {self.music}: it goes from 0 to 1")

    def draw(self, rng: np.random.Generator, *, has_text: bool, has_video: bool) -> Task:
        """The task of one row, from its own generator.

        Args:
            rng: Of the row.
            has_text: Whether it has a caption.
            has_video: Whether it has pictures.

        Returns:
            A task it has the conditions of; one without any where the mixture has none for it.
        """
        place, music = rng.random(2)
        possible = {name: self.weights.get(name, 0.0) for name in CONDITIONS if _fits(name, has_text, has_video)}
        total = sum(possible.values())
        if total <= 0:
            return Task()
        reached = np.cumsum([weight / total for weight in possible.values()])
        name = list(possible)[min(int(np.searchsorted(reached, place, side="right")), len(possible) - 1)]
        return Task(**_CONDITIONS[name], is_music=bool(music < self.music))


def _fits(condition: str, has_text: bool, has_video: bool) -> bool:
    """Whether a row has what a kind of row is about; prompts of sound every row has."""
    needed = _CONDITIONS[condition]
    if needed.get("audio"):
        return condition == "audio" or has_video
    return (has_text or not needed.get("text", False)) and (has_video or not needed.get("video", False))
