"""The stage `fetch`: each video once, for all its clips.

One request is one thing fetched: a video, or, where the `--from` template has `{start}`, one clip that is already cut.
While the original is on the node its clips are cut (and, for a video that no list gives spans of, segmented first), so
that a large original need not be kept. The facts of `fetch`, `segment` and `cut` come back together.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pyarrow as pa

from curation.cut import Cut
from curation.dataset import Dataset, is_final_sql, parts_sql, quoted
from curation.download.download import Download, Limits, Request
from curation.download.session import Session
from curation.download.source import Source
from curation.errors import CODES, MAX_ATTEMPTS, ClipError
from curation.keys import file_sha256
from curation.media import MediaStore
from curation.schema import TEXTS, column, table
from curation.segment import Segment
from curation.stage import Outcome, Stage, Work, how
from curation.tables import Row, part_files

INFO = ("title", "tags", "categories", "channel", "channel_id", "upload_date", "licence", "language", "duration_s")


@dataclass(frozen=True, kw_only=True)
class Fetch(Stage):
    """Fetches videos (or cut clips), and cuts their clips on the way.

    Args:
        grain: What one request is: `video`, or `clip` for sources that hold clips already cut.
        max_height_px: Tallest picture that is asked for, px. 480: ours; the cut pictures have a short side of 256.
        source: Where videos that are named by id come from; rows with a url or path of their own need none.
        segment, cut: The stages run while the original is here.
        media: Where the cut sounds and pictures are put.
        originals: Where originals are kept; None deletes them after cutting.
        limits: Bytes and seconds that one download may take.
        allow_private: Whether `url` rows may lead to private addresses.
        cookies: A cookie file, of which each worker makes a private copy; None sends no cookies.
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
    )

    grain: Literal["video", "clip"] = "video"
    max_height_px: int = 480
    source: Source | None = how(default=None)
    segment: Segment = how()
    cut: Cut = how()
    media: MediaStore = how()
    originals: MediaStore | None = how(default=None)
    limits: Limits = how()
    allow_private: bool = how(default=False)
    cookies: Path | None = how(default=None)

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
        """Open the download session of this worker."""
        session = Session(
            self.source,
            max_height_px=self.max_height_px,
            limits=self.limits,
            allow_private=self.allow_private,
            cookies=self.cookies,
        )

        def work(rows: Sequence[Row]) -> list[Outcome]:
            return [self._fetch(session, row) for row in rows]

        return work

    def _fetch(self, session: Session, row: Row) -> Outcome:
        """One video: fetch it, segment it where no list gives spans, cut its clips, keep or drop it."""
        with tempfile.TemporaryDirectory(prefix="foundsound-fetch-") as scratch:
            folder = Path(scratch)
            try:
                download = self._original(session, row, folder)
            except ClipError as error:
                asked = {"source": self._asked(row)}
                return self._lost(row, error) if row["fetched"] else Outcome(key=row["key"], values=asked, error=error)
            sha256 = file_sha256(download.path)
            clips, segmented = list(row["clips"] or ()), None
            is_changed = row["fetched"] and row["original_sha256"] != sha256
            if is_changed:  # what was made of the earlier file is made of this one too, or it would be pending for ever
                clips += row["clips_before"] or ()
            if row["to_segment"] or (is_changed and row["is_whole"]):
                segmented = self._segment(row, sha256, download.path)
                clips += [{**clip, "attempts": 0} for clip in segmented.clips]
            clips = list({clip["clip_id"]: clip for clip in reversed(clips)}.values())[::-1]
            cuts = [self._cut(clip, sha256, download.path, folder, bool(row["is_cut"])) for clip in clips]
            values = self._values(download, sha256)
            if self.originals is not None and download.owned:
                self.originals.put(download.path, download.suffix)
        return Outcome(
            key=row["key"],
            values=values,
            recorded=is_changed or not row["fetched"],
            also=[*([segmented] if segmented else []), *cuts],
            again=self._again(row, sha256, clips, segmented, cuts),
        )

    def _asked(self, row: Row) -> str:
        """Where a row is asked for: `row` for its own url or path, else the source."""
        return str(self.source) if row["platform"] == "youtube" else "row"

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
        )

    def _original(self, session: Session, row: Row, folder: Path) -> Download:
        """The original: the kept one where there is one, else fetched."""
        if row["fetched"] and self.originals is not None:
            kept = self.originals.path(row["original_sha256"], row["original_suffix"])
            if kept.is_file():
                return Download(path=kept, bytes=kept.stat().st_size, suffix=row["original_suffix"], owned=False)
        request = Request(
            platform=row["platform"],
            video_id=row["video_id"],
            url=row["url"],
            path=row["path"],
            root=row["root"],
            start_ms=row["start_ms"],
        )
        return session.get(request, folder)

    def _values(self, download: Download, sha256: str) -> Row:
        info = {name: getattr(download, name) for name in INFO}
        return {
            "original_sha256": sha256,
            "original_suffix": download.suffix,
            "bytes": download.bytes,
            "source": download.source,
            "final_url": download.final_url,
            **info,
        }

    def _segment(self, row: Row, sha256: str, original: Path) -> Outcome:
        """The clips of a video that no list gives spans of, now that its length is known."""
        key, attempt = row["video_key"], int(row["segment_attempts"]) + 1
        begun = time.perf_counter()
        try:
            length_ms = self.segment.length_ms(original)
            clips = self.segment.clips(row, length_ms)
        except ClipError as error:
            return Outcome(stage="segment", key=key, input=sha256, attempt=attempt, error=error, seconds=_since(begun))
        return Outcome(
            stage="segment",
            key=key,
            input=sha256,
            attempt=attempt,
            values={"clips": len(clips), "length_ms": length_ms},
            clips=clips,
            seconds=_since(begun),
        )

    def _cut(self, clip: Row, sha256: str, original: Path, folder: Path, is_cut: bool) -> Outcome:
        """One clip out of the original; from a source of cut clips it starts at the original's start."""
        attempt = int(clip["attempts"]) + 1
        span = {**clip, "start_ms": 0} if is_cut else clip
        begun = time.perf_counter()
        try:
            values = self.cut.cut(original, span, folder)
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


