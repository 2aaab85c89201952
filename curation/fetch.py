"""The stage `fetch`: each video once, for all its clips.

One request is one thing fetched: a video, or, where the `--from` template has `{start}`, one clip that is already cut.
While the original is on the node its clips are cut (and, for a video that no list gives spans of, segmented first), so
that a large original need not be kept. The facts of `fetch`, `segment` and `cut` come back together.

Sources are asked in the order in which they are given. A request carries the `turns` that are left to it: the sources
that have not yet said a final code or used up their attempts. One attempt is one row; when a source is through, a row
with attempt 0 says that the next one is still to be asked. What is due is `curation/download/fetch_queue.py`.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pyarrow as pa

from curation.cut import Cut
from curation.download.download import Download, Limits, Request, Span
from curation.download.egress import REFUSALS, Egress
from curation.download.session import Session
from curation.download.source import Source
from curation.errors import CODES, MAX_ATTEMPTS, ClipError
from curation.keys import file_sha256
from curation.media import MediaStore
from curation.programs.probe import probe
from curation.schema import TEXTS, column, table
from curation.segment import Segment
from curation.stage import Outcome, Stage, Work, how
from curation.tables import Row

INFO = ("title", "tags", "categories", "channel", "channel_id", "upload_date", "licence", "language", "duration_s")


@dataclass(frozen=True, kw_only=True)
class Fetch(Stage):
    """Fetches videos (or cut clips), and cuts their clips on the way.

    Args:
        grain: What one request is: `video`, or `clip` for sources that hold clips already cut.
        max_height_px: Tallest picture that is asked for, px. 480: ours; the cut pictures have a short side of 256.
        sources: Where videos that are named by id come from, in order of preference; rows with a url or path of their
            own need none.
        segment, cut: The stages run while the original is here.
        media: Where the cut sounds and pictures are put.
        originals: Where originals are kept; None deletes them after cutting.
        limits: Bytes and seconds that one download may take.
        allow_private: Whether `url` rows may lead to private addresses.
        egresses: The ways out that have a proxy or cookies, by the `name` that a request says; any other goes out
            directly. Each worker makes a private copy of a cookie file.
        denied_channels: Ids of channels whose videos are refused.
        ranges: Whether only a section is fetched of a video of YouTube that is much longer than its clips.
    """

    NAME: ClassVar[str] = "fetch"
    VERSION: ClassVar[int] = 1
    GRAIN: ClassVar[Literal["video", "clip"]] = "video"
    RESULTS: ClassVar[pa.Schema] = table(
        "One row an attempt to fetch a video (or a clip that is already cut).",
        column("original_sha256", pa.string(), "sha256 of the file as it was fetched"),
        column("original_suffix", pa.string(), "its suffix, with the dot"),
        column("bytes", pa.int64(), "its size, bytes"),
        column("source", pa.string(), "`youtube`, the template, or `row` for a row's own url or path"),
        column("egress", pa.string(), "the way out that was taken; null for what was on this machine"),
        column("final_url", pa.string(), "where it came from after redirects"),
        column("title", pa.string(), "title given by the uploader"),
        column("tags", TEXTS, "tags given by the uploader"),
        column("categories", TEXTS, "the platform's categories"),
        column("channel", pa.string(), "name of the channel"),
        column("channel_id", pa.string(), "the platform's id of the channel"),
        column("upload_date", pa.string(), "day of the upload, YYYYMMDD"),
        column("licence", pa.string(), "licence that the platform states"),
        column("language", pa.string(), "language that the platform states"),
        column("duration_s", pa.float64(), "length that the platform states, s"),
        column("section_start_ms", pa.int64(), "where on the video's clock the file begins, ms; null for a whole file"),
    )

    grain: Literal["video", "clip"] = "video"
    max_height_px: int = 480
    sources: tuple[Source, ...] = how(default=())
    segment: Segment = how()
    cut: Cut = how()
    media: MediaStore = how()
    originals: MediaStore | None = how(default=None)
    limits: Limits = how()
    allow_private: bool = how(default=False)
    egresses: tuple[Egress, ...] = how(default=())
    denied_channels: frozenset[str] = how(default=frozenset())
    ranges: bool = how(default=False)

    @property
    def label(self) -> str:
        """Videos and cut clips are fetched side by side."""
        return self.grain

    def requests(self) -> str:
        """Every video, or every clip that a list names."""
        if self.grain == "video":
            return "SELECT video_key AS key, video_key AS input FROM videos"
        return "SELECT clip_id AS key, clip_id AS input FROM clips WHERE origin = 'list'"

    def reopen(self) -> str | None:
        """With `allow_private`, what was refused for its address is asked for after all."""
        return "code = 'FORBIDDEN' AND detail LIKE '%private address%'" if self.allow_private else None

    def open(self) -> Work:
        """Open the download sessions of this worker; each waits for its first request."""
        sessions = _Sessions(self)

        def work(rows: Sequence[Row]) -> list[Outcome]:
            return [self._fetch(sessions, row) for row in rows]

        return work

    def _fetch(self, sessions: "_Sessions", row: Row) -> Outcome:
        """One video: fetch it, segment it where no list gives spans, cut its clips, keep or drop it."""
        kept = self._kept(row)
        if kept is None and row["line"] != row["turns"][0]["line"]:  # it was to be here, and has to be asked for
            return Outcome(key=row["key"], recorded=False, again={**row, "line": row["turns"][0]["line"]})
        with tempfile.TemporaryDirectory(prefix="foundsound-fetch-") as scratch:
            folder = Path(scratch)
            try:
                download = kept or sessions.of(row).get(_request(row, self.ranges), folder)
            except ClipError as error:
                return self._missed(row, error)
            sha256 = file_sha256(download.path)
            clips, segmented = list(row["clips"] or ()), None
            is_changed = row["fetched"] and row["original_sha256"] != sha256
            if is_changed:  # what was made of the earlier file is made of this one too, or it would be pending for ever
                clips += row["clips_before"] or ()
            if row["to_segment"] or (is_changed and row["is_whole"]):
                segmented = self._segment(row, sha256, download.path)
                clips += [{**clip, "attempts": 0} for clip in segmented.clips]
            clips = list({clip["clip_id"]: clip for clip in reversed(clips)}.values())[::-1]
            cuts = [self._cut(_span(clip, row, download), sha256, download.path, folder) for clip in clips]
            values = self._values(download, sha256)
            again = self._again(row, sha256, clips, segmented, cuts)
            if self.originals is not None and download.owned:
                self.originals.put(download.path, download.suffix)
                kept_as = {"original_suffix": download.suffix, "section_start_ms": download.section_start_ms}
                again = again and {**again, **kept_as, "line": None}
        return Outcome(
            key=row["key"],
            values={**values, "egress": row.get("egress")},
            recorded=is_changed or not row["fetched"],
            also=[*([segmented] if segmented else []), *cuts],
            again=again,
        )

    def _kept(self, row: Row) -> Download | None:
        """The original that was kept, where there is one that holds all that is wanted."""
        if not row["fetched"] or self.originals is None:
            return None
        kept = self.originals.path(row["original_sha256"], row["original_suffix"])
        if not kept.is_file():
            return None
        section_start_ms = row.get("section_start_ms")
        if section_start_ms is not None and not _holds(kept, section_start_ms, row):
            return None
        return Download(
            path=kept,
            bytes=kept.stat().st_size,
            suffix=row["original_suffix"],
            owned=False,
            section_start_ms=section_start_ms,
        )

    def _missed(self, row: Row, error: ClipError) -> Outcome:
        """A source did not give the video: the next one is asked once this one is through."""
        turn, *rest = row["turns"]
        attempt, recorded = int(row["attempts"]) + 1, not row["fetched"]
        asked = {"source": turn["source"], "egress": row.get("egress")}
        is_through = error.code not in REFUSALS and (CODES[error.code][0] or attempt >= MAX_ATTEMPTS)
        if is_through and rest:
            following = {"turns": rest, "line": rest[0]["line"], "attempts": rest[0]["attempts"]}
            opened = Outcome(
                stage=self.NAME,
                key=row["key"],
                input=row["input"],
                attempt=0,
                error=error,
                values={"source": rest[0]["source"]},
                seconds=0.0,
            )
            return Outcome(
                key=row["key"],
                values=asked,
                error=error,
                recorded=recorded,
                also=[opened] if recorded else [],
                again={**row, **following},
            )
        return Outcome(key=row["key"], values=asked, error=error) if recorded else self._lost(row, error)

    def _lost(self, row: Row, error: ClipError) -> Outcome:
        """A video that was fetched once and cannot be had now: only what still waited for it is set aside."""
        sha256, clips, segmented = row["original_sha256"], list(row["clips"] or ()), None
        cuts = [
            Outcome(stage="cut", key=clip["clip_id"], input=sha256, attempt=int(clip["attempts"]) + 1, error=error)
            for clip in clips
        ]
        if row["to_segment"]:
            attempt = int(row["segment_attempts"]) + 1
            segmented = Outcome(stage="segment", key=row["video_key"], input=sha256, attempt=attempt, error=error)
        return Outcome(
            key=row["key"],
            recorded=False,
            also=[*([segmented] if segmented else []), *cuts],
            again=self._again(row, sha256, clips, segmented, cuts),
            answer=error,
        )

    def _values(self, download: Download, sha256: str) -> Row:
        info = {name: getattr(download, name) for name in INFO}
        return {
            "original_sha256": sha256,
            "original_suffix": download.suffix,
            "bytes": download.bytes,
            "source": download.source,
            "final_url": download.final_url,
            "section_start_ms": download.section_start_ms,
            **info,
        }

    def _segment(self, row: Row, sha256: str, original: Path) -> Outcome:
        """The clips of a video that no list gives spans of, now that its length is known."""
        key, attempt = row["video_key"], int(row["segment_attempts"]) + 1
        begun = time.perf_counter()
        try:
            clips, values = self.segment.segment(original, row)
        except ClipError as error:
            return Outcome(stage="segment", key=key, input=sha256, attempt=attempt, error=error, seconds=_since(begun))
        return Outcome(
            stage="segment",
            key=key,
            input=sha256,
            attempt=attempt,
            values=values,
            clips=clips,
            seconds=_since(begun),
        )

    def _cut(self, clip: Row, sha256: str, original: Path, folder: Path) -> Outcome:
        """One clip out of the original, on the original's own clock."""
        attempt = int(clip["attempts"]) + 1
        begun = time.perf_counter()
        try:
            values = self.cut.cut(original, clip, folder)
        except ClipError as error:
            return Outcome(
                stage="cut", key=clip["clip_id"], input=sha256, attempt=attempt, error=error, seconds=_since(begun)
            )
        return Outcome(
            stage="cut", key=clip["clip_id"], input=sha256, attempt=attempt, values=values, seconds=_since(begun)
        )

    def _again(
        self, row: Row, sha256: str, clips: Sequence[Row], segmented: Outcome | None, cuts: Sequence[Outcome]
    ) -> Row | None:
        """The request for what failed in passing, the segmenting or the cut of some clips; None if nothing did."""
        failed = {cut.key: int(cut.attempt or 1) for cut in cuts if _is_passing(cut)}
        to_segment = segmented is not None and _is_passing(segmented)
        if not failed and not to_segment:
            return None
        before = {clip["clip_id"]: {**clip, "attempts": 0} for clip in [*(row["clips_before"] or ()), *clips]}
        return {
            **row,
            "clips": [{**clip, "attempts": failed[clip["clip_id"]]} for clip in clips if clip["clip_id"] in failed],
            "clips_before": [clip for key, clip in before.items() if key not in failed],
            "to_segment": to_segment,
            "segment_attempts": int(row["segment_attempts"]) + 1,
            "fetched": True,
            "original_sha256": sha256,
        }


