"""Broken and unusual files of other projects: each is cut and measured, or set aside with a code; nothing crashes."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from curation.cut import Cut
from curation.errors import ClipError, Code
from curation.measure import Measure
from curation.media import MediaStore

CODES_BY_KIND = {
    "zero_bytes": {Code.EMPTY},
    "exc": {None, Code.UNREADABLE},
    "unprobeable": {Code.UNREADABLE, Code.TRUNCATED},
    "decode_error": {Code.UNREADABLE, Code.TRUNCATED, Code.EMPTY},
    "empty_audio": {Code.EMPTY},
    "no_audio": {Code.NO_AUDIO},
    "ok": {None},
}
"""What may become of a file, by the kind that `odd.csv` gives it; None: it is cut and measured."""

REFUSED_ALL_THE_SAME = {"91__file-type__fixture.s3m": Code.UNREADABLE}
"""A tracker module is a programme for a synthesiser; its format is not on the list."""


def outcome(path: Path, stage: Cut, scratch: Path) -> Code | None:
    try:
        cut = stage.cut(path, {"start_ms": 0, "duration_ms": None}, scratch)
    except ClipError as error:
        assert error.detail and str(path.parent) not in error.detail
        return error.code
    values = Measure(media=stage.media).measure(cut)
    assert values["duration_s"] == pytest.approx(cut["samples"] / 48_000)
    return None


@pytest.mark.slow
def test_every_odd_file_ends_as_its_kind_says(real_data, tmp_path):
    rows = list(csv.DictReader((real_data / "media" / "odd.csv").open()))
    stage = Cut(media=MediaStore(root=tmp_path / "media"), timeout_s=60.0)
    found = {row["file"]: outcome(real_data / "media" / "odd" / row["file"], stage, tmp_path) for row in rows}
    for row in rows:
        allowed = {REFUSED_ALL_THE_SAME.get(row["file"])} if row["file"] in REFUSED_ALL_THE_SAME else None
        assert found[row["file"]] in (allowed or CODES_BY_KIND[row["kind"]]), (row, found[row["file"]])
    counts = Counter(found.values())
    assert sum(counts.values()) == len(rows) and counts[None] >= 17
