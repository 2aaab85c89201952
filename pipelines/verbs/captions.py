"""`foundsound captions`: everything that was said of clips, to look at or to take along."""

import csv
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any

from captioning.candidates import PROVENANCE, candidates_sql, checked_rule, choose, provenance_sql
from captioning.captioner import one_line
from captioning.score import SCORES
from curation.annotated import ANNOTATED
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.lock import writer_lock
from curation.tables import Row, publish, temporary_beside
from pipelines.report.captions_page import write_captions_page
from pipelines.report.page import SOUND_BYTES

SHOWN, ON_PAGE = 10, 60
"""Clips shown on a terminal, and on a page; of 60 sounds a page has about 6 MB."""

COLUMNS = ("clip_id", "platform", "video_id", "start_ms", "duration_ms", "labels", "source", "text", "chosen")

_SHOWN = """
WITH shown AS (
    SELECT clips.clip_id, clips.video_key, clips.start_ms, clips.duration_ms FROM clips
    WHERE clips.clip_id IN (SELECT clip_id FROM ({candidates}){aside}) {only}
    ORDER BY {first} {limit}
), labelled AS (
    SELECT clip_id, list_sort(list_distinct(flatten(list(coalesce(labels, []))))) AS labels
    FROM ({annotated}) GROUP BY clip_id
)
SELECT shown.clip_id, videos.platform, videos.video_id, shown.start_ms, shown.duration_ms,
    coalesce(labelled.labels, []) AS labels, said.source, said.text, chosen.clip_id IS NOT NULL AS chosen,
    {scores}{written}
FROM shown JOIN videos USING (video_key) LEFT JOIN ({candidates}) AS said USING (clip_id)
{provenance}
LEFT JOIN labelled USING (clip_id) LEFT JOIN ({chosen}) AS chosen USING (clip_id, source, text)
ORDER BY {order}, chosen DESC, said.source, said.text"""

_OWN_STRUCTURE = "CASE WHEN said.candidate = made.structured THEN made.structure END AS structure"
_WRITTEN = ", ".join(
    ["", "said.captions", *(_OWN_STRUCTURE if name == "structure" else f"made.{name}" for name in PROVENANCE)]
)
_PROVENANCE = "LEFT JOIN ({made}) AS made ON made.clip_id = shown.clip_id AND made.captions = said.captions"
"""Where a sentence is from, which stands in files to take along."""

_ASIDE = " UNION SELECT key FROM caption WHERE state = 'set_aside'"
"""Clips of which nothing usable was said, which the page shows, too."""


class CaptionsResult:
    """Clips with all that was said of them.

    Args:
        rows: A row a candidate, those of one clip together, the chosen ones first.
        file: Where they were written; None where they are only shown.
    """

    def __init__(self, rows: list[Row], file: Path | None) -> None:
        self.rows = rows
        self.file = file

    def as_dict(self) -> dict[str, Any]:
        """The rows, and the file they were written to."""
        return {"captions": self.rows, "file": str(self.file) if self.file else None}

    def __str__(self) -> str:
        clips = len({row["clip_id"] for row in self.rows})
        if self.file:
            where = self.file.as_uri() if self.file.suffix == ".html" else self.file
            return f"{len(self.rows):,} captions of {clips:,} clips: {where}"
        if not self.rows:
            return "no clip has a caption yet; `foundsound caption` makes some of what is cut, `status` says what is"
        return "\n".join(line for _, said in groupby(self.rows, lambda row: row["clip_id"]) for line in _lines(said))


def _lines(said: Iterator[Row]) -> Iterator[str]:
    """One clip: where it is from, its labels, and each sentence, `*` before those that are chosen."""
    rows = list(said)
    first = rows[0]
    start_s, end_s = first["start_ms"] / 1000, (first["start_ms"] + first["duration_ms"]) / 1000
    labels = "  " + one_line(f"[{', '.join(first['labels'])}]") if first["labels"] else ""
    yield f"{first['clip_id']}  {first['platform']} {first['video_id']} {start_s:g}-{end_s:g} s{labels}"
    for row in rows:
        clap = "" if row["clap"] is None else f"  clap {row['clap']:.2f}"
        yield f"  {'*' if row['chosen'] else ' '} {row['source']:<24} {one_line(row['text'])}{clap}"


