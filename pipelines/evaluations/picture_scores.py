"""What a judge says of made pictures, beside true ones and beside the same pictures for other sounds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.metrics.frechet import Moments, frechet_distance
from models.metrics.pictures import class_agreement, rank_fraction
from pipelines.wiring.picture_judges import PictureJudge

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What is compared: a row a clip.

    Args:
        labels: Of the sounds.
        sounds: (T,) float32 each, at the judge's rate.
        made: Pictures made from the sounds.
        true: A picture of each clip, shown in the middle of what was heard.
        again: Another one of the same clip.
        real: All pictures that a Fréchet distance is taken to.
    """

    labels: Sequence[str]
    sounds: Sequence[Float]
    made: Sequence[npt.NDArray[np.uint8]]
    true: Sequence[npt.NDArray[np.uint8]]
    again: Sequence[npt.NDArray[np.uint8]]
    real: Sequence[npt.NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of the table.

    Args:
        of: Which pictures.
        aic: Share of them whose class is their sound's; None where a sound has no label, or the judge is for FID alone,
            as the next two.
        fid: Fréchet distance of the judge's vectors to those of real pictures.
        ais: Share of other sounds that are less like a picture than its own; None where the judge hears none.
        iis: The same of true pictures.
    """

    of: str
    aic: float | None
    fid: float | None
    ais: float | None
    iis: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """All rows of one judge.

    Args:
        judge: Its name.
        identity: What determines its answers.
        hearing: The network that hears beside it; None: itself, or none.
        pictures: How many made pictures were judged.
        labels: How many different ones there are: chance of AIC is one over it, where they are as frequent.
        rows: Made, the same for other sounds, true ones.
    """

    judge: str
    identity: dict[str, Any]
    hearing: dict[str, Any] | None
    pictures: int
    labels: int
    rows: Sequence[Row]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}

    def __str__(self) -> str:
        weights = str(self.identity["weights_sha256"])[:8]
        beside = "" if self.hearing is None else f", heard by {self.hearing['name']}"
        lines = [
            f"{self.judge} ({weights}{beside}), {self.pictures} pictures of {self.labels} labels",
            f"{'':<24}{'AIC %':>8}{'AIS %':>8}{'IIS %':>8}{'FID':>10}",
        ]
        for row in self.rows:
            shares = "".join(f"{'-' if one is None else f'{100 * one:.1f}':>8}" for one in (row.aic, row.ais, row.iis))
            lines.append(f"{row.of:<24}{shares}{'-' if row.fid is None else f'{row.fid:.3f}':>10}")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What one judge makes of what is compared with: a row a clip.

    Args:
        labels: Of the sounds.
        real: Moments of the vectors of real pictures.
        true_ND: Vectors of a true picture of each clip.
        sound_ND: Of the sounds; None where the judge hears none.
    """

    labels: Sequence[str]
    real: Moments
    true_ND: Float
    sound_ND: Float | None

    @classmethod
    def of(
        cls,
        judge: PictureJudge,
        *,
        labels: Sequence[str],
        sounds: Sequence[Float],
        true: Sequence[npt.NDArray[np.uint8]],
        real: Sequence[npt.NDArray[np.uint8]],
    ) -> "Reference":
        """What a judge makes of it, whatever was made; for arguments see `Judged`.

        Raises:
            ValueError: There are too few real pictures.
        """
        return cls(
            labels=labels,
            real=Moments.of(judge.see(real)),
            true_ND=judge.see(true),
            sound_ND=None if judge.hear is None else judge.hear(sounds),
        )

    def row(self, judge: PictureJudge, of: str, pictures: Sequence[npt.NDArray[np.uint8]]) -> Row:
        """How one picture of each clip compares.

        Raises:
            ValueError: There are too few pictures, or a vector that has no direction.
        """
        vectors_ND = judge.see(pictures)
        return Row(
            of=of,
            aic=self._agreement(judge, pictures, self.labels),
            fid=frechet_distance(self.real, Moments.of(vectors_ND)),
            ais=None if self.sound_ND is None else rank_fraction(vectors_ND, self.sound_ND),
            iis=None if judge.classes is None else rank_fraction(vectors_ND, self.true_ND),
        )

    def swapped(self, judge: PictureJudge, of: str, pictures: Sequence[npt.NDArray[np.uint8]]) -> Row:
        """How the same pictures compare with other clips, in a drawn order."""
        vectors_ND, other = judge.see(pictures), other_rows(self.labels)
        return Row(
            of=of,
            aic=self._agreement(judge, pictures, [self.labels[number] for number in other]),
            fid=None,
            ais=None if self.sound_ND is None else rank_fraction(vectors_ND, self.sound_ND[other]),
            iis=rank_fraction(vectors_ND, self.true_ND[other]),
        )

    def _agreement(
        self, judge: PictureJudge, pictures: Sequence[npt.NDArray[np.uint8]], labels: Sequence[str]
    ) -> float | None:
        if judge.classes is None or not all(labels):
            return None
        return class_agreement(judge.classes(pictures, sorted(set(self.labels))), labels)


def score(judge: PictureJudge, judged: Judged) -> Table:
    """All that one judge has to say.

    Raises:
        ValueError: There are too few pictures, or a vector that has no direction.
    """
    reference = Reference.of(judge, labels=judged.labels, sounds=judged.sounds, true=judged.true, real=judged.real)
    rows = [reference.row(judge, "made", judged.made)]
    if judge.classes is not None:
        rows.append(reference.swapped(judge, "made for other sounds", judged.made))
    rows.append(reference.row(judge, "true, another moment", judged.again))
    return Table(
        judge=judge.name,
        identity=judge.identity,
        hearing=judge.hearing,
        pictures=len(judged.made),
        labels=len(set(judged.labels)),
        rows=rows,
    )


def other_rows(labels: Sequence[str], seed: int = 0) -> npt.NDArray[np.int64]:
    """A drawn order of the rows: what pictures would come to that have nothing to do with their sounds."""
    return np.asarray(np.random.default_rng(seed).permutation(len(labels)), np.int64)
