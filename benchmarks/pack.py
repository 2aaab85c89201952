"""Bytes a second of packing a selection into shards, against GNU tar over the same media files.

Packing reads and checks the sum of every file, writes the tar, its offsets and texts, reads the tar back and syncs it.
GNU tar copies.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import Measured, best_seconds
from curation.media import MediaStore
from curation.selection import SELECTION
from curation.shards.pack import pack_shard, plan_shards
from curation.tables import rows_to_table

CLIP_BYTES = 1_500_000
"""About 10 s of 48 kHz stereo as FLAC."""


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def measure(clips: int = 64, clips_per_shard: int = 32, rounds: int = 3) -> Measured:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = MediaStore(folder / "media")
        draw = np.random.default_rng(0)
        rows = []
        for number in range(clips):
            file = folder / "sound"
            file.write_bytes(draw.bytes(CLIP_BYTES))
            span = {"start_ms": 0, "duration_ms": 10_000, "sample_rate_hz": 48_000}
            rows.append({"clip_id": f"{number:020x}", "audio_sha256": store.put(file, ".flac"), **span})
        selected = rows_to_table(rows, SELECTION)
        files = [str(store.path(row["audio_sha256"], ".flac")) for row in rows]

        def ours() -> None:
            for plan in plan_shards(fresh(folder / "shards"), store, selected, clips_per_shard):
                pack_shard(plan)

        def theirs() -> None:
            target = fresh(folder / "tars")
            for begin in range(0, clips, clips_per_shard):
                command = ["tar", "--create", "--absolute-names", "--file", str(target / f"{begin}.tar")]
                subprocess.run([*command, *files[begin : begin + clips_per_shard]], check=True)

        ours_s, theirs_s = best_seconds(ours, theirs, rounds=rounds)
    megabytes = clips * CLIP_BYTES / 1e6
    return {
        "ratio": theirs_s / ours_s,
        "peer": "GNU tar, which neither checks nor syncs",
        "megabytes_a_second": megabytes / ours_s,
        "peer_megabytes_a_second": megabytes / theirs_s,
        "megabytes": megabytes,
    }