def captions(
    dataset: Path,
    /,
    *,
    rule: str | None = None,
    clip: str | None = None,
    limit: int | None = None,
    out: Path | None = None,
    page: Path | None = None,
    max_mb: float = SOUND_BYTES / 1e6,
) -> CaptionsResult:
    """Show what people, models and labels said of clips, with scores, and which of it a rule would choose.

    Args:
        dataset: Folder of the dataset.
        rule: As `select --captions`: a SQL condition over the scores, or `clean`; the default rule when not given.
        clip: Show this clip only.
        limit: Clips shown, drawn in an order that stays the same; when not given 10, on a page 60.
        out: Write all of them to this .csv or .jsonl file instead, each with its model, revision, weights, prompt,
            decoding, sound and time.
        page: Write this .html file instead, one that needs no network: sounds to listen to, every candidate with its
            scores, what the rule chose and why the others lost.
        max_mb: What the sounds may add to the page, in megabytes.
    """
    opened = Dataset(dataset)
    limit = _checked_limit(limit, out, page)
    if max_mb < 0:
        raise ArgumentError(f"--max-mb must be at least 0, not {max_mb:g}")
    candidates = candidates_sql(opened)
    order = "{}.clip_id" if out or clip else "md5({}.clip_id)"
    query = _SHOWN.format(
        candidates=candidates,
        chosen=f"SELECT DISTINCT * FROM ({choose(candidates, checked_rule(opened, rule) if rule else None)})",
        annotated=ANNOTATED,
        scores=", ".join(f"said.{field.name}" for field in SCORES),
        written=_WRITTEN if out and opened.has_stage("caption") else "",
        provenance=_PROVENANCE.format(made=provenance_sql(opened)) if out and opened.has_stage("caption") else "",
        aside=_ASIDE if page and opened.has_stage("caption") else "",
        only="AND clips.clip_id = ?" if clip else "",
        first=order.format("clips"),
        order=order.format("shown"),
        limit="" if out or clip else f"LIMIT {limit}",
    )
    with _as_writer(opened, page):
        rows = [_timed(row) for row in opened.sql(query, [clip] if clip else []).to_pylist()]
        if clip and not rows:
            raise ArgumentError(f"nothing was said of a clip {clip!r} in {opened.path}")
        if out is not None:
            _write(out, rows)
        if page is not None:
            page = write_captions_page(opened, page.resolve(), rows, rule=rule, sound_bytes=round(max_mb * 1e6))
    return CaptionsResult([row for row in rows if row["text"] is not None], out or page)


def _as_writer(dataset: Dataset, page: Path | None) -> AbstractContextManager[None]:
    """Hold the lock of a page while it is made, so that none appears behind a takedown; none for what is only shown."""
    if page is None:
        return nullcontext()
    return writer_lock(dataset.folder("locks") / f"report-{page.stem}.lock", f"the page {page}")


def _checked_limit(limit: int | None, out: Path | None, page: Path | None) -> int:
    """How many clips are shown.

    Raises:
        ArgumentError: It is below 1, or a file to write is none of those that can be written.
    """
    if limit is not None and limit < 1:
        raise ArgumentError(f"--limit must be at least 1, not {limit}")
    if out is not None and page is not None:
        raise ArgumentError("--out and --page ask for two results; give one of them")
    if out is not None and out.suffix not in (".csv", ".jsonl"):
        raise ArgumentError(f"--out {out} must end in .csv or .jsonl")
    if page is not None and (page.suffix != ".html" or page.is_dir()):
        raise ArgumentError(f"--page {page} must be a file that ends in .html")
    return limit or (SHOWN if page is None else ON_PAGE)


def _write(file: Path, rows: list[Row]) -> None:
    """One line a caption, in one step."""
    temporary = temporary_beside(file.resolve())
    try:
        with temporary.open("w", encoding="utf-8", newline="") as text:
            if file.suffix == ".jsonl":
                text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            else:
                names = [*COLUMNS, *(field.name for field in SCORES), "captions", *PROVENANCE]
                writer = csv.DictWriter(text, names)
                writer.writeheader()
                writer.writerows({**row, **_joined(row)} for row in rows)
        publish(temporary, file.resolve())
    finally:
        temporary.unlink(missing_ok=True)


def _timed(row: Row) -> Row:
    """The time as text, which JSON can hold."""
    made_at = row.get("finished_at")
    return row if made_at is None else {**row, "finished_at": made_at.isoformat()}


def _joined(row: Row) -> Row:
    """Lists as JSON arrays, which a CSV can hold."""
    return {name: json.dumps(value, ensure_ascii=False) for name, value in row.items() if isinstance(value, list)}
