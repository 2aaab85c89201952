"""Lines of a list that are surely understood, taken a block at a time; all others go to the list's own reader.

A reader makes Python objects of every line, some 60 microseconds each (measured). Of a list of millions of lines nearly
all have one plain form, for which the reader's answer is known: the pattern of its kind says which, and it matches no
line that the reader would reject or read otherwise; a test compares the two.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.lists.listfile import ListFile

YOUTUBE_ID = r"(?P<video_id>[A-Za-z0-9_-]{11})"
PLAIN_SECONDS = r"(?P<start_s>[0-9]{1,6})"
FINE_START = r"(?P<start_s>[0-9]{1,6})(?:[.](?P<start_ms>[0-9]{1,3}))?"
FINE_DURATION = r"(?P<duration_s>[1-9][0-9]{0,5})(?:[.](?P<duration_ms>[0-9]{1,3}))?"
"""Seconds with up to three decimals; durations of 1 s and more."""

SPLIT = r"(?P<split>train|val|test)"
BARE_LABEL = r'(?P<bare>[^",\[\pZ\pC](?:[^",\pC]*[^",\pZ\pC])?)'
"""A label without quotes that no JSON begins with."""

LABEL_CELL = r'(?:(?P<bare>[^",\pZ\pC](?:[^",\pC]*[^",\pZ\pC])?)|"(?P<in_quotes>[^",\pZ\pC](?:[^"\pC]*[^",\pZ\pC])?)")'
"""A label without quotes, or in quotes without a quote in it; no blanks at its ends, no control characters."""

MAX_LINE_BYTES = 10_000
"""Longer lines go to the reader, which knows what is too long."""

SURE = pa.schema(
    [
        ("line", pa.int64()),
        ("video_id", pa.string()),
        ("start_ms", pa.int64()),
        ("duration_ms", pa.int64()),
        ("split", pa.string()),
        ("label", pa.string()),
    ]
)
"""What is known of a sure line: a row of `youtube`; without `start_ms` it names a whole video, without `label` none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SureLines:
    """The plain form of the lines of one kind of list.

    Args:
        pattern: RE2 pattern of the line without its end; its groups are those above. Without `start_s` a line names a
            whole video.
        clip_ms: Length of the clip that a line names, ms; None where the line itself says it, or names no clip.
    """

    pattern: str
    clip_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Sieve:
    """Takes the sure lines out of blocks of lines.

    Args:
        sure: Which lines they are.
        split: Split of every row, for lists that do not say it themselves.
        take: Is given the rows of a block that are taken, with the columns of `SURE`.
    """

    sure: SureLines
    split: str | None
    take: Callable[[pa.Table], None]

    def sift(self, block: bytes, lines_before: int) -> tuple[int, list[tuple[int, bytes]]] | None:
        """Take the sure lines of a block.

        Args:
            block: Whole lines of a file.
            lines_before: How many lines lie before it.

        Returns:
            How many lines the block has, and of those that were not taken the number, counted from 1, and the bytes
            with the line's end. None for a block that is not UTF-8; nothing of it is taken.
        """
        starts = _line_starts(block)
        texts = pa.Array.from_buffers(pa.string(), len(starts) - 1, [None, pa.py_buffer(starts), pa.py_buffer(block)])
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            return None
        found = pc.extract_regex(texts, rf"\A{self.sure.pattern}\r?\n?\z")
        is_sure = pc.and_(pc.is_valid(found), pc.less_equal(pc.binary_length(texts), MAX_LINE_BYTES))
        rest = np.flatnonzero(~np.asarray(is_sure))
        numbers = pa.array(np.arange(lines_before + 1, lines_before + len(starts), dtype=np.int64))
        if len(rest) < len(texts):
            self.take(self._rows(found.filter(is_sure), numbers.filter(is_sure)))
        return len(texts), [(lines_before + int(n) + 1, block[starts[n] : starts[n + 1]]) for n in rest]

    def _rows(self, found: pa.StructArray, numbers: pa.Array) -> pa.Table:
        groups = {field.name: found.field(n) for n, field in enumerate(found.type)}
        count = len(found)
        columns = {"line": numbers, "video_id": groups["video_id"]}
        if "start_s" in groups:
            columns["start_ms"] = _milliseconds(groups, "start")
            fixed = pa.repeat(pa.scalar(self.sure.clip_ms, pa.int64()), count)
            columns["duration_ms"] = fixed if self.sure.clip_ms is not None else _milliseconds(groups, "duration")
        columns["split"] = groups.get("split", pa.repeat(pa.scalar(self.split, pa.string()), count))
        if "bare" in groups:
            quoted = groups.get("in_quotes", groups["bare"])
            columns["label"] = pc.if_else(pc.equal(groups["bare"], ""), quoted, groups["bare"])
        values = [columns[field.name] if field.name in columns else pa.nulls(count, field.type) for field in SURE]
        return pa.table(values, schema=SURE)


def _milliseconds(groups: dict[str, pa.Array], name: str) -> pa.Array:
    """Whole seconds and the digits behind the point, where the pattern has them, as ms."""
    whole = pc.multiply(groups[f"{name}_s"].cast(pa.int64()), 1000)
    digits = groups.get(f"{name}_ms")
    return whole if digits is None else pc.add(whole, pc.utf8_rpad(digits, 3, "0").cast(pa.int64()))


def sifted(file: ListFile, sure: SureLines, take: Callable[[pa.Table], None]) -> ListFile:
    """The same list for its reader, who then sees only the lines that are not taken."""
    return replace(file, sieve=Sieve(sure, file.split, take))


def _line_starts(block: bytes) -> np.ndarray:
    """Offsets at which lines begin, and the length of the block, int32."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    last = [] if block.endswith(b"\n") else [len(block)]
    return np.concatenate([[0], ends, last]).astype(np.int32)
