"""Bytes a second of packing a selection into shards, against GNU tar over the same media files.

Packing reads every file once, compares its sum with its name, writes the tar, its offsets and texts, and syncs it. GNU
tar copies. Both are measured with one process (or thread) and with one a core, and each with and without a sync of what
was written; the ratio is that of one against one, both without a sync, which is the hardest for packing.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from benchmarks import Measured, best_seconds
from curation.media import MediaStore
from curation.selections.selection import SELECTION
from curation.shards.write import ShardPlan, pack_shard
from curation.storage import Root
from curation.tables import rows_to_table, sync_path

CLIP_BYTES = 1_500_000
"""About 10 s of 48 kHz stereo as FLAC."""


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def at_once(work: Callable[[int], object], shards: int, workers: int) -> None:
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(work, range(shards)))


def measure(clips: int = 192, clips_per_shard: int = 32, rounds: int = 4) -> Measured:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, selected = made(folder, clips)
        files = [str(store.path(sha256, ".flac")) for sha256 in selected["audio_sha256"].to_pylist()]
        shards = clips // clips_per_shard

        def ours(workers: int, sync: bool) -> None:
            target = Root.of(fresh(folder / "shards"))

            def one(shard: int) -> None:
                rows = selected.slice(shard * clips_per_shard, clips_per_shard)
                pack_shard(ShardPlan(root=target, name=f"{shard:06d}", media=store, clips=rows))

            if sync:
                at_once(one, shards, workers)
            else:
                with patch("curation.shards.write.sync_path"):
                    at_once(one, shards, workers)

        def theirs(workers: int, sync: bool) -> None:
            target = fresh(folder / "tars")

            def one(shard: int) -> None:
                path = target / f"{shard}.tar"
                begin = shard * clips_per_shard
                command = ["tar", "--create", "--absolute-names", "--file", str(path)]
                subprocess.run([*command, *files[begin : begin + clips_per_shard]], check=True)
                if sync:
                    sync_path(path)

            at_once(one, shards, workers)

        cores = len(os.sched_getaffinity(0))
        ways = [(workers, sync) for workers in (1, cores) for sync in (False, True)]
        pairs = [(lambda f=f, w=w, s=s: f(w, s)) for w, s in ways for f in (ours, theirs)]
        seconds = best_seconds(*pairs, rounds=rounds)
    megabytes = clips * CLIP_BYTES / 1e6
    measured: Measured = {
        "ratio": seconds[1] / seconds[0],
        "peer": "GNU tar, which checks nothing; one process each, neither syncs",
        "megabytes": megabytes,
        "megabytes_a_second": megabytes / seconds[0],
        "peer_megabytes_a_second": megabytes / seconds[1],
    }
    for (workers, sync), ours_s, theirs_s in list(zip(ways, seconds[::2], seconds[1::2], strict=True))[1:]:
        what = f"{'one_a_core' if workers > 1 else 'one'}{'_synced' if sync else ''}"
        measured[f"ratio_{what}"] = theirs_s / ours_s
        measured[f"megabytes_a_second_{what}"] = megabytes / ours_s
        measured[f"peer_megabytes_a_second_{what}"] = megabytes / theirs_s
    return measured


def made(folder: Path, clips: int, clip_bytes: int = CLIP_BYTES) -> tuple[MediaStore, pa.Table]:
    """A media store with so many sounds, and the rows of a selection of all of them."""
    store = MediaStore(folder / "media")
    draw = np.random.default_rng(0)
    rows = []
    for number in range(clips):
        file = folder / "sound"
        file.write_bytes(draw.bytes(clip_bytes))
        span = {"start_ms": 0, "duration_ms": 10_000, "sample_rate_hz": 48_000}
        rows.append({"clip_id": f"{number:020x}", "audio_sha256": store.put(file, ".flac"), **span})
    return store, rows_to_table(rows, SELECTION)
