"""Seconds and memory of planning the shards of millions of clips: a first generation, and one that extends it.

    python -m benchmarks.plan [--clips 6000000]

Planned are 500 clips a shard. The second selection lacks each 20,000th clip, has another caption for as many others and
a hundredth more clips: of the parent's shards a twentieth is written anew. Timed is from nothing to the rows of every
shard that is to be written; no media are read. The bound is three minutes and 4 GB.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks import Measured
from curation.selections.selection import SELECTION
from curation.shards.generation import GenerationIndex, ShardInfo
from curation.shards.layout import write_offsets
from curation.shards.plan import GenerationPlan, plan_generation
from curation.storage import Root

LIMIT_S = 180.0
CLIPS_PER_SHARD = 500


def measure(clips: int = 600_000) -> Measured:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = Root.of(folder / "shards")
        write_selection(folder / "first.parquet", "true", clips)
        write_selection(folder / "second.parquet", "n % 20000 <> 7", clips + clips // 100, changed="n % 20000 = 11")
        begun = time.perf_counter()
        with plan_generation(folder / "first.parquet", clips_per_shard=CLIPS_PER_SHARD, shards=root) as plan:
            first_s, written = timed(plan, begun)
            assert (len(plan.shards), written) == (-(-clips // CLIPS_PER_SHARD), clips)
        with plan_generation(folder / "first.parquet", clips_per_shard=CLIPS_PER_SHARD, shards=root) as plan:
            write_parent(root / "first", plan)
        begun = time.perf_counter()
        with plan_generation(
            folder / "second.parquet", clips_per_shard=CLIPS_PER_SHARD, shards=root, parent="first"
        ) as plan:
            second_s, written = timed(plan, begun)
            taken = sum(shard.taken_over is not None for shard in plan.shards)
    return {
        "ratio": LIMIT_S / max(first_s, second_s),
        "peer": f"the bound of {LIMIT_S:.0f} s, {clips:,} clips",
        "clips": clips,
        "first_s": first_s,
        "extended_s": second_s,
        "extended_shards_taken_over": taken,
        "extended_clips_written": written,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def timed(plan: GenerationPlan, begun: float) -> tuple[float, int]:
    """Hand out the rows of all shards; seconds since `begun`, and how many rows they were."""
    written = sum(rows.num_rows for _, rows in plan.written())
    return time.perf_counter() - begun, written


def write_selection(path: Path, condition: str, clips: int, changed: str = "false") -> None:
    """A selection of clips with keys, captions and sums like real ones, sorted by clip_id."""
    columns = ", ".join(
        f"{made_sql(name, changed)}::{kind_sql(SELECTION.field(name).type)} AS {name}" for name in SELECTION.names
    )
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"SET memory_limit = '2GB'; SET temp_directory = '{path.parent / 'spill'}'")
        connection.execute(
            f"""COPY (SELECT {columns} FROM
            (SELECT n, md5(n::VARCHAR) AS a, md5((n + 1000000000)::VARCHAR) AS b FROM range({clips}) AS r(n))
            WHERE {condition} ORDER BY clip_id) TO '{path}' (FORMAT parquet, COMPRESSION zstd)"""
        )


def kind_sql(kind: pa.DataType) -> str:
    return {pa.bool_(): "BOOLEAN", pa.int64(): "BIGINT", pa.string(): "VARCHAR"}.get(kind, "VARCHAR[]")


def made_sql(name: str, changed: str) -> str:
    """SQL of a made value of a column of a selection, from n, a and b."""
    caption = (
        f"'a dog barks ' || n || ' times while the rain falls' || CASE WHEN {changed} THEN ', and stops' ELSE '' END"
    )
    return {
        "clip_id": "a[:20]",
        "kept": "true",
        "split": "'train'",
        "labels": "['dog barking']",
        "captions": f"[{caption}]",
        "caption_sources": "['human:made']",
        "lists": "['made']",
        "platform": "'youtube'",
        "video_id": "b[:11]",
        "start_ms": "(n % 300) * 1000",
        "duration_ms": "10000",
        "original_sha256": "a || b",
        "audio_sha256": "b || a",
        "video_sha256": "a || a",
        "sample_rate_hz": "48000",
    }.get(name, "NULL")


def write_parent(root: Root, plan: GenerationPlan) -> None:
    """The tables of offsets and the index of a generation, without its tars."""
    root.path.mkdir(parents=True)
    shards = []
    for shard, rows in plan.written():
        pairs = zip(rows["clip_id"].to_pylist(), rows["row_hash"].to_pylist(), strict=True)
        offsets = [{"key": key, "row_hash": row_hash, "json": "x" * 700} for key, row_hash in pairs]
        arrow = root.path / f"{shard.name}.arrow"
        write_offsets(arrow, offsets, plan_sha256="", members_sha256="")
        sizes = {"tar_bytes": 0, "arrow_bytes": arrow.stat().st_size, "arrow_sha256": "", "members_sha256": ""}
        shards.append(ShardInfo(name=shard.name, clips=shard.clips, **sizes))
    index = GenerationIndex(selection="first", selection_sha256="", settings={}, parent=None, shards=tuple(shards))
    root.write("index.json", index.to_bytes())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=6_000_000)
    for key, value in measure(parser.parse_args().clips).items():
        print(key, value)
