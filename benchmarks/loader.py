"""Training samples a second: 10 s latents, captions and their tokens, by two threads, from a cold and a warm cache.

The peer is `fio` (Debian's package) reading records of the same size at random from the same kind of file with as many
jobs: what the disk gives. It is left out, and said so, where `fio` is not installed. Beside the ratio: samples a second
from a warm cache, which eight fast GPUs need 2,300 of, and the same with eight JPEG pictures of 224 px each. Cold means
that the bytes were seen to come from the disk, or there is no result.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import Measured
from curation.blobs import BlobReader, BlobWriter
from curation.dataset import Dataset
from curation.encode import pack_jpegs
from curation.latents import Beside, Extras, LatentClips, Lengths, Members
from curation.samples import Samples, Source
from curation.stored_conditions import TextTokens
from curation.stored_latents import StoredLatents

FRAMES, CHANNELS = 215, 64
"""Of 10 s as Oobleck has them at 44.1 kHz: 27,520 bytes in float16."""

TOKENS, TOKEN_CHANNELS = 16, 768
"""Of a caption as T5-base has them: 24,576 bytes in float16. Ours: captions of a dozen words."""

RECORD_BYTES = (FRAMES * CHANNELS + TOKENS * TOKEN_CHANNELS) * 2
CLIPS, PICTURED_CLIPS, BATCH, THREADS, TURNS = 60_000, 500, 64, 2, 3

FROM_DISK = 0.9
"""Least share of the files' bytes that a cold run has from the disk. Source: ours; the last clips fill no batch."""

LENGTHS = Lengths(latent_frames=(FRAMES,), latent_rate_hz=44_100 / 2048, frame_rate_hz=0.8)


def measure() -> Measured:
    with tempfile.TemporaryDirectory(dir=os.environ.get("FOUNDSOUND_BENCH_DISK")) as name:
        folder = Path(name)
        clips = made(folder, CLIPS, pictured=False)
        turns = [(cold_samples_a_second(clips), fio_records_a_second(folder)) for _ in range(TURNS)]
        samples = clips.opened()
        warm = max(samples_a_second(samples, batches=CLIPS // BATCH) for _ in range(TURNS))
        pictured = made(folder / "pictured", PICTURED_CLIPS, pictured=True).opened()
        with_pictures = samples_a_second(pictured, batches=PICTURED_CLIPS // BATCH)
    peers = [peer for _, peer in turns if peer is not None]
    found: Measured = {
        "ratio": statistics.median(cold / peer for cold, peer in turns if peer is not None) if peers else float("nan"),
        "peer": "fio, random reads of the same size, cold" if peers else "none: fio is not installed",
        "samples_a_second_cold": statistics.median(cold for cold, _ in turns),
        "samples_a_second_warm": warm,
        "samples_a_second_with_pictures": with_pictures,
    }
    return {**found, "peer_records_a_second": statistics.median(peers)} if peers else found


@dataclass(frozen=True, kw_only=True, slots=True)
class Clips:
    """Clips of random latents in one blob, a caption each with its tokens in another.

    Attributes:
        dataset: Their dataset.
        rows: Where the latents lie, a row a clip.
        said: Where the tokens lie, a row a clip.
        files: The two blobs.
    """

    dataset: Dataset
    rows: pa.Table
    said: pa.Table
    files: tuple[Path, Path]

    def opened(self) -> Samples:
        """Samples of all of them, whose files nobody has opened yet."""
        reader, every = BlobReader(self.dataset.root("latents")), np.arange(len(self.rows))
        members = Members(
            keys=pa.array([f"{number:016x}" for number in every]),
            texts=pa.array([[f"caption {number}"] for number in every], pa.large_list(pa.large_string())),
            transcripts=pa.array([""] * len(every), pa.large_string()),
            types=pa.array([[]] * len(every), pa.large_list(pa.large_string())),
            earlier=np.full(len(every), -1),
            wanted=every,
        )
        tokens = TextTokens(reader, self.said, every)
        found = LatentClips(members, StoredLatents(reader, self.rows), Extras(), Beside(tokens=tokens))
        return Samples([Source(dataset=self.dataset)], [found], LENGTHS)


def made(folder: Path, clips: int, *, pictured: bool) -> Clips:
    """Write clips into a folder."""
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
    files = (root.path / ref.blob, root.path / "text" / texts.blob)
    return Clips(dataset=dataset, rows=pa.Table.from_pylist(rows), said=pa.Table.from_pylist(said), files=files)


def _pictures() -> np.ndarray:
    """Eight pictures of about the detail that frames of videos have: smooth, with a little noise."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (8, 14, 14, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    return np.asarray((coarse * 0.9 + rng.integers(0, 25, coarse.shape)).astype(np.uint8))


def cold_samples_a_second(clips: Clips) -> float:
    """Rate of every clip once, from files that were dropped from the cache.

    Raises:
        RuntimeError: Part of them came from the cache all the same.
    """
    for file in clips.files:
        drop(file)
    samples, before = clips.opened(), bytes_from_disk()
    rate = samples_a_second(samples, batches=CLIPS // BATCH)
    share = (bytes_from_disk() - before) / sum(file.stat().st_size for file in clips.files)
    if share < FROM_DISK:
        raise RuntimeError(f"only {share:.0%} of the bytes came from the disk; give FOUNDSOUND_BENCH_DISK another one")
    return rate


def bytes_from_disk() -> int:
    """Bytes that this process had read from a device so far. Source: proc(5), /proc/PID/io."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("read_bytes:")))


def samples_a_second(samples: Samples, *, batches: int) -> float:
    """Rate of whole batches made by threads."""
    plan = samples.plan(batch_size=BATCH, seed=0)
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
    words += [
        "--ioengine=psync",
        "--thread",
        "--invalidate=1",
        "--group_reporting",
        "--output-format=json",
        "--randseed=1",
    ]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return float(json.loads(said)["jobs"][0]["read"]["iops"])
