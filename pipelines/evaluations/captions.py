"""`foundsound evaluate captions`: how close captions are to those by people, beside how close people are to people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from captioning.metrics.agreement import Agreement, agreement, leave_one_out
from captioning.metrics.words import words
from curation.annotated import HUMAN_CAPTIONS
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.selections.selection import read_rows
from curation.tables import Row
from pipelines.evaluations.aac import NAMES, Outside, outside_scores
from pipelines.progress import Progress

PEOPLE = "people"
"""The row in which each caption by people is judged by the others of its clip."""

PROTOCOL = (
    "references: all captions by people of a clip and of its video, each text once; candidate: the captioner's most "
    "likely usable answer; words: small letters without punctuation, hyphens and apostrophes inside a word stay; BLEU "
    "and the weights of CIDEr-D are of all clips of the row; people: each caption against the others of its clip, over "
    "clips that have several"
)

_PEOPLE = f"""SELECT clip_id, list_sort(list_distinct(list(text))) AS said
FROM ({HUMAN_CAPTIONS}) WHERE trim(text) <> '' GROUP BY clip_id ORDER BY clip_id"""

_MADE = """
SELECT caption.key AS clip_id, caption.text, CASE WHEN caption.state <> 'done' THEN coalesce(caption.code, 'PENDING')
    WHEN caption.audio_sha256 IS NOT NULL AND caption.audio_sha256 IS DISTINCT FROM cut.audio_sha256 THEN 'OTHER_SOUND'
    END AS lacks
