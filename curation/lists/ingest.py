"""From a list's file to rows of a dataset: `videos`, `clips`, `annotations`, `rejects`, and the list's source entry.

The source entry in `dataset.json` is written last and is the commit. Annotations and rejects of a list without it are
seen by no view, and videos and clips are appended only when the whole list has been read; so a killed ingest leaves
nothing that counts, and running it again gives what an uninterrupted one gives.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.compact import compact_if_many
from curation.dataset import Dataset, quoted
from curation.errors import ArgumentError
from curation.keys import file_sha256
from curation.lists.kinds import KINDS, ListKind
from curation.lists.listfile import ListFile
from curation.lists.row import Entry
from curation.lists.sieve import sifted
from curation.lists.writer import ListWriter
from curation.lock import writer_lock
from curation.schema import VIDEOS
from curation.tables import Row, part_files, temporary_beside

BATCH_ROWS = 100_000
"""Rows that are in memory one by one, and in one part file. Source: ours; about 100 MB as Python objects."""

PART_ROWS = 983_040
"""Most rows of a part of videos or clips. Source: ours; eight row groups, some 100 MB while they are in memory."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestReport:
    """What an ingest did.

    Args:
        list: Name of the list in the dataset.
        rows: Records of the list, `accepted + rejected + denied`.
        accepted: Rows understood; each is one annotation.
        rejected: Rows set aside with their line and reason, in the table `rejects`.
        denied: Rows of videos on the deny list; nothing of them is kept.
        new_videos: Videos that no earlier list named.
        new_clips: Clips that no earlier list named.
        annotations: Rows written to `annotations`.
        already: The same file had been ingested under this name; nothing was done.
    """

    list: str
    rows: int
    accepted: int
    rejected: int
    denied: int = 0
    new_videos: int = 0
    new_clips: int = 0
    annotations: int = 0
    already: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def __str__(self) -> str:
        counts = f"{self.list}: {self.rows:,} rows, {self.accepted:,} accepted, {self.rejected:,} rejected"
        counts += f", {self.denied:,} of denied videos left out" if self.denied else ""
        if self.already:
            return f"{counts}; ingested before, nothing to do"
        return f"{counts}; {self.new_videos:,} new videos, {self.new_clips:,} new clips"


