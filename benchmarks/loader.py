"""Training samples a second: 10 s latents, captions and their tokens, by two threads, from a cold and a warm cache.

The peer is `fio` (Debian's package) reading records of the same size at random from the same kind of file with as many
jobs: what the disk gives. It is left out, and said so, where `fio` is not installed. Beside the ratio: samples a second
from a warm cache, which eight fast GPUs need 2,300 of, and the same with eight JPEG pictures of 224 px each.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import Measured
from curation.blobs import BlobReader, BlobWriter
from curation.dataset import Dataset
from curation.encode import pack_jpegs
from curation.latents import LatentClips, Lengths, Members
from curation.samples import Samples, Source
from curation.stored_conditions import TextTokens
from curation.stored_latents import StoredLatents

FRAMES, CHANNELS = 215, 64
"""Of 10 s as Oobleck has them at 44.1 kHz: 27,520 bytes in float16."""

TOKENS, TOKEN_CHANNELS = 16, 768
"""Of a caption as T5-base has them: 24,576 bytes in float16. Ours: captions of a dozen words."""

RECORD_BYTES = (FRAMES * CHANNELS + TOKENS * TOKEN_CHANNELS) * 2
CLIPS, PICTURED_CLIPS, BATCH, THREADS = 60_000, 500, 64, 2
LENGTHS = Lengths(latent_frames=(FRAMES,), latent_rate_hz=44_100 / 2048, frame_rate_hz=0.8)


def measure() -> Measured:
    with tempfile.TemporaryDirectory(dir=os.environ.get("FOUNDSOUND_BENCH_DISK")) as name:
        folder = Path(name)
        samples, files = made(folder, CLIPS, pictured=False)
        cold = samples_a_second(samples, files, batches=CLIPS // BATCH)
        warm = max(samples_a_second(samples, (), batches=CLIPS // BATCH) for _ in range(2))
        peer = fio_records_a_second(folder)
        pictured, _ = made(folder / "pictured", PICTURED_CLIPS, pictured=True)
        with_pictures = samples_a_second(pictured, (), batches=PICTURED_CLIPS // BATCH)
    found: Measured = {
        "ratio": cold / peer if peer is not None else float("nan"),
        "peer": "fio, random reads of the same size, cold" if peer is not None else "none: fio is not installed",
        "samples_a_second_cold": cold,
        "samples_a_second_warm": warm,
        "samples_a_second_with_pictures": with_pictures,
    }
    return found if peer is None else {**found, "peer_records_a_second": peer}


def made(folder: Path, clips: int, *, pictured: bool) -> tuple[Samples, list[Path]]:
    """Clips of random latents in one blob, a caption each with its tokens in another, and the blobs' files."""
    dataset = Dataset.create(folder / "dataset")
    root = dataset.root("latents")
    rng = np.random.default_rng(0)
    kind = np.iinfo(np.uint16).max // 4  # bits of float16 numbers below 1
    rows: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    with BlobWriter(root) as writer, BlobWriter(root / "text") as texts:
        jpegs = pack_jpegs(_pictures()) if pictured else None
        for _ in range(clips):
            latents = rng.integers(0, kind, (FRAMES, CHANNELS), np.uint16).view(np.float16)
            ref = writer.append(latents)
            place_of_text = texts.append(latents.ravel()[: TOKENS * TOKEN_CHANNELS].reshape(TOKENS, TOKEN_CHANNELS))
            said.append({"blob": f"text/{place_of_text.blob}", "tokens_offset_bytes": place_of_text.offset_bytes})
            said[-1] |= {"tokens": TOKENS, "token_channels": TOKEN_CHANNELS}
            row: dict[str, Any] = {"blob": ref.blob}
            row |= {"latents_offset_bytes": ref.offset_bytes, "latent_frames": FRAMES, "latent_channels": CHANNELS}
            row |= {"frames": 0, "frames_offset_bytes": None, "frames_size_bytes": None, "frame_size_px": 224}
            if jpegs is not None:
                place = writer.append(jpegs).offset_bytes
                row |= {"frames": 8, "frames_offset_bytes": place, "frames_size_bytes": len(jpegs)}
            rows.append(row)
    reader, every = BlobReader(root), np.arange(clips)
    members = Members(
        keys=pa.array([f"{number:016x}" for number in range(clips)]),
        texts=pa.array([[f"caption {number}"] for number in range(clips)], pa.large_list(pa.large_string())),
        transcripts=pa.array([""] * clips, pa.large_string()),
        earlier=np.full(clips, -1),
        wanted=every,
    )
    tokens = TextTokens(reader, pa.Table.from_pylist(said), every)
    found = LatentClips(members, StoredLatents(reader, pa.Table.from_pylist(rows)), tokens=tokens)
    files = [root.path / ref.blob, root.path / "text" / texts.blob]
    return Samples([Source(dataset=dataset)], [found], LENGTHS), files


def _pictures() -> np.ndarray:
    """Eight pictures of about the detail that frames of videos have: smooth, with a little noise."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (8, 14, 14, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    return np.asarray((coarse * 0.9 + rng.integers(0, 25, coarse.shape)).astype(np.uint8))


def samples_a_second(samples: Samples, cold: Sequence[Path], *, batches: int) -> float:
    """Rate of whole batches made by threads; `cold` are files that are dropped from the cache first."""
    plan = samples.plan(batch_size=BATCH, seed=0)
    for file in cold:
        drop(file)
    with ThreadPoolExecutor(THREADS) as threads:
        begun = time.perf_counter()
        for _ in threads.map(lambda number: samples.batch(plan, number)["latents"].shape, range(batches)):
            pass
        return batches * BATCH / (time.perf_counter() - begun)


def drop(file: Path) -> None:
    """Have the system forget what it has of a file in memory."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def fio_records_a_second(folder: Path) -> float | None:
    """Random reads of whole records a second by `fio`, cold, as many jobs as threads; None where there is no `fio`."""
    if shutil.which("fio") is None:
        return None
    words = ["fio", "--name=read", f"--filename={folder}/fio.bin", "--rw=randread", f"--bs={RECORD_BYTES}"]
    words += [f"--size={CLIPS * RECORD_BYTES}", f"--numjobs={THREADS}", f"--io_size={CLIPS // THREADS * RECORD_BYTES}"]
    words += ["--ioengine=psync", "--invalidate=1", "--group_reporting", "--output-format=json", "--randseed=1"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return float(json.loads(said)["jobs"][0]["read"]["iops"])