FROM caption LEFT JOIN cut ON cut.key = caption.key AND cut.state = 'done'
WHERE caption.label = ? ORDER BY caption.key"""
"""A caption of a sound that was cut anew since then is about another file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One captioner's captions.

    Args:
        name: Label of the captions.
        scores: None where no clip could be scored.
        left_out: Clips with captions by people that have none of this captioner: code or reason -> how many.
        unreferenced: Captions of clips of which no person said anything.
        outside: Metrics of aac-metrics.
    """

    name: str
    scores: Agreement | None
    left_out: Mapping[str, int] = field(default_factory=dict)
    unreferenced: int = 0
    outside: Sequence[Outside] = ()

    def as_dict(self) -> dict[str, Any]:
        """For `--json`; a metric that could not be had is null, and `missing` says why."""
        outside = {one.name: one.value for one in self.outside}
        missing = {one.name: one.missing for one in self.outside if one.value is None}
        scores = self.scores.as_dict() if self.scores else {"clips": 0}
        left = {"left_out": dict(self.left_out), "captions_without_references": self.unreferenced}
        return {**scores, **outside, **left, **({"missing": missing} if missing else {})}


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionsJudged:
    """The captions of several captioners, beside people.

    Args:
        clips: Clips with captions by people.
        people: How close people are to people; None where no clip has two captions.
        judged: A row a captioner.
    """

    clips: int
    people: Agreement | None
    judged: Sequence[Judged]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "clips_with_captions_by_people": self.clips,
            PEOPLE: self.people.as_dict() if self.people else None,
            "captions": {one.name: one.as_dict() for one in self.judged},
            "protocol": PROTOCOL,
        }

    def __str__(self) -> str:
        outside = [name for name in NAMES if any(one.value is not None for each in self.judged for one in each.outside)]
        head = ["captions", "clips", "CIDEr-D", "ROUGE-L", *(f"BLEU-{n}" for n in range(1, 5))]
        rows = [[*head, *(NAMES[name] for name in outside)]]
        rows += [_cells(PEOPLE, self.people, {}, outside)] if self.people else []
        for one in self.judged:
            rows.append(_cells(one.name, one.scores, {each.name: each.value for each in one.outside}, outside))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*lines, "", *self._notes()])

    def _notes(self) -> list[str]:
        """What was left out, what is missing, and the protocol."""
        lines = []
        for one in self.judged:
            scored = one.scores.clips if one.scores else 0
            left = ", ".join(f"{count:,} {reason}" for reason, count in one.left_out.items())
            line = f"{one.name}: {scored:,} of {self.clips:,} clips with captions by people"
            more = f"; {one.unreferenced:,} more captions have no reference" if one.unreferenced else ""
            lines.append(line + (f"; left out: {left}" if left else "") + more)
        lacking: dict[str, list[str]] = {}
        for outside in (metric for one in self.judged for metric in one.outside if metric.missing):
            names = lacking.setdefault(outside.missing, [])
            names += [NAMES[outside.name]] if NAMES[outside.name] not in names else []
        lines += [f"{' and '.join(names)}: not measured: {why}" for why, names in lacking.items()]
        return [*lines, f"protocol: {PROTOCOL}"]


def _cells(
    name: str, scores: Agreement | None, values: Mapping[str, float | None], outside: Sequence[str]
) -> list[str]:
    if scores is None:
        return [name, "0", *["-"] * (6 + len(outside))]
    ours = [scores.cider_d, scores.rouge_l, *scores.bleu]
    theirs = [values.get(each) for each in outside]
    return [name, f"{scores.clips:,}", *("-" if value is None else f"{value:.4f}" for value in [*ours, *theirs])]


def captions(
    dataset: Path,
    /,
    *,
    captions: Annotated[list[str] | None, Parameter(name="--captions")] = None,
    selection: str | None = None,
    aac: Path | None = None,
) -> CaptionsJudged:
    """How close captions are to those by people: CIDEr-D, ROUGE-L and BLEU-1 to 4, and people among themselves.

    Args:
        dataset: Folder of the dataset.
        captions: Name under which captions stand; may be given several times. All of them when not given.
        selection: Only the clips that this selection keeps.
        aac: The python of an environment with aac-metrics, for SPIDEr-FL and FENSE; nothing is fetched.
    """
    opened = Dataset(dataset)
    names = _names(opened, captions)
    kept = None
    if selection is not None:
        kept = set(read_rows(opened, selection, kept_only=True).column("clip_id").to_pylist())
    said: dict[str, list[str]] = {}
    for row in opened.sql(_PEOPLE).to_pylist():
        usable = [text for text in row["said"] if words(text)]
        if usable and (kept is None or row["clip_id"] in kept):
            said[row["clip_id"]] = usable
    if not said:
        raise ArgumentError(
            f"{opened.path} has no clip with captions by people"
            f"{'' if selection is None else f' in selection {selection!r}'}; give a list with captions to `manifest`"
        )
    with Progress("evaluate", total=len(names) + 1, unit="captioners") as progress:
        people = leave_one_out([[words(text) for text in texts] for texts in said.values()])
        progress.advance()
        judged = []
        for name in names:
            judged.append(_judge(name, opened.sql(_MADE, [name]).to_pylist(), said, kept, aac))
            progress.advance()
    return CaptionsJudged(clips=len(said), people=people, judged=judged)


def _names(dataset: Dataset, asked: Sequence[str] | None) -> list[str]:
    """The captioners to judge.

    Raises:
        ArgumentError: One is not there, or none is.
    """
    known = sorted(dataset.current_facts("caption")) if dataset.has_stage("caption") else []
    unknown = sorted(set(asked or ()) - set(known))
    if unknown or not known:
        raise ArgumentError(
            f"{dataset.path} has no captions {', '.join(map(repr, unknown))}".rstrip()
            + f" (there are: {', '.join(known) or 'none'}); run `foundsound caption` first"
        )
    return list(dict.fromkeys(asked)) if asked else known


def _judge(
    name: str, made: Sequence[Row], said: Mapping[str, list[str]], kept: set[str] | None, aac: Path | None
) -> Judged:
    texts: dict[str, str] = {}
    lacks: dict[str, str] = {}
    unreferenced = 0
    for row in made:
        if row["clip_id"] in said:
            (lacks if row["lacks"] else texts)[row["clip_id"]] = row["lacks"] or row["text"]
        elif not row["lacks"] and (kept is None or row["clip_id"] in kept):
            unreferenced += 1
    reasons = [lacks.get(clip, "PENDING") for clip in said if clip not in texts]
    left_out = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    if not texts:
        return Judged(name=name, scores=None, left_out=left_out, unreferenced=unreferenced)
    references = [said[clip] for clip in texts]
    scores = agreement(
        [words(text) for text in texts.values()], [[words(one) for one in of_clip] for of_clip in references]
    )
    outside = outside_scores(list(texts.values()), references, aac)
    return Judged(name=name, scores=scores, left_out=left_out, unreferenced=unreferenced, outside=outside)
