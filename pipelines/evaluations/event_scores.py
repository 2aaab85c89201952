"""The numbers of one bucket of events: how sounds fit their words, and how many are of the event that was asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.errors import ArgumentError
from pipelines.evaluations.event_counts import Buckets
from pipelines.evaluations.heard import HeardStore
from pipelines.evaluations.sound_sets import RealClip, Sound
from pipelines.progress import Progress
from pipelines.wiring.listeners import Listener

Float = npt.NDArray[np.float32]

PROTOCOL = (
    "a clip is in the bucket of its rarest label, by clips of the training generation that have it; CLAP: mean cosine "
    "of sound and caption, and its standard error over sounds; right: sounds whose nearest mean of real sounds, by "
    "cosine of the judge's features, is of that label; real: the clips themselves, each judged without it"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketScore:
    """The sounds of one bucket; None where there are none, or nobody judged.

    Args:
        bucket: Training clips that its events have.
        events: Labels.
        stored: Those of them that the index holds; None without an index.
        clips: Real clips that sounds were made for.
        sounds: Sounds that were made.
        clap: Mean cosine to the captions.
        clap_error: Its standard error.
        clap_real: That of the real clips.
        right: Share of the sounds that are of the event that was asked for, by the judge.
        right_real: Share of the real clips that are, of those whose event has another one.
    """

    bucket: str
    events: int
    stored: int | None
    clips: int
    sounds: int
    clap: float | None = None
    clap_error: float | None = None
    clap_real: float | None = None
    right: float | None = None
    right_real: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EventSounds:
    """What is judged.

    Args:
        clips: Real ones.
        sounds: Made for them.
        events_of: clip_id -> its rarest label.
        seconds: How far real clips are heard, s.
        folder: Of what was heard.
    """

    clips: Sequence[RealClip]
    sounds: Sequence[Sound]
    events_of: Mapping[str, str]
    seconds: float
    folder: Path

    def scores(
        self, listeners: Sequence[Listener], buckets: Buckets, counts: Mapping[str, int], stored: set[str] | None
    ) -> list[BucketScore]:
        """A row a bucket; the first listener is a CLAP, the second, if there is one, the judge."""
        real = [clip.sound(self.seconds) for clip in self.clips]
        clap, *judges = [self._heard(listener, real) for listener in listeners]
        told = {sound.caption: None for sound in [*self.sounds, *real]}
        embed = listeners[0].embed_text
        if embed is None:
            raise ArgumentError(f"{listeners[0].name} knows no words")
        said = dict(zip(told, embed(list(told)), strict=True))
        cosine = np.array(
            [_cosine(vector, said[sound.caption]) for sound, vector in zip(self.sounds, clap[0], strict=True)]
        )
        cosine_real = np.array(
            [_cosine(vector, said[sound.caption]) for sound, vector in zip(real, clap[1], strict=True)]
        )
        right, right_real = (None, None) if not judges else self._right(*judges[0])
        return [
            _score(
                name,
                events={event for event in self.events_of.values() if buckets.number(counts.get(event, 0)) == number},
                stored=stored,
                of_sound=[self.events_of[sound.clip_id] for sound in self.sounds],
                of_clip=[self.events_of[clip.clip_id] for clip in self.clips],
                values={"clap": cosine, "clap_real": cosine_real, "right": right, "right_real": right_real},
            )
            for number, name in enumerate(buckets.names)
        ]

    def _heard(self, listener: Listener, real: Sequence[Sound]) -> tuple[Float, Float]:
        """What a listener makes of the sounds and of the real clips, each (N, D)."""
        store = HeardStore(self.folder, listener)
        missing = store.missing([*self.sounds, *real])
        with Progress(listener.kind, total=len(missing), unit="sounds") as progress:
            store.hear(missing, progress)
        return store.means(self.sounds), store.means(real)

    def _right(self, made_ND: Float, real_ND: Float) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Which sounds, and which real clips, are nearest to their own event; NaN where an event has no other clip."""
        of_clip = np.array([self.events_of[clip.clip_id] for clip in self.clips])
        names = sorted(set(of_clip.tolist()))
        unit_ND, made_unit_ND = _unit(real_ND), _unit(made_ND)
        sums_CD = np.stack([unit_ND[of_clip == name].sum(axis=0) for name in names])
        own = np.array([names.index(self.events_of[sound.clip_id]) for sound in self.sounds])
        right = ((made_unit_ND @ _unit(sums_CD).T).argmax(axis=1) == own).astype(np.float64)
        right_real = np.full(len(unit_ND), np.nan)
        for row, event in enumerate(of_clip):
            if (of_clip == event).sum() > 1:
                without_CD = sums_CD.copy()
                without_CD[names.index(event)] -= unit_ND[row]
                right_real[row] = (_unit(without_CD) @ unit_ND[row]).argmax() == names.index(event)
        return right, right_real


def _score(
    name: str,
    *,
    events: set[str],
    stored: set[str] | None,
    of_sound: Sequence[str],
    of_clip: Sequence[str],
    values: Mapping[str, npt.NDArray[Any] | None],
) -> BucketScore:
    """One bucket's row of what is known of each sound and of each real clip."""
    sounds, clips = ([event in events for event in several] for several in (of_sound, of_clip))
    told: dict[str, float | None] = {}
    for key, found in values.items():
        if found is not None:
            inside = found[clips if key.endswith("_real") else sounds]
            inside = inside[np.isfinite(inside)]
            told[key] = float(inside.mean()) if len(inside) else None
            if key == "clap" and len(inside) > 1:
                told["clap_error"] = float(inside.std(ddof=1) / len(inside) ** 0.5)
    return BucketScore(
        bucket=name,
        events=len(events),
        stored=None if stored is None else len(events & stored),
        clips=sum(clips),
        sounds=sum(sounds),
        **told,
    )


def _unit(rows_ND: Float) -> Float:
    lengths_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return np.asarray(rows_ND / np.maximum(lengths_N1, 1e-9), np.float32)


def _cosine(first_D: Float, second_D: Float) -> float:
    return float(first_D @ second_D / max(float(np.linalg.norm(first_D) * np.linalg.norm(second_D)), 1e-9))