def ingest(
    dataset: Dataset,
    kind: str,
    file: str | Path,
    *,
    name: str | None = None,
    split: str | None = None,
    media_root: str | Path | None = None,
    labels_file: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> IngestReport:
    """Read a list into a dataset; the same file under the same name once only.

    Args:
        dataset: Where to.
        kind: Layout of the list, a key of `KINDS`.
        file: The list.
        name: Name of the list in the dataset; None: see `list_name`.
        split: Split of every row, for lists that do not say it themselves.
        media_root: Folder below which the `path` rows of a table lie; None: the list's own folder.
        labels_file: `class_labels_indices.csv`, for AudioSet.
        progress: Is told how many rows have been read since it was told last.

    Raises:
        ArgumentError: The file is empty, not UTF-8 or has another layout, no row of it is understood, an argument does
            not fit the kind, or the name is taken by another list. The dataset is then as it was.
        LockedError: Another process is ingesting into this dataset.
    """
    given = {"split": split, "media_root": media_root, "labels_file": labels_file}
    rules = _rules(kind, {key for key, value in given.items() if value is not None})
    source = ListFile(
        path=Path(file),
        split=split,
        media_root=Path(media_root) if media_root is not None else None,
        labels_file=Path(labels_file) if labels_file is not None else None,
    )
    name = list_name(kind, source.path, name)
    content = _content(kind, rules, source)
    with writer_lock(dataset.path / "locks" / "manifest.lock", f"the lists of {dataset.path}"):
        dataset.config = Dataset(dataset.path).config  # another process may have added a list since it was opened
        known = next((entry for entry in dataset.config["sources"] if entry["list"] == name), None)
        if known is not None:
            return _already(known, content, source.path)
        report = _read_into(dataset, name, rules, source, progress)
        dataset.add_source(
            {
                "list": name,
                **content,
                "rows": report.rows,
                "accepted": report.accepted,
                "rejected": report.rejected,
                "denied": report.denied,
                "licence": rules.licence,
                "ingested_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
    compact_if_many(dataset)
    return report


def list_name(kind: str, file: Path, name: str | None = None) -> str:
    """The name of a list in a dataset.

    Args:
        kind: Its kind.
        file: Its file.
        name: The name that is asked for. None: the file's name without suffix, in small letters; the kind stands before
            it where it is not there already, so that AudioCaps' `test.csv` is `audiocaps-test`; tables keep their own.

    Raises:
        ArgumentError: It has other characters than A-Z a-z 0-9 . _ -, or more than 64.
    """
    stem = file.stem.lower()
    made = name or (file.stem if kind == "table" else stem if stem.startswith(kind) else f"{kind}-{stem}")
    if not _NAME.fullmatch(made):
        raise ArgumentError(f"{made!r} cannot be a list's name; give up to 64 of A-Z a-z 0-9 . _ - with --name")
    return made


def _rules(kind: str, given: set[str]) -> ListKind:
    rules = KINDS.get(kind)
    if rules is None:
        raise ArgumentError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    if unfit := sorted(given - rules.takes):
        raise ArgumentError(
            f"a list of kind {kind} takes no {', '.join(unfit)}: its rows say it, or have no use for it"
        )
    return rules


def _content(kind: str, rules: ListKind, source: ListFile) -> dict[str, Any]:
    """What makes two ingests the same: the kind, the bytes of the files, and the arguments."""
    content: dict[str, Any] = {"kind": kind, "file": source.path.name, "sha256": file_sha256(source.path)}
    if source.split is not None:
        content["split"] = source.split
    if source.labels_file is not None:
        content["labels_sha256"] = file_sha256(source.labels_file)
    if "media_root" in rules.takes:
        content["root"] = str(source.root)
    return content


def _already(known: Row, content: Row, file: Path) -> IngestReport:
    """The report of a list that is there already.

    Raises:
        ArgumentError: The list of that name had another content.
    """
    compared = ("kind", "sha256", "split", "labels_sha256", "root")
    differing = [key for key in compared if known.get(key) != content.get(key)]
    if differing:
        was_and_is = "; ".join(f"{key} {known.get(key)}, now {content.get(key)}" for key in differing)
        raise ArgumentError(
            f"a list named {known['list']!r} is in the dataset already and {file} differs from it ({was_and_is}); "
            f"give another name with --name"
        )
    counts = {key: known[key] for key in ("list", "rows", "accepted", "rejected")}
    return IngestReport(**counts, denied=known.get("denied", 0), already=True)


def _read_into(
    dataset: Dataset, name: str, rules: ListKind, source: ListFile, progress: Callable[[int], None] | None
) -> IngestReport:
    """Write everything but the source entry; on an error the dataset is left as it was."""
    _discard(dataset, name)
    with ExitStack() as undo:
        undo.callback(_discard, dataset, name)
        named = temporary_beside(dataset.path / f"{name}.parquet")
        with ExitStack() as scratch:
            scratch.callback(named.unlink, missing_ok=True)
            root, segment_ms = str(source.root), rules.segment_ms
            with ListWriter(dataset, name, root=root, segment_ms=segment_ms, named=named, progress=progress) as writer:
                sure = rules.sure_in(source) if rules.sure_in else rules.sure
                seen = source if sure is None else sifted(source, sure, writer.take)
                for batch in _batches(rules.read(seen)):
                    writer.put(batch)
            rows = writer.accepted + writer.rejected + writer.denied
            if rows == 0:
                raise ArgumentError(f"{source.path} holds no rows")
            if (first := writer.first_reject) is not None and rows == writer.rejected:
                raise ArgumentError(
                    f"none of the {rows:,} rows of {source.path} can be understood as this kind of list; line "
                    f"{first.line}: {first.reason}"
                )
            _refuse_other_roots(dataset, named)
            new_videos = _append_videos(dataset, named)
            new_clips = _append_clips(dataset, named)
        undo.pop_all()
    return IngestReport(
        list=name,
        rows=rows,
        accepted=writer.accepted,
        rejected=writer.rejected,
        denied=writer.denied,
        new_videos=new_videos,
        new_clips=new_clips,
        annotations=writer.accepted,
    )


def _discard(dataset: Dataset, name: str) -> None:
    """Delete the parts that an ingest of this name left without committing; each part is of one list."""
    for table in ("annotations", "rejects"):
        for part in part_files(dataset.path / table):
            if _lists_of(part) == {name}:
                part.unlink()


def _lists_of(part: Path) -> set[str]:
    """The smallest and largest name of a list in a part, from its footer."""
    with pq.ParquetFile(part) as parquet:
        column = parquet.schema_arrow.get_field_index("list")
        groups = [parquet.metadata.row_group(n).column(column) for n in range(parquet.num_row_groups)]
        if all(group.statistics is not None and group.statistics.has_min_max for group in groups):
            return {name for group in groups for name in (group.statistics.min, group.statistics.max)}
        return set(parquet.read(columns=["list"])["list"].unique().to_pylist())


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    while batch := list(islice(entries, BATCH_ROWS)):
        yield batch


def _refuse_other_roots(dataset: Dataset, named: Path) -> None:
    """A path below another root has the same key and is another file."""
    clash = dataset.sql(
        f"""SELECT named.path, named.root, videos.root AS other FROM read_parquet({quoted(str(named))}) AS named
        JOIN videos USING (video_key) WHERE named.platform = 'file' AND named.root <> videos.root LIMIT 1"""
    ).to_pylist()
    if clash:
        path, root, other = (clash[0][key] for key in ("path", "root", "other"))
        raise ArgumentError(
            f"path {path!r} below {root} has the key of the one below {other}, which is in the dataset already; "
            f"give --media-root a folder above both, and paths relative to it"
        )


def _append_videos(dataset: Dataset, named: Path) -> int:
    """Append the videos that are new, and again those that are now to be segmented (finer); the number of new ones."""
    columns = ", ".join(
        f"any_value({name}) AS {name}" for name in VIDEOS.names if name not in ("video_key", "segment_ms")
    )
    return _append(
        dataset,
        "videos",
        f"""WITH named AS (
            SELECT video_key, {columns}, max(segment_ms) AS segment_ms FROM read_parquet({quoted(str(named))})
            GROUP BY video_key
        )
        SELECT named.*, known.video_key IS NULL AS is_new
        FROM named LEFT JOIN (SELECT video_key, segment_ms FROM videos) AS known USING (video_key)
        WHERE known.video_key IS NULL OR named.segment_ms > coalesce(known.segment_ms, -1) ORDER BY video_key""",
    )


def _append_clips(dataset: Dataset, named: Path) -> int:
    """Append the clips that are new; their number."""
    return _append(
        dataset,
        "clips",
        f"""SELECT DISTINCT clip_id, video_key, start_ms, duration_ms, NULL::VARCHAR AS prev_clip_id, 'list' AS origin,
            true AS is_new
        FROM read_parquet({quoted(str(named))}) AS named ANTI JOIN (SELECT clip_id FROM clips) USING (clip_id)
        WHERE clip_id IS NOT NULL ORDER BY clip_id""",
    )


def _append(dataset: Dataset, table: str, query: str) -> int:
    """Append the result of a query to a table, in parts of bounded size; how many of its rows `is_new`."""
    new = 0
    with dataset.connect(query) as connection:
        for batch in connection.sql(query).to_arrow_reader(PART_ROWS):
            rows = pa.Table.from_batches([batch])
            dataset.append(table, rows.drop_columns(["is_new"]))
            new += pc.sum(rows["is_new"]).as_py() or 0
    return new