def _is_passing(outcome: Outcome) -> bool:
    """Whether an inner stage is to be tried again."""
    attempt = int(outcome.attempt or 1)
    return outcome.error is not None and not CODES[outcome.error.code][0] and attempt < MAX_ATTEMPTS


def _since(begun: float) -> float:
    return time.perf_counter() - begun


def _span(clip: Row, row: Row, download: Download) -> Row:
    """A clip on the clock of the file: a clip that is already cut starts with it, a section starts later."""
    return {**clip, "start_ms": 0 if row["is_cut"] else clip["start_ms"] - (download.section_start_ms or 0)}


def _wanted(row: Row) -> Span | None:
    """From the start of the first clip that the row needs to the end of the last one; None where it needs the end.

    Clips that were cut before count too: from a file with other bytes they are cut again.
    """
    clips = [*(row["clips"] or ()), *(row["clips_before"] or ())]
    to_the_end = row["to_segment"] or row["is_whole"] or any(clip["duration_ms"] is None for clip in clips)
    if to_the_end or not clips:
        return None
    end_ms = max(clip["start_ms"] + clip["duration_ms"] for clip in clips)
    return Span(start_ms=min(clip["start_ms"] for clip in clips), end_ms=end_ms)


def _holds(kept: Path, section_start_ms: int, row: Row) -> bool:
    """Whether a section that was kept holds all that is wanted now; one that cannot be read does not."""
    span = _wanted(row)
    try:
        length_ms = round(1000 * (probe(kept).duration_s or 0.0))
    except ClipError:
        return False
    return span is not None and section_start_ms <= span.start_ms and span.end_ms <= section_start_ms + length_ms


