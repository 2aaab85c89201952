"""The README.md of an export: what is in it, from where, under which terms, and what was refused.

For Hugging Face it is the dataset card, whose header says which files are which split. Names, licences and conditions
come from strangers and are written as text.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.errors import CODES
from curation.exports.clip import ExportClip, Origin
from curation.exports.hf import SPLIT_NAMES
from curation.exports.target import Written
from curation.selections.selection import REASONS

LEFT_OUT = {
    "NO_CAPTION": "it has no caption, and the format needs one",
    "NOT_YOUTUBE": "its video has no YouTube id",
    "NOT_10_S": "it is not 10 s long",
    "NOT_A_WHOLE_SECOND": "it does not start at a whole second",
}
"""Why a clip of the selection has no row in the export."""

MOST = 20
"""Licences and caption sources that are listed; the rest is summed up."""

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The Hub's size categories: below so many rows. Source: https://huggingface.co/docs/hub/datasets-cards."""

LAYOUTS = {
    "hf": "Parquet files for Hugging Face `datasets`: `load_dataset(FOLDER)`. Sounds are FLAC in the column `audio`.",
    "audiox": "AudioX JSONL, one row a caption: `path, video_path, caption, type`. Paths are absolute.",
    "audioldm": "AudioLDM JSON, one row a clip: `wav` (relative to `dataset_root.json`), `caption` and `caption_2` to "
    "`caption_N`, `labels` (ids of `class_label_indices.csv`).",
    "audiocaps": "AudioCaps CSV, one row a caption: `audiocap_id,youtube_id,start_time,caption`. Sounds, where "
    "exported, are `audio/{youtube_id}_{start_time:06d}.flac`.",
}


class Markdown(str):
    """Text of our own, which may hold code in backticks; everything else is a stranger's."""

    __slots__ = ()


@dataclass(slots=True)
class Counts:
    """What is counted of the clips of one split on their way.

    Args:
        origin: Where they are from.
        written: What became of them.
        clips: How many passed.
        seconds: Their length together, s.
        captions, pictures: How many sentences and pictures they have.
        licences, sources, labels: How often each occurs.
    """

    origin: Origin
    written: Written = field(default_factory=Written)
    clips: int = 0
    seconds: float = 0.0
    captions: int = 0
    pictures: int = 0
    licences: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)

    def through(self, clips: Iterable[ExportClip]) -> Iterator[ExportClip]:
        """The same clips, counted as they pass."""
        for clip in clips:
            self.clips += 1
            self.seconds += clip.duration_s
            self.captions += len(clip.captions)
            self.pictures += clip.picture is not None
            self.licences[clip.licence or "not stated by the platform"] += 1
            self.sources.update(clip.caption_sources)
            self.labels.update(clip.labels)
            yield clip


def card(name: str, layout: str, counts: Sequence[Counts], lists: Sequence[Mapping[str, Any]], version: str) -> str:
    """The text of README.md.

    Args:
        name: The dataset's.
        layout: The format, one of `LAYOUTS`.
        counts: Of each split.
        lists: The `sources` of `dataset.json`.
        version: Of foundsound.
    """
    parts = [
        _header(counts) if layout == "hf" else "",
        f"# {_cell(name)}\n",
        f"Exported by foundsound {version}. {LAYOUTS[layout]}\n",
        "## What is in it\n",
        _table(
            ("split", "from", "clips", "rows", "hours", "captions", "with a picture", "different labels"),
            [
                (
                    one.origin.split,
                    f"{one.origin.kind} {one.origin.name}",
                    one.clips - sum(one.written.left_out.values()),
                    one.written.rows,
                    f"{one.seconds / 3600:,.2f}",
                    one.captions,
                    one.pictures,
                    len(one.labels),
                )
                for one in counts
            ],
        ),
        _left_out(counts),
        "## Where the captions are from\n",
        _table(("source", "captions"), _most(sum((one.sources for one in counts), Counter()))),
        "## Licences\n",
        "The media belong to their uploaders and the lists to their authors; these are the terms that they state, and "
        "what may be done under them is for the user to check.\n",
        _table(("list", "rows", "terms"), [(s["list"], s["rows"], s.get("licence") or "not known") for s in lists]),
        _table(("licence stated by the platform", "clips"), _most(sum((one.licences for one in counts), Counter()))),
        *(_filters(one.origin) for one in counts),
    ]
    return "\n".join(part for part in parts if part)


def _header(counts: Sequence[Counts]) -> str:
    """The card's YAML header, as the Hub and `load_dataset` read it."""
    rows = sum(one.written.rows for one in counts)
    size = next((word for below, word in SIZES if rows < below), "1M<n<10M")
    splits = [SPLIT_NAMES.get(one.origin.split, one.origin.split) for one in counts]
    files = "".join(f"  - split: {split}\n    path: data/{split}-*.parquet\n" for split in splits)
    return (
        "---\nlicense: other\ntask_categories:\n- text-to-audio\n"
        f"size_categories:\n- {size}\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"
    )


def _left_out(counts: Sequence[Counts]) -> str:
    rows = [
        (one.origin.split, Markdown(f"`{reason}`"), count, LEFT_OUT[reason])
        for one in counts
        for reason, count in sorted(one.written.left_out.items())
    ]
    if not rows:
        return ""
    return "Selected clips that this format cannot hold:\n\n" + _table(("split", "reason", "clips", "meaning"), rows)


def _filters(origin: Origin) -> str:
    """How the split was selected, and what was refused for which reason."""
    if origin.report is None:
        return f"## Filters: {origin.split}\n\nNot known: the selection was replaced since its shards were packed.\n"
    settings = json.dumps(origin.report.settings, indent=2, sort_keys=True, ensure_ascii=False)
    fence = "`" * max(3, 1 + _longest_run(settings))
    meanings = {str(key): text for key, text in REASONS.items()} | {str(key): text for key, (_, text) in CODES.items()}
    refused = sorted(origin.report.refused.items(), key=lambda item: (-item[1], item[0]))
    return "\n".join(
        [
            f"## Filters: {origin.split}\n",
            f"{fence}json\n{settings}\n{fence}\n",
            f"{origin.report.kept_clips:,} of {origin.report.clips:,} clips were kept; the others were refused:\n",
            _table(("code", "clips", "meaning"), [(code, n, Markdown(meanings.get(code, ""))) for code, n in refused]),
        ]
    )


def _longest_run(text: str) -> int:
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest


def _most(counted: Counter[str]) -> list[tuple[str, int]]:
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    rest = ordered[MOST:]
    return ordered[:MOST] + ([(f"{len(rest)} others", sum(count for _, count in rest))] if rest else [])


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "None.\n"
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(value: object) -> str:
    """A value as plain text in one cell of a Markdown table."""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Markdown):
        return value
    text = " ".join(str(value).split())
    for character in "\\`*[]|~#":
        text = text.replace(character, f"\\{character}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
