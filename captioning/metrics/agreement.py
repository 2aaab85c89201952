"""How close captions are to those by people: all metrics of this folder, and how close people are to people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from captioning.metrics.bleu import bleu
from captioning.metrics.cider import cider_d
from captioning.metrics.rouge import rouge_l
from captioning.metrics.words import Words

LONGEST_RUNS = (1, 2, 3, 4)
"""n of the longest n-grams of each BLEU that is given. Source: the tables of AudioCaps (Kim et al. 2019) and DCASE."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Scores of one candidate a clip against the sentences by people.

    Args:
        clips: How many clips were scored.
        cider_d: CIDEr-D, 0 to 10; its weights are counted over the references of these clips.
        rouge_l: ROUGE-L, 0 to 1.
        bleu: BLEU-1 to BLEU-4 of the whole corpus, 0 to 1 each.
    """

    clips: int
    cider_d: float
    rouge_l: float
    bleu: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.clips < 1 or len(self.bleu) != len(LONGEST_RUNS):
            raise ValueError(f"scores are of at least one clip and BLEU-1 to BLEU-4, not {self}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON, a name a number."""
        by_length = {f"bleu_{n}": value for n, value in zip(LONGEST_RUNS, self.bleu, strict=True)}
        return {"clips": self.clips, "cider_d": self.cider_d, "rouge_l": self.rouge_l, **by_length}


def agreement(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> Agreement:
    """All metrics of one candidate a clip.

    Raises:
        ValueError: The two do not belong together.
    """
    return Agreement(
        clips=len(candidates),
        cider_d=cider_d(candidates, references),
        rouge_l=rouge_l(candidates, references),
        bleu=tuple(bleu(candidates, references, longest=n) for n in LONGEST_RUNS),
    )


def leave_one_out(sentences: Sequence[Sequence[Words]]) -> Agreement | None:
    """How close people are to each other: each sentence in turn is judged by the others of its clip.

    In round i the candidate is the i-th sentence of every clip that has so many; the scores are the mean of the rounds,
    weighted by their clips. A candidate meets one reference fewer than a captioner's would, which lowers its scores a
    little.

    Source: the human row of AudioCaps (Kim et al. 2019); "cross-referencing" in Labbé et al. 2022, arXiv 2211.08983.

    Args:
        sentences: The sentences by people for each clip.

    Returns:
        None where no clip has two sentences; else the scores, whose `clips` are those with two or more.
    """
    several = [said for said in sentences if len(said) > 1]
    if not several:
        return None
    rounds = []
    for number in range(max(map(len, several))):
        asked = [said for said in several if len(said) > number]
        others = [[*said[:number], *said[number + 1 :]] for said in asked]
        rounds.append(agreement([said[number] for said in asked], others))
    return Agreement(
        clips=len(several),
        cider_d=_mean(rounds, [one.cider_d for one in rounds]),
        rouge_l=_mean(rounds, [one.rouge_l for one in rounds]),
        bleu=tuple(_mean(rounds, values) for values in zip(*(one.bleu for one in rounds), strict=True)),
    )


def _mean(rounds: Sequence[Agreement], values: Sequence[float]) -> float:
    """Mean of a value of the rounds, weighted by their clips."""
    total = sum(one.clips for one in rounds)
    return sum(one.clips * value for one, value in zip(rounds, values, strict=True)) / total
