"""A clip on its way out of a dataset, and where such clips come from: selections and generations of shards.

Both are read row by row, so that an export of millions of clips needs no more memory than one of a hundred.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.keys import video_key
from curation.media import media_name
from curation.names import plain_name
from curation.selections.selection import SelectionReport, read_report
from curation.shards.generation import INDEX_FILE, generations
from curation.shards.reader import Shards
from curation.tables import Row
from curation.takedowns.deny import denied

BATCH_ROWS = 1_000
"""Rows of a selection that are in memory at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """One media file of a clip.

    Args:
        sha256: Of its content.
        suffix: With the dot, as `.flac`.
        place: Its path or address in the media store; None when it lies in a shard.
        file: Its path, where the media store is a folder.
        content: Gives its bytes, unchecked.
    """

    sha256: str
    suffix: str
    place: str | None
    file: Path | None
    content: Callable[[], bytes]

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            DatasetError: They are not what the table says.
        """
        content = self.content()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise DatasetError(
                f"the media {self.place or self.sha256} do not have the content they are named for; run "
                "`foundsound verify`, or fetch their video again"
            )
        return content


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportClip:
    """One clip with all that an export may say of it.

    Args:
        clip_id, platform, video_id, url: What it is and where it is from.
        start_s, duration_s: Its span in the video, s.
        labels, captions, caption_sources, lists: What was said of it, and by whom.
        sample_rate_hz: Of its sound, Hz.
        licence: As the platform states it.
        sound: Its FLAC.
        picture: Its MP4; None without one.
    """

    clip_id: str
    platform: str
    video_id: str
    url: str | None
    start_s: float
    duration_s: float
    labels: tuple[str, ...]
    captions: tuple[str, ...]
    caption_sources: tuple[str, ...]
    lists: tuple[str, ...]
    sample_rate_hz: int | None
    licence: str | None
    sound: Media
    picture: Media | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What is exported: one selection or one generation, of one split.

    Args:
        kind: `selection` or `generation`.
        name: Its name.
        split: `train`, `val` or `test`.
        clips: How many clips it holds.
        sha256: Of the selection's rows, which all of the content follows from.
        report: What the selection refused and why; None when it was replaced since the generation was packed.
        read: Gives the clips, in one fixed order.
    """

    kind: str
    name: str
    split: str
    clips: int
    sha256: str
    report: SelectionReport | None
    read: Callable[[], Iterator[ExportClip]]


def of_selection(dataset: Dataset, name: str) -> Origin:
    """A selection as something to export.

    Raises:
        ArgumentError: There is no such selection, or it keeps nothing.
        DatasetError: It is damaged.
    """
    report = read_report(dataset, name)
    if report.kept_clips == 0:
        raise ArgumentError(f"selection {name!r} keeps no clip, so there is nothing to export; change its conditions")
    _refuse_denied(dataset, report)
    return Origin(
        kind="selection",
        name=name,
        split=str(report.settings["split"]),
        clips=report.kept_clips,
        sha256=report.sha256,
        report=report,
        read=lambda: _selected(dataset, report),
    )


def _refuse_denied(dataset: Dataset, report: SelectionReport) -> None:
    """Stop where a selection is older than a takedown."""
    deny_list = denied(dataset.path)
    if not deny_list.video_keys:
        return
    count = 0
    with pq.ParquetFile(report.path) as rows:
        for batch in rows.iter_batches(columns=["kept", "platform", "video_id"]):
            kept = pa.Table.from_batches([batch]).filter(pc.field("kept"))
            count += sum(
                deny_list.refuses(video_key(platform, video_id))
                for platform, video_id in zip(kept["platform"].to_pylist(), kept["video_id"].to_pylist(), strict=True)
            )
    if count:
        raise ArgumentError(
            f"selection {report.name!r} names {count:,} clips of videos that were taken down since; "
            "run `foundsound select` again"
        )


def of_generation(dataset: Dataset, name: str) -> Origin:
    """A generation of shards as something to export.

    Raises:
        ArgumentError: There is no such generation.
        DatasetError: It is damaged.
    """
    root = dataset.root("shards")
    folder = root / plain_name(name, "generation")
    if not folder.exists(INDEX_FILE):
        known = ", ".join(generations(root)) or "none"
        raise ArgumentError(f"{dataset.path} has no generation {name!r} (generations: {known}); run `foundsound pack`")
    shards = Shards.open(folder)
    if len(shards) == 0:
        raise ArgumentError(f"generation {name!r} holds no clip, so there is nothing to export")
    split = str(shards.about(0)["split"])
    return Origin(
        kind="generation",
        name=name,
        split=split,
        clips=len(shards),
        sha256=shards.index.selection_sha256,
        report=_packed_from(dataset, shards.index.selection, shards.index.selection_sha256),
        read=lambda: _packed(shards, split),
    )


def _packed_from(dataset: Dataset, selection: str, sha256: str) -> SelectionReport | None:
    """The report of the selection that was packed, unless another one has its name by now."""
    try:
        report = read_report(dataset, selection)
    except ArgumentError:
        return None
    return report if report.sha256 == sha256 else None


def _selected(dataset: Dataset, report: SelectionReport) -> Iterator[ExportClip]:
    media, root = dataset.media, dataset.root("media")

    def stored(sha256: str, suffix: str) -> Media:
        file = media.open_path(sha256, suffix) if root.is_local else None
        place = str(file or root / media_name(sha256, suffix))
        return Media(sha256=sha256, suffix=suffix, place=place, file=file, content=lambda: media.read(sha256, suffix))

    with pq.ParquetFile(report.path) as rows:
        for batch in rows.iter_batches(batch_size=BATCH_ROWS):
            kept = pa.Table.from_batches([batch]).filter(pc.field("kept"))
            for row in kept.to_pylist():
                span = {"start_s": row["start_ms"] / 1000, "duration_s": row["duration_ms"] / 1000}
                picture = stored(row["video_sha256"], ".mp4") if row["video_sha256"] else None
                yield _clip({**row, **span}, stored(row["audio_sha256"], ".flac"), picture)


def _packed(shards: Shards, split: str) -> Iterator[ExportClip]:
    def member(number: int, name: str, sha256: str) -> Media:
        read = shards.read
        return Media(
            sha256=sha256, suffix=f".{name}", place=None, file=None, content=lambda: read(number, (name,))[name]
        )

    for number in range(len(shards)):
        about = shards.about(number)
        if about["split"] != split:
            raise DatasetError(f"{shards.root} mixes the splits {split} and {about['split']}; pack it again")
        sums: Mapping[str, str] = about["sha256"]
        picture = member(number, "mp4", sums["mp4"]) if "mp4" in sums else None
        given = {**about, "url": about["provenance"]["url"], "lists": about["provenance"]["lists"]}
        yield _clip(given, member(number, "flac", sums["flac"]), picture)


def _clip(row: Row, sound: Media, picture: Media | None) -> ExportClip:
    texts: dict[str, Any] = {
        name: tuple(row[name] or ()) for name in ("labels", "captions", "caption_sources", "lists")
    }
    plain = ("clip_id", "platform", "video_id", "url", "start_s", "duration_s", "sample_rate_hz", "licence")
    return ExportClip(**{name: row[name] for name in plain}, **texts, sound=sound, picture=picture)
