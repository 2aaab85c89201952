"""`foundsound fetch` and `foundsound segment`: videos are fetched once and cut into clips while they are here."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from curation.cut import Cut
from curation.dataset import Dataset
from curation.download.download import Limits
from curation.download.source import parse_source
from curation.errors import ArgumentError
from curation.fetch import Fetch, fetch_queue
from curation.media import MediaStore
from curation.segment import Segment
from pipelines.runner import Job, run
from pipelines.verbs.result import StageResult

SESSIONS = 4
"""Download sessions at once. Source: ours; a mirror's latency is hidden, and two cores can cut as fast."""


def _stage(
    dataset: Dataset,
    source: str | None,
    *,
    keep_originals: bool,
    allow_private: bool,
    cookies: Path | None,
    limits: Limits,
) -> Fetch:
    parsed = parse_source(source) if source else None
    return Fetch(
        grain="clip" if parsed is not None and parsed.is_cut else "video",
        source=parsed,
        segment=Segment(),
        cut=Cut(media=dataset.media),
        media=dataset.media,
        originals=MediaStore(dataset.folder("originals")) if keep_originals else None,
        limits=limits,
        allow_private=allow_private,
        cookies=cookies,
    )


def _run(
    dataset: Dataset, stage: Fetch, rows: Literal["all", "whole"], workers: int | None, address: str | None
) -> StageResult:
    tally = run(
        dataset,
        Job(
            stage=stage,
            queue=lambda: fetch_queue(dataset, stage, rows=rows),
            inner={"segment": stage.segment, "cut": stage.cut},
            workers=workers,
            default_workers=SESSIONS,
            address=address,
        ),
    )
    return StageResult.of(dataset, tally, "fetch", "segment", "cut")


def fetch(
    dataset: Path,
    /,
    *,
    source: Annotated[str | None, Parameter(name="--from")] = None,
    workers: int | None = None,
    keep_originals: bool = False,
    allow_private: bool = False,
    cookies: Path | None = None,
    timeout_s: float = Limits().timeout_s,
    address: str | None = None,
) -> StageResult:
    """Fetch every video once and cut its clips; run again, it goes on where it stopped.

    Args:
        dataset: Folder of the dataset.
        source: `youtube`, `http://mirror/{video_id}.mp4`, or `/media/{video_id}.mp4`; with `{start}` in the template,
            as `/media/{video_id}_{start:06d}.mp4`, the media are already cut. Rows with a url or a path of their own
            need none.
        workers: Downloads at once; 0 works in this process, without Ray.
        keep_originals: Keep what was fetched beside the cut clips.
        allow_private: Let url rows lead to private addresses.
        cookies: A cookie file for the platform; none by default.
        timeout_s: Longest time for one download, s.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
    """
    opened = Dataset(dataset)
    try:
        limits = Limits(timeout_s=timeout_s)
    except ValueError as error:
        raise ArgumentError(f"--timeout-s: {error}") from error
    stage = _stage(
        opened,
        source,
        keep_originals=keep_originals,
        allow_private=allow_private,
        cookies=cookies,
        limits=limits,
    )
    return _run(opened, stage, "all", workers, address)


def segment(
    dataset: Path,
    /,
    *,
    source: Annotated[str | None, Parameter(name="--from")] = None,
    workers: int | None = None,
    keep_originals: bool = False,
    allow_private: bool = False,
    address: str | None = None,
) -> StageResult:
    """Fetch the videos that no list gives spans of, and cut them: V2M every 10 s, others into one whole clip.

    Args:
        dataset: Folder of the dataset.
        source: As for `fetch`.
        workers: Downloads at once; 0 works in this process, without Ray.
        keep_originals: Keep what was fetched beside the cut clips.
        allow_private: Let url rows lead to private addresses.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
    """
    opened = Dataset(dataset)
    stage = _stage(
        opened,
        source,
        keep_originals=keep_originals,
        allow_private=allow_private,
        cookies=None,
        limits=Limits(),
    )
    return _run(opened, stage, "whole", workers, address)
