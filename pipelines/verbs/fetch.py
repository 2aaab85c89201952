"""`foundsound fetch` and `foundsound segment`: videos are fetched once and cut into clips while they are here."""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from curation.cut import Cut
from curation.dataset import Dataset
from curation.download.download import Limits
from curation.download.fetch_queue import fetch_queue
from curation.download.source import Source, parse_source
from curation.errors import ArgumentError
from curation.facts import IDENTITY_FILE
from curation.fetch import Fetch
from curation.media import MediaStore
from curation.programs.ffmpeg import ffmpeg_version
from curation.segment import Policy, Segment
from curation.takedowns.deny import denied
from pipelines.runner import Job, Tally, run
from pipelines.verbs.result import StageResult
from pipelines.verbs.ways import DIRECT, Ways

SESSIONS = 4
"""Download sessions at once of each way out. Source: ours; a mirror's latency is hidden, and two cores can cut as
fast."""


def _sources(given: Sequence[str]) -> list[tuple[Source, ...]]:
    """The sources in their order, those that follow each other and are of one grain together.

    Raises:
        ArgumentError: One is named twice, or is none.
    """
    parsed = [parse_source(text) for text in given]
    if len({str(source) for source in parsed}) < len(parsed):
        raise ArgumentError(f"--from names one source twice: {', '.join(map(str, parsed))}")
    return [tuple(group) for _, group in groupby(parsed, key=lambda source: source.is_cut)] or [()]


def _segment(dataset: Dataset, policy: Policy | None) -> Segment:
    """How videos without spans are divided: as asked, else as it was done before, else every so many seconds."""
    if policy is None:
        known = [
            json.loads((folder / IDENTITY_FILE).read_bytes()) for folder in dataset.current_facts("segment").values()
        ]
        policy = known[0].get("policy", "fixed") if known else "fixed"
    return Segment(policy=policy)


def _stage(
    dataset: Dataset,
    sources: tuple[Source, ...],
    ways: Ways,
    *,
    keep_originals: bool,
    allow_private: bool,
    limits: Limits,
    policy: Policy | None = None,
    ranges: bool = False,
) -> Fetch:
    return Fetch(
        grain="clip" if sources and sources[0].is_cut else "video",
        sources=sources,
        segment=_segment(dataset, policy),
        cut=Cut(media=dataset.media),
        media=dataset.media,
        originals=MediaStore(dataset.folder("originals")) if keep_originals else None,
        limits=limits,
        allow_private=allow_private,
        egresses=ways.egresses(),
        denied_channels=denied(dataset.path).channel_ids,
        ranges=ranges,
    )


def _run(
    dataset: Dataset, stage: Fetch, ways: Ways, rows: Literal["all", "whole"], workers: int | None, address: str | None
) -> Tally:
    return run(
        dataset,
        Job(
            stage=stage,
            queue=lambda: fetch_queue(dataset, stage, rows=rows),
            inner={"segment": stage.segment, "cut": stage.cut},
            workers=workers,
            default_workers=SESSIONS,
            address=address,
            routing=ways.routing(dataset, stage.sources),
        ),
    )


def _limits(timeout_s: float) -> Limits:
    try:
        return Limits(timeout_s=timeout_s)
    except ValueError as error:
        raise ArgumentError(f"--timeout-s: {error}") from error


def _require_ranges(groups: Sequence[tuple[Source, ...]]) -> None:
    """Refuse `--ranges` where nothing can come of it.

    Raises:
        ArgumentError: YouTube is no source.
        StoppedError: This machine's ffmpeg fails at it.
    """
    from curation.download.section import require_sections  # yt-dlp takes 0.2 s to import: only where it is used

    if not any(source.kind == "youtube" for sources in groups for source in sources):
        raise ArgumentError("--ranges is for --from youtube: other sources give whole files")
    require_sections(ffmpeg_version())


def fetch(
    dataset: Path,
    /,
    *,
    source: Annotated[Sequence[str], Parameter(name="--from")] = (),
    workers: int | None = None,
    keep_originals: bool = False,
    allow_private: bool = False,
    timeout_s: float = Limits().timeout_s,
    ranges: bool = False,
    address: str | None = None,
    ways: Annotated[Ways, Parameter(name="*")] = DIRECT,
) -> StageResult:
    """Fetch every video once and cut its clips; run again, it goes on where it stopped.

    A rate limit, a bot check or a lost connection pauses the way out and is no attempt of a video.

    Args:
        dataset: Folder of the dataset.
        source: `youtube`, `http://mirror/{video_id}.mp4`, or `/media/{video_id}.mp4`; with `{start}` in the template,
            as `/media/{video_id}_{start:06d}.mp4`, the media are already cut. Given several times, the first is asked
            first, and the next for what it does not have. Rows with a url or a path of their own need none.
        workers: Downloads at once through each way out; 0 works in this process, without Ray.
        keep_originals: Keep what was fetched beside the cut clips.
        allow_private: Let url rows lead to private addresses.
        timeout_s: Longest time for one download, s.
        ranges: Of a video of YouTube that is much longer than its clips, fetch the section with the clips alone: fewer
            bytes, but slower ones.
        address: Address of a Ray cluster; Ray is started on this machine when not given. There every node with the
            resource `egress` is a way out.
        ways: The ways out and what bounds them.
    """
    opened, limits, tally = Dataset(dataset), _limits(timeout_s), Tally()
    groups = _sources([source] if isinstance(source, str) else source)
    if ranges:
        _require_ranges(groups)
    for sources in groups:
        stage = _stage(
            opened,
            sources,
            ways,
            keep_originals=keep_originals,
            allow_private=allow_private,
            limits=limits,
            ranges=ranges,
        )
        tally = tally.plus(_run(opened, stage, ways, "all", workers, address))
    return StageResult.of(opened, tally, "fetch", "segment", "cut")


def segment(
    dataset: Path,
    /,
    *,
    source: Annotated[Sequence[str], Parameter(name="--from")] = (),
    workers: int | None = None,
    keep_originals: bool = False,
    allow_private: bool = False,
    timeout_s: float = Limits().timeout_s,
    policy: Policy | None = None,
    address: str | None = None,
    ways: Annotated[Ways, Parameter(name="*")] = DIRECT,
) -> StageResult:
    """Fetch the videos that no list gives spans of, and cut them: V2M every 10 s, others into one whole clip.

    Args:
        dataset: Folder of the dataset.
        source: As for `fetch`, but for media that are already cut.
        workers: Downloads at once through each way out; 0 works in this process, without Ray.
        keep_originals: Keep what was fetched beside the cut clips.
        allow_private: Let url rows lead to private addresses.
        timeout_s: Longest time for one download, s.
        policy: fixed divides every so many seconds, scenes where the picture cuts; as before when not given.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
        ways: The ways out and what bounds them.
    """
    opened, limits, tally = Dataset(dataset), _limits(timeout_s), Tally()
    for sources in _sources([source] if isinstance(source, str) else source):
        stage = _stage(
            opened,
            sources,
            ways,
            keep_originals=keep_originals,
            allow_private=allow_private,
            limits=limits,
            policy=policy,
        )
        tally = tally.plus(_run(opened, stage, ways, "whole", workers, address))
    return StageResult.of(opened, tally, "fetch", "segment", "cut")