_LATEST = """SELECT *, {final} AND NOT ({reopened}) AS final FROM {parts}
    QUALIFY row_number() OVER (PARTITION BY {by} ORDER BY finished_at DESC, attempt DESC) = 1"""


_SPAN = "{{clip_id: spans.clip_id, start_ms: spans.start_ms, duration_ms: spans.duration_ms, attempts: {attempts}}}"


def _latest(dataset: Dataset, stage: Stage, by: str, reopen: str | None) -> str:
    parts = parts_sql(part_files(dataset.facts(stage).folder))
    reopened = f"code IS NOT NULL AND {reopen}" if reopen else "false"
    return _LATEST.format(final=is_final_sql(), reopened=reopened, parts=parts, by=by)


def _answers(dataset: Dataset, stage: Fetch) -> str:
    """SQL of what is there: the latest answers of the three stages, videos to be segmented, clips that are cut.

    What another source did not have is asked for at this one. An answer that this run reopens is not final, be it the
    video's own or one that its clips or segments got from it.

    A clip is cut when the fetch of its original, of either grain, is committed too; a kill between the two commits
    leaves a cut whose video is fetched again.
    """
    reopen = stage.reopen()
    elsewhere = f"source NOT IN ('row', {quoted(str(stage.source))})" if stage.source else "false"
    return f"""fetched AS ({_latest(dataset, stage, "key", f"(({reopen or 'false'}) OR {elsewhere})")}),
    cuts AS ({_latest(dataset, stage.cut, "key, input", reopen)}),
    segmented AS ({_latest(dataset, stage.segment, "key", reopen)}),
    whole AS (
        SELECT DISTINCT annotations.key AS video_key, coalesce(segmented.attempt, 0) AS attempts,
            NOT coalesce(segmented.final, false) AS is_due
        FROM annotations LEFT JOIN segmented ON segmented.key = annotations.key WHERE annotations.grain = 'video'
    ),
    had AS (
        SELECT DISTINCT cuts.key FROM cuts JOIN clips ON clips.clip_id = cuts.key
        JOIN "fetch" AS got ON got.original_sha256 = cuts.input AND got.key IN (clips.clip_id, clips.video_key)
        WHERE cuts.code IS NULL
    )"""


