"""The table of one listener: how far generated sounds, silence, noise and real sounds are from the real set.

Conventions, printed with every table:

* Fréchet distances are between all features of a row and all of the real set, in float64; the row of real sounds is
  one half of them against the other, so each has half as many.
* KL is from the real clip's classes to those of the sound made for it; in the row of real sounds, from a clip to an
  unrelated one. Both conventions: softmax of the logits (AudioGen; audioldm_eval), and the tagger's own sigmoid
  (audioldm_eval), each with 1e-6 added to the sound's before the logarithm, as published.
* IS is of the softmax of the logits, mean over parts.
* The CLAP score is the mean cosine of a sound and the caption that it was made for.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.metrics.divergence import (
    PUBLISHED_OFFSET,
    inception_score,
    paired_kl,
    paired_kl_of_scores,
    probabilities,
)
from models.metrics.frechet import Extrapolation, Moments, frechet_distance, frechet_infinity
from models.metrics.similarity import paired_cosine
from pipelines.evaluations.heard import HeardStore
from pipelines.evaluations.sound_sets import Sound

Float = npt.NDArray[np.float32]

INFINITY_FROM = 20
"""Fewest features for FD-infinity. Source: `frechet_infinity`."""

PARTS = 10
"""Of the inception score; fewer where a part would have fewer than two sounds."""

TEXTS_AT_ONCE = 64

HEAD = ("", "n", "FD", "FD-inf", "95 %", "KL softmax", "KL sigmoid", "IS", "CLAP")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Numbers about one set of sounds; None where a listener cannot say.

    Args:
        name: Of the row.
        sounds: How many sounds.
        features: How many features they have.
        frechet: Fréchet distance to the real set, at least 0.
        infinity: What infinitely many sounds would have.
        kl_softmax: Mean KL in nats, of softmax.
        kl_sigmoid: The same of independent scores; may be below 0.
        inception: Inception score, at least 1.
        inception_deviation: Standard deviation over its parts.
        inception_parts: How many parts.
        clap: Mean cosine to the captions, -1 to 1.
    """

    name: str
    sounds: int
    features: int
    frechet: float
    infinity: Extrapolation | None
    kl_softmax: float | None = None
    kl_sigmoid: float | None = None
    inception: float | None = None
    inception_deviation: float | None = None
    inception_parts: int | None = None
    clap: float | None = None

    def cells(self) -> list[str]:
        """As they are printed below `HEAD`."""
        numbers = (self.kl_softmax, self.kl_sigmoid, self.inception, self.clap)
        wide = self.infinity
        return [
            self.name,
            f"{self.sounds:,}",
            f"{self.frechet:.4g}",
            "-" if wide is None else f"{wide.distance:.4g}",
            "-" if wide is None else f"{wide.low:.4g} to {wide.high:.4g}",
            *("-" if value is None else f"{value:.3f}" for value in numbers),
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """All rows of one listener.

    Args:
        kind: Of the listener.
        name: Of its weights.
        weights_sha256: Their hash.
        sample_rate_hz: At which it heard, Hz.
        resampler: How sounds came to that rate.
        window_s: Longest sound at once, s; None: any.
        features: What its features are.
        dimension: How many numbers a feature has.
        reference: Features of the whole real set.
        rows: The rows.
    """

    kind: str
    name: str
    weights_sha256: str
    sample_rate_hz: int
    resampler: str
    window_s: float | None
    features: str
    dimension: int
    reference: int
    rows: Sequence[Row]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def __str__(self) -> str:
        window = "" if self.window_s is None else f", {self.window_s:g} s at once"
        head = (
            f"{self.kind} {self.name} (weights {self.weights_sha256[:12]}): {self.dimension} numbers {self.features}; "
            f"{self.sample_rate_hz:,} Hz by {self.resampler}{window}"
        )
        cells = [list(HEAD), *(row.cells() for row in self.rows)]
        kept = [number for number in range(len(HEAD)) if any(row[number] not in ("", "-") for row in cells[1:])]
        widths = [max(len(row[number]) for row in cells) for number in kept]
        lines = [
            "  ".join(row[n].ljust(w) if not n else row[n].rjust(w) for n, w in zip(kept, widths, strict=True)).rstrip()
            for row in cells
        ]
        few = [row.name for row in self.rows if row.features <= self.dimension]
        note = f"of no more features than a feature has numbers, so FD is far too high: {', '.join(few)}"
        return "\n".join([head, *lines, *([note] if few else [])])


@dataclass(frozen=True, kw_only=True, slots=True)
class Sets:
    """What is compared.

    Args:
        real: The whole real set.
        pairs: Generated sounds, and the real sound of the clip that each is for.
        baselines: Rows to know the numbers by: name -> sounds, and the real sound in whose place each stands.
        seed: Of the halves, the draws and the parts.
    """

    real: Sequence[Sound]
    pairs: Sequence[tuple[Sound, Sound]]
    baselines: dict[str, Sequence[tuple[Sound, Sound]]]
    seed: int

    def all(self) -> list[Sound]:
        """Every sound that is heard."""
        return [
            *self.real,
            *(sound for sound, _ in self.pairs),
            *(sound for pairs in self.baselines.values() for sound, _ in pairs),
        ]

    def halves(self) -> tuple[list[Sound], list[Sound]]:
        """The real set in two halves, drawn by the seed; the first has one more of an odd number."""
        order = np.random.default_rng(self.seed).permutation(len(self.real))
        middle = (len(order) + 1) // 2
        return [self.real[number] for number in order[:middle]], [self.real[number] for number in order[middle:]]


def score(store: HeardStore, sets: Sets, resampler: str) -> Table:
    """The table of a listener that has heard every sound.

    Raises:
        ValueError: Too few sounds, or features that are not finite.
    """
    listener = store.listener
    reference = store.features(sets.real)
    said = _Said(store)
    rows = [_row("generated", store, said, Moments.of(reference), sets.pairs, sets.seed)]
    first, second = sets.halves()
    half = _row("real, two halves", store, said, Moments.of(store.features(first)), _crossed(first, second), sets.seed)
    rows.append(half)
    for name, pairs in sets.baselines.items():
        rows.append(_row(name, store, said, Moments.of(reference), pairs, sets.seed))
    return Table(
        kind=listener.kind,
        name=listener.name,
        weights_sha256=listener.weights_sha256,
        sample_rate_hz=listener.sample_rate_hz,
        resampler=resampler,
        window_s=listener.window_s,
        features=listener.features,
        dimension=reference.shape[1],
        reference=len(reference),
        rows=rows,
    )


def _crossed(first: Sequence[Sound], second: Sequence[Sound]) -> list[tuple[Sound, Sound]]:
    return list(zip(second, first, strict=False))


class _Said:
    """Vectors of captions, each embedded once."""

    def __init__(self, store: HeardStore) -> None:
        self._embed = store.listener.embed_text
        self._known: dict[str, Float] = {}

    def of(self, sounds: Sequence[Sound]) -> Float | None:
        """The vectors of the sounds' captions; None where the listener knows no words, or a sound has no caption."""
        if self._embed is None or not all(sound.caption for sound in sounds):
            return None
        new = list({sound.caption: None for sound in sounds if sound.caption not in self._known})
        for begin in range(0, len(new), TEXTS_AT_ONCE):
            part = new[begin : begin + TEXTS_AT_ONCE]
            self._known.update(zip(part, self._embed(part), strict=True))
        return np.stack([self._known[sound.caption] for sound in sounds])


def _row(
    name: str, store: HeardStore, said: _Said, real: Moments, pairs: Sequence[tuple[Sound, Sound]], seed: int
) -> Row:
    sounds, partners = [sound for sound, _ in pairs], [partner for _, partner in pairs]
    features = store.features(sounds)
    logits, theirs = store.logits(sounds), store.logits(partners)
    told: dict[str, Any] = {}
    if logits is not None and theirs is not None:
        own, real_NC = probabilities(logits), probabilities(theirs)
        told["kl_softmax"] = paired_kl(real_NC, own, offset=PUBLISHED_OFFSET)
        told["kl_sigmoid"] = paired_kl_of_scores(sigmoid(theirs), sigmoid(logits), offset=PUBLISHED_OFFSET)
        parts = min(PARTS, len(sounds) // 2)
        found = inception_score(own, parts=parts, seed=seed)
        told |= {"inception": found.mean, "inception_deviation": found.deviation, "inception_parts": parts}
    captions = said.of(sounds)
    if captions is not None:
        told["clap"] = paired_cosine(captions, store.means(sounds))
    return Row(
        name=name,
        sounds=len(sounds),
        features=len(features),
        frechet=frechet_distance(real, Moments.of(features)),
        infinity=frechet_infinity(real, features, seed=seed) if len(features) >= INFINITY_FROM else None,
        **told,
    )


def sigmoid(logits_NC: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Scores of independent classes, in [0, 1]."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits_NC, np.float64))), np.float64)
