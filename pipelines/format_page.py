"""Writes `docs/format.md` from the code: every table, column, code and unit of a dataset.

python -m pipelines.format_page > docs/format.md
"""

import pyarrow as pa

from captioning.caption import Caption
from captioning.score import Score
from curation.agree import Agree
from curation.cut import Cut
from curation.download.pace import EGRESS
from curation.duplicates.chromaprint import Print
from curation.duplicates.found import DUPLICATES
from curation.encode import Encode
from curation.encode_frames import EncodeFrames
from curation.encode_pictures import EncodePictures
from curation.encode_sound import EncodeSound
from curation.encode_text import EncodeText
from curation.errors import CODES, MAX_ATTEMPTS
from curation.fetch import Fetch
from curation.guards.guard import GUARD
from curation.guards.guarded_sounds import GUARD_SOUNDS
from curation.measure import Measure
from curation.schema import FACT_COLUMNS, SCHEMA_VERSION, TABLES
from curation.segment import Segment
from curation.selections.selection import REASONS, SELECTION
from curation.stage import Stage
from curation.tag import Tag
from curation.takedowns.deny import DENY
from retrieval_index.embed import Embed
from retrieval_index.embed_text import EmbedText
from retrieval_index.neighbours import NEIGHBOURS, STORE

STAGES: tuple[type[Stage], ...] = (
    Fetch,
    Segment,
    Cut,
    Measure,
    Tag,
    Print,
    Agree,
    Caption,
    Score,
    Embed,
    EmbedText,
    Encode,
    EncodeText,
    EncodeSound,
    EncodeFrames,
    EncodePictures,
)
"""Every stage there is, in the order of the data's way."""

HEAD = f"""# The format of a dataset

This page is made from the code by `python -m pipelines.format_page`; a test compares the two. Schema version
{SCHEMA_VERSION}. All tables are Parquet (zstd), all text UTF-8, all spans whole milliseconds.

```
my_dataset/
  dataset.json                    schema version, ingested lists with their sha256, counts and licence notes
  videos/part-*.parquet           one row a video (what is fetched)
  clips/part-*.parquet            one row a clip (a span of a video)
  annotations/part-*.parquet      one row per (clip or video, list, line)
  rejects/part-*.parquet          lines of lists that could not be understood
  facts/<stage>/<label>-<hash8>/  one row an attempt, and identity.json, requests.sql
  facts/egress/part-*.parquet     budgets and pauses of the ways out
  deny/part-*.parquet             what was taken down, and is never taken in again
  facts/<stage>/current.json      which identity the view of the stage shows, for each label
  media/ab/<sha256>.flac|.mp4     cut sounds and pictures, named by their content
  vectors/ latents/               append-only blobs of raw little-endian numbers; the facts say where
  duplicates/<name>.parquet|.json groups of the same sound, as `dedupe` found them
  guards/<name>.parquet           registered evaluation lists; guards/sounds/<name>.parquet their sounds
  selections/<name>.parquet|.json what is in, and for every other clip why not
  shards/<generation>/            000000.tar, 000000.arrow, ..., index.json
  indexes/<name>/                 vectors-<sum>.faiss, rows-<sum>.arrow, clips-<sum>.parquet, index.json
  neighbours/<name>/              the nearest clips of every caption, and among which they were looked for
  codecs/ runs/ reports/ locks/
```

`part-0-schema.parquet` in a table's folder has no rows, only the schema. A part appears whole, under its name, or not
at all; files whose names begin with `.writing-` are not finished and no reader looks at them. Rows may appear twice
(after a kill between two commits): readers take one row per key. `part-*-settled-*` holds most of a table that was
compacted, each key once; its metadata `foundsound.replaces` names parts that need not be read and may still lie there.
Readers that do not know it take one row per key, as before.

A row of facts is *final* when it is done, when its code is final, or after {MAX_ATTEMPTS} attempts. What has no final
row for its (key, input, identity) is pending; running the same command again does exactly that.
"""


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _rows(fields: list[pa.Field]) -> list[str]:
    lines = ["| column | type | meaning |", "|---|---|---|"]
    for entry in fields:
        meaning = _text((entry.metadata or {})[b"meaning"])
        lines.append(f"| `{entry.name}` | {entry.type} | {meaning} |")
    return lines


def _section(title: str, schema: pa.Schema) -> list[str]:
    return [f"### {title}", "", _text((schema.metadata or {})[b"meaning"]), "", *_rows(list(schema)), ""]


def page() -> str:
    """The whole page as Markdown."""
    lines = [HEAD, "## Tables", ""]
    for name, schema in {**TABLES, "deny": DENY, "facts/egress": EGRESS}.items():
        lines += _section(name, schema)
    lines += ["## Facts", "", "Every fact table begins with these columns:", "", *_rows(list(FACT_COLUMNS)), ""]
    lines += [
        "The SQL view of a stage adds `label` (the variant) and `state` (`done`, `set_aside` or `pending`), and shows",
        "the latest row of each key. What follows are the results of each stage.",
        "",
    ]
    for stage in STAGES:
        lines += _section(f"{stage.NAME} (key: {stage.GRAIN}, version {stage.VERSION})", stage.RESULTS)
    lines += ["## Guards, duplicates and selections", "", *_section("guards", GUARD)]
    lines += [*_section("guards/sounds", GUARD_SOUNDS), *_section("duplicates", DUPLICATES)]
    lines += [*_section("selections", SELECTION), *_section("neighbours", NEIGHBOURS)]
    lines += _section("neighbours: the store", STORE)
    lines += ["Reasons of a selection, beside the codes below:", "", "| reason | meaning |", "|---|---|"]
    lines += [f"| `{reason.value}` | {meaning} |" for reason, meaning in REASONS.items()]
    lines += ["", "## Codes", "", "| code | tried again | meaning |", "|---|---|---|"]
    for code, (final, meaning) in CODES.items():
        lines.append(f"| `{code.value}` | {'no' if final else f'up to {MAX_ATTEMPTS} times'} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