def _request(row: Row, ranges: bool) -> Request:
    """What is asked of the download session."""
    return Request(
        platform=row["platform"],
        video_id=row["video_id"],
        url=row["url"],
        path=row["path"],
        root=row["root"],
        start_ms=row["start_ms"],
        span=_wanted(row) if ranges and row["platform"] == "youtube" and not row["is_cut"] else None,
    )


class _Sessions:
    """The download sessions of one worker, one for each way out and source that is met."""

    def __init__(self, stage: Fetch) -> None:
        self._stage = stage
        self._sources = {str(source): source for source in stage.sources}
        self._egresses = {egress.name: egress for egress in stage.egresses}
        self._opened: dict[tuple[str | None, str], Session] = {}

    def of(self, row: Row) -> Session:
        """The session for a request, by its first turn and its way out."""
        name, source = row.get("egress"), row["turns"][0]["source"]
        if (name, source) not in self._opened:
            egress = self._egresses.get(name or "")
            self._opened[name, source] = Session(
                self._sources.get(source),
                max_height_px=self._stage.max_height_px,
                limits=self._stage.limits,
                allow_private=self._stage.allow_private,
                cookies=egress.cookies if egress else None,
                proxy=egress.proxy if egress else None,
                denied_channels=self._stage.denied_channels,
            )
        return self._opened[name, source]
