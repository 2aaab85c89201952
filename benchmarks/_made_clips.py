"""Sounds to caption, real ones where FOUNDSOUND_REAL_DATA has them, and datasets of which every clip was cut."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from captioning.sound import heard
from curation.cut import Cut
from curation.dataset import Dataset
from curation.download.download import Limits
from curation.facts import fact_row
from curation.fetch import Fetch
from curation.keys import clip_id, video_key
from curation.segment import Segment
from curation.stage import Outcome, Stage

RATE_HZ = 48_000
HEARD_HZ = 16_000
STREAMINFO_END = 42
"""Where the second block of a FLAC file starts. Source: RFC 9639, sections 6 and 8.2."""

Wave = npt.NDArray[np.float32]


def real_folder() -> Path | None:
    folder = Path(os.environ.get("FOUNDSOUND_REAL_DATA", "../shared/data")) / "media" / "sounds"
    return folder if folder.is_dir() else None


def sounds_of_many_lengths(count: int) -> tuple[list[Wave], str]:
    """So many mono sounds of 1 to 30 s at 16 kHz, and whether they are `real` or `made`.

    Real ones are recordings one after the other, cut to lengths that a seed gives.
    """
    random = np.random.default_rng(0)
    lengths_s = np.clip(random.lognormal(np.log(8), 0.6, count), 1, 30)
    folder = real_folder()
    if folder is None:
        return [0.1 * random.standard_normal(round(s * HEARD_HZ)).astype(np.float32) for s in lengths_s], "made"
    lengths = [round(seconds * HEARD_HZ) for seconds in lengths_s]
    waves: list[Wave] = []
    for file in (file for name in ("captioned", "esc50") for file in sorted((folder / name).glob("*.flac"))):
        if sum(map(len, waves)) < sum(lengths):
            waves.append(heard(file, sample_rate_hz=HEARD_HZ, window_s=30.0))
    tape_T = np.concatenate(waves)
    places = zip(np.cumsum(lengths), lengths, strict=True)
    return [np.take(tape_T, np.arange(end - length, end), mode="wrap") for end, length in places], "real"


def captionable(folder: Path, clips: int, *, seconds: float, kinds: int = 16) -> Dataset:
    """A dataset of cut clips, each a stereo FLAC at 48 kHz; files of one kind differ in one comment only.

    Args:
        folder: Where to.
        clips: How many.
        seconds: Length of each, s.
        kinds: How many different sounds there are.
    """
    dataset = Dataset.create(folder)
    flacs = [_flac(folder / "sound.flac", kind, seconds) for kind in range(kinds)]
    videos = [f"video{number:06d}" for number in range(clips)]
    keys = [video_key("youtube", name) for name in videos]
    ids = [clip_id("youtube", name, 0, round(seconds * 1000)) for name in videos]
    dataset.append(
        "videos",
        [{"video_key": key, "platform": "youtube", "video_id": name} for key, name in zip(keys, videos, strict=True)],
    )
    span = {"start_ms": 0, "duration_ms": round(seconds * 1000), "origin": "list"}
    dataset.append("clips", [{"clip_id": one, "video_key": key, **span} for one, key in zip(ids, keys, strict=True)])
    dataset.add_source({"list": "made", "rows": clips, "rejected": 0})
    cutter = Cut(media=dataset.media)
    fetcher = Fetch(segment=Segment(), cut=cutter, media=dataset.media, limits=Limits())
    _have_run(dataset, fetcher, [Outcome(key=key, values={"original_sha256": key}) for key in keys])
    outcomes = []
    for number, key in enumerate(ids):
        file = folder / "sound.flac"
        file.write_bytes(_commented(flacs[number % kinds], number))
        values = {"audio_sha256": dataset.media.put(file, ".flac"), "sample_rate_hz": RATE_HZ, "channels": 2}
        outcomes.append(Outcome(key=key, values=values))
    _have_run(dataset, cutter, outcomes)
    return dataset


def _have_run(dataset: Dataset, stage: Stage, outcomes: Sequence[Outcome]) -> None:
    facts = dataset.facts(stage)
    facts.make_current(stage)
    facts.append([fact_row(one, input_hash=one.key, attempt=1, seconds=0.0) for one in outcomes])


def _flac(file: Path, kind: int, seconds: float) -> bytes:
    """Coloured noise, which FLAC keeps in about as many bytes as it does real sounds."""
    random = np.random.default_rng([1, kind])
    wave_TC = np.cumsum(random.standard_normal((round(seconds * RATE_HZ), 2)), axis=0)
    wave_TC -= np.linspace(wave_TC[0], wave_TC[-1], len(wave_TC))
    soundfile.write(file, 0.5 * wave_TC / np.abs(wave_TC).max(), RATE_HZ, subtype="PCM_16")
    return file.read_bytes()


def _commented(flac: bytes, number: int) -> bytes:
    """The same sound in other bytes: an APPLICATION block (RFC 9639, section 8.4) after the first one."""
    block = b"\x02\x00\x00\x0c" + b"made" + number.to_bytes(8, "big")
    return flac[:STREAMINFO_END] + block + flac[STREAMINFO_END:]
