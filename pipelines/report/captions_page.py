"""The page of captions: clips with their sound and all that was said of them, what a rule chose, and why the rest lost.

One file, as the report is: sounds and pictures lie in it, and its policy forbids it to load anything and to run any
script but its own few lines, which only hide what a filter does not ask for. Without them everything is shown.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
from jinja2 import Environment, StrictUndefined

from captioning.candidates import RANKS, candidates_sql, further_sql
from captioning.rule_parts import Part, broken_parts, rule_parts
from captioning.score import SCORES
from curation.dataset import Dataset
from curation.errors import DatasetError
from curation.tables import Row, write_bytes
from pipelines.progress import Progress
from pipelines.report.players import Budget, Player

_PROVENANCE = """
SELECT caption.key AS clip_id, caption.label, said.candidate AS draw, said.text, {columns}
FROM (SELECT *, unnest(list_prepend({{'candidate': candidate, 'text': text}}, {further})) AS said
    FROM caption WHERE state = 'done' AND key IN (SELECT clip_id FROM shown)) AS caption
ORDER BY caption.key, caption.label, draw"""

_COLUMNS = ("model", "revision", "weights_sha256", "prompt_sha256", "decoding", "structure", "heard_s", "made_from")
"""What `caption` says of where a sentence is from; datasets of older versions lack some."""

_ASIDE = """SELECT key AS clip_id, label, code, detail FROM caption
WHERE state = 'set_aside' AND key IN (SELECT clip_id FROM shown) ORDER BY key, label"""

_SOUNDS = "SELECT key AS clip_id, audio_sha256 FROM cut WHERE state = 'done' AND key IN (SELECT clip_id FROM shown)"

_SHORT_HASH = 12


@dataclass(slots=True)
class Said:
    """One candidate.

    Args:
        source: As `captioning.candidates` names it.
        text: What was said.
        chosen: Whether the rule takes it.
        origin: Source and draw, for people.
        why: By what it lost.
        scores: (name, value) of every score that it has.
        provenance: Lines about model, prompt and decoding.
        structure: The answer of a structured prompt, indented.
    """

    source: str
    text: str
    chosen: bool
    origin: str
    why: Sequence[str] = ()
    scores: Sequence[tuple[str, str]] = ()
    provenance: Sequence[str] = ()
    structure: str = ""


@dataclass(frozen=True, slots=True)
class Aside:
    """An answer that was set aside: captioner, code, and what was seen."""

    source: str
    code: str
    detail: str


@dataclass(slots=True)
class Clip:
    """One clip of the page: where it is from, its sound if there is room, and all that was said."""

    clip_id: str
    place: str
    labels: Sequence[str]
    said: list[Said] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)
    player: Player | None = None
    silent: str = "Its sound is not at hand."

    def sources(self) -> set[str]:
        """Of all that was said, and of what was set aside."""
        return {one.source for one in self.said} | {one.source for one in self.aside}


def write_captions_page(
    dataset: Dataset, page: Path, rows: Sequence[Row], *, rule: str | None, sound_bytes: int
) -> Path:
    """Write the page.

    Args:
        dataset: Whose captions.
        page: The HTML file to write.
        rows: As the verb `captions` finds them: a row a candidate, those of one clip together, the chosen ones first;
            a clip of which nothing usable was said has one row, whose text is null.
        rule: The rule that chose; None took all of the best kind.
        sound_bytes: What sounds and spectrograms may add to the page.

    Returns:
        The file.
    """
    clips = _clips(dataset, rows, rule)
    budget = Budget(sound_bytes)
    _fill(dataset, clips, budget)
    template = files("pipelines.report").joinpath("captions_page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    html = environment.from_string(template).render(
        title=f"Captions of {dataset.path.name}",
        subtitle=f"{sum(len(clip.said) for clip in clips):,} captions of {len(clips):,} clips",
        rule=_rule_text(rule),
        clips=clips,
        sources=sorted({source for clip in clips for source in clip.sources()}),
        script_sha256=_script_sha256(template),
        unheard=budget.refused,
    )
    write_bytes(page, html.encode())
    return page


def _script_sha256(template: str) -> str:
    """As the page's policy names its script. Source: Content Security Policy Level 3, section 2.3.1."""
    (script,) = re.findall(r"<script>(.*?)</script>", template, re.DOTALL)
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _rule_text(rule: str | None) -> str:
    order = ", then those ".join(meaning for _, meaning in RANKS)
    kinds = f"Of each clip all captions of the best kind are chosen: those {order}."
    return f"Rule {rule}: what does not fulfil it does not count. {kinds}" if rule else kinds


def _clips(dataset: Dataset, rows: Sequence[Row], rule: str | None) -> list[Clip]:
    """What is shown of every clip, but for its sound."""
    shown = pa.table({"clip_id": pa.array(dict.fromkeys(row["clip_id"] for row in rows), pa.string())})
    broken = _broken(dataset, shown, rule)
    provenance: dict[tuple[str, str], list[Row]] = {}
    aside: dict[str, list[Aside]] = {}
    if dataset.has_stage("caption"):
        for made in _provenance(dataset, shown):
            provenance.setdefault((made["clip_id"], made["text"]), []).append(made)
        for row in dataset.sql(_ASIDE, shown=shown).to_pylist():
            source = row["label"] if any(row["label"] == prefix for prefix, _ in RANKS) else f"model:{row['label']}"
            aside.setdefault(row["clip_id"], []).append(Aside(source, row["code"], row["detail"] or ""))
    clips = []
    for clip_id, group in groupby(rows, lambda row: row["clip_id"]):
        first, *more = group
        said = _without_copies([first, *more] if first["text"] is not None else [])
        best = min((_rank(row["source"]) for row in said if row["chosen"]), default=None)
        start_s, end_s = first["start_ms"] / 1000, (first["start_ms"] + first["duration_ms"]) / 1000
        place = f"{first['platform']} {first['video_id']}, {start_s:g} to {end_s:g} s"
        clip = Clip(clip_id, place, first["labels"], aside=aside.get(clip_id, []))
        for row in said:
            failed = broken.get((clip_id, row["source"], row["text"]), [])
            known = provenance.get((clip_id, row["text"]), []) if not row["source"].startswith("human:") else []
            clip.said.append(_said(row, _why(row, failed, best), known))
        clips.append(clip)
    return clips