def fetch_queue(dataset: Dataset, stage: Fetch, *, rows: Literal["all", "whole"] = "all") -> pa.Table:
    """What `fetch` still has to do.

    A video is due when it has no final answer yet and something is wanted of it, or when it was fetched and some of
    its clips were not cut from what was fetched (a kill, a new version of `cut`). A clip that was fetched by itself is
    not cut from its video again.

    Args:
        dataset: The dataset.
        stage: The stage with its knobs.
        rows: `whole` takes only videos that are to be segmented.

    Returns:
        One row a video (or clip), sorted by key: the video's columns, `clips` to cut as structs, `clips_before` that
        were cut from the file fetched last, `to_segment`, `is_whole` (a list names it without a span),
        `segment_attempts`, `fetched`, `original_sha256`, `original_suffix`, `attempts`, `is_cut`.
    """
    is_clip = stage.grain == "clip"
    unit, start = ("spans.clip_id", "spans.start_ms") if is_clip else ("videos.video_key", "NULL")
    own = " AND videos.platform = 'youtube'" if is_clip else ""
    if stage.source is None:
        own += " AND videos.platform <> 'youtube'"
    query = f"""
    WITH {_answers(dataset, stage)},
    spans AS (
        SELECT clips.clip_id, clips.video_key, clips.start_ms, clips.duration_ms, coalesce(cuts.attempt, 0) AS attempts,
            NOT coalesce(cuts.final, false) AND (had.key IS NULL OR {is_clip} AND fetched.key IS NOT NULL)
                AND {"clips.origin = 'segment'" if rows == "whole" else "true"} AS is_due,
            coalesce(cuts.final, false) AS is_before
        FROM clips
        LEFT JOIN fetched ON fetched.key = {"clips.clip_id" if is_clip else "clips.video_key"} AND fetched.code IS NULL
        LEFT JOIN cuts ON cuts.key = clips.clip_id AND cuts.input = fetched.original_sha256
        LEFT JOIN had ON had.key = clips.clip_id
        {"WHERE clips.origin = 'list'" if is_clip else ""}
    ),
    due AS (
        SELECT {unit} AS key, any_value(videos) AS video, any_value({start}) AS start_ms,
            list({_SPAN.format(attempts="spans.attempts")} ORDER BY spans.start_ms, spans.clip_id)
                FILTER (spans.is_due) AS clips,
            list({_SPAN.format(attempts="0")} ORDER BY spans.start_ms, spans.clip_id)
                FILTER (spans.is_before) AS clips_before,
            NOT {is_clip} AND coalesce(bool_or(whole.is_due), false) AS to_segment,
            NOT {is_clip} AND count(whole.video_key) > 0 AS is_whole,
            coalesce(max(whole.attempts), 0) AS segment_attempts
        FROM videos
        LEFT JOIN spans ON spans.video_key = videos.video_key
        LEFT JOIN whole ON whole.video_key = videos.video_key
        WHERE true {own}
        GROUP BY {unit}
    )
    SELECT due.key, due.key AS input, video.*, due.* EXCLUDE (key, video),
        {is_clip} AS is_cut,
        fetched.key IS NOT NULL AND fetched.code IS NULL AS fetched,
        fetched.original_sha256, fetched.original_suffix, coalesce(fetched.attempt, 0) AS attempts
    FROM due LEFT JOIN fetched ON fetched.key = due.key
    WHERE (due.clips IS NOT NULL OR due.to_segment)
        AND (fetched.key IS NULL OR fetched.code IS NULL OR NOT fetched.final)
    ORDER BY due.key"""
    return dataset.sql(query)