def _without_copies(rows: Iterable[Row]) -> list[Row]:
    """What one source said twice in the same words is shown once."""
    return list({(row["source"], row["text"]): row for row in rows}.values())


def _rank(source: str) -> int:
    """Place of a source among the kinds, the best first."""
    return next((rank for rank, (prefix, _) in enumerate(RANKS) if source.startswith(prefix)), len(RANKS))


def _said(row: Row, why: Sequence[str], known: Sequence[Row]) -> Said:
    _, _, label = row["source"].partition(":")
    made = next((one for one in known if one["label"] == (label or row["source"])), known[0] if known else None)
    speaks = made is not None and made["model"] is not None
    draw = "" if made is None or not speaks else f", draw {made['draw']}" if made["draw"] else ", most likely answer"
    scores = [(name, _number(row[name])) for name in (one.name for one in SCORES) if row.get(name) is not None]
    structure = made["structure"] if made and made["structure"] and made["draw"] == made["candidate"] else None
    return Said(
        source=row["source"],
        text=row["text"],
        chosen=row["chosen"],
        origin=row["source"] + draw,
        why=why,
        scores=[(name.replace("_", " "), value) for name, value in scores if name != "candidate"],
        provenance=_provenance_lines(made) if made else (),
        structure=json.dumps(json.loads(structure), indent=2, ensure_ascii=False) if structure else "",
    )


def _number(value: Any) -> str:
    """A score as people read it."""
    if isinstance(value, float):
        return f"{value:.2f}"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _provenance_lines(made: Row) -> list[str]:
    revision, weights, prompt = (made[name] for name in ("revision", "weights_sha256", "prompt_sha256"))
    parts = [
        ("model", made["model"]),
        ("revision", revision and revision[:_SHORT_HASH]),
        ("weights", weights and weights[:_SHORT_HASH]),
        ("prompt", prompt and prompt[:_SHORT_HASH]),
        ("decoding", made["decoding"]),
        ("heard", made["heard_s"] is not None and f"{made['heard_s']:g} s"),
        ("made from", made["made_from"]),
    ]
    return [f"{name}: {value}" for name, value in parts if value]


def _why(row: Row, failed: Sequence[Part], best: int | None) -> list[str]:
    """By what a candidate lost; nothing for one that was chosen."""
    if row["chosen"]:
        return []
    why = []
    for part in failed:
        seen = [name for name in part.columns if name in row and name not in ("source", "text")]
        values = [f"{name} is {'not known' if row[name] is None else _number(row[name])}" for name in seen]
        why.append(f"fails {part.text}" + (f" ({', '.join(values)})" if values else ""))
    if not row["text"].strip():
        why.append("it is empty")
    if not failed and best is not None and _rank(row["source"]) > best:
        why.append(f"captions {RANKS[best][1]} come first")
    if best is None:
        return why or ["no caption of the clip was chosen"]
    return why or ["another caption of its kind was chosen"]


def _broken(dataset: Dataset, shown: pa.Table, rule: str | None) -> dict[tuple[str, str, str], list[Part]]:
    """For every candidate the parts of the rule that it fails: (clip_id, source, text) -> parts."""
    if rule is None:
        return {}
    alternatives = rule_parts(rule)
    parts = ", ".join(f"coalesce(({part.sql})::BOOLEAN, false)" for each in alternatives for part in each)
    found = dataset.sql(
        f"""SELECT clip_id, source, text, [{parts}] AS holds FROM ({candidates_sql(dataset)})
        WHERE clip_id IN (SELECT clip_id FROM shown)""",
        shown=shown,
    ).to_pylist()
    return {(row["clip_id"], row["source"], row["text"]): broken_parts(alternatives, row["holds"]) for row in found}


def _provenance(dataset: Dataset, shown: pa.Table) -> list[Row]:
    """Where every sentence of a captioner is from; `candidate` is the number of the row's own answer."""
    there = set(dataset.sql("SELECT * FROM caption LIMIT 0").column_names)
    columns = [f"caption.{name}" if name in there else f"NULL AS {name}" for name in ("candidate", *_COLUMNS)]
    query = _PROVENANCE.format(columns=", ".join(columns), further=further_sql(dataset))
    rows: list[Row] = dataset.sql(query, shown=shown).to_pylist()
    return rows


def _fill(dataset: Dataset, clips: Sequence[Clip], budget: Budget) -> None:
    """Make the players, until the page is full."""
    if not clips or not dataset.has_stage("cut"):
        return
    shown = pa.table({"clip_id": pa.array([clip.clip_id for clip in clips], pa.string())})
    sounds = {row["clip_id"]: row["audio_sha256"] for row in dataset.sql(_SOUNDS, shown=shown).to_pylist()}
    with Progress("captions", total=len(clips), unit="sounds") as progress:
        for clip in clips:
            refused = budget.refused
            if clip.clip_id in sounds:
                try:
                    clip.player = budget.player(dataset.media.open_path(sounds[clip.clip_id], ".flac"))
                except DatasetError:  # deleted since; the page says that there is nothing to hear
                    clip.player = None
            if budget.refused > refused:
                clip.silent = "The page is full; its sound was left out."
            progress.advance()
