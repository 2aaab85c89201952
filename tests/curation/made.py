"""A small dataset whose facts are written directly, with real tiny sounds and pictures of known content."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pyarrow as pa
import soundfile

from curation import keys
from curation.dataset import Dataset
from curation.errors import ClipError, Code
from curation.facts import fact_row
from curation.keys import short_hash
from curation.schema import column, table
from curation.stage import Outcome, Stage

RATE_HZ = 8_000

State = Code | str | None
"""`done`, a code, or None where a stage has not come to the clip."""


class MadeFetch(Stage):
    NAME, VERSION, GRAIN = "fetch", 1, "video"
    RESULTS: ClassVar[pa.Schema] = table(
        "",
        column("licence", pa.string(), ""),
        column("duration_s", pa.float64(), ""),
        column("original_sha256", pa.string(), ""),
    )

    def requests(self) -> str:
        return "SELECT video_key AS key, video_key AS input FROM videos"


class MadeCut(Stage):
    NAME, VERSION, GRAIN = "cut", 1, "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "",
        column("audio_sha256", pa.string(), ""),
        column("video_sha256", pa.string(), ""),
        column("sample_rate_hz", pa.int32(), ""),
    )

    def requests(self) -> str:
        return "SELECT clip_id AS key, video_key AS input FROM clips"


class MadeMeasure(Stage):
    NAME, VERSION, GRAIN = "measure", 1, "clip"
    RESULTS: ClassVar[pa.Schema] = table(
        "",
        column("loudness_lufs", pa.float64(), ""),
        column("bandwidth_hz", pa.float64(), ""),
        column("sample_rate_hz", pa.int32(), ""),
        column("clipping_ratio", pa.float64(), ""),
        column("duration_s", pa.float64(), ""),
        column("pcm_sha256", pa.string(), ""),
    )

    def requests(self) -> str:
        return "SELECT key, audio_sha256 AS input FROM cut WHERE state = 'done'"


def made_flac(seed: int) -> tuple[bytes, str]:
    """0.1 s of noise as FLAC, and a hash of its samples."""
    samples = np.random.default_rng([7, seed]).integers(-1000, 1000, size=(800, 1), dtype=np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="FLAC", subtype="PCM_16")
    return file.getvalue(), short_hash(samples.tolist(), 64)


def made_mp4(seed: int) -> bytes:
    """Three frames of 16 x 16 px."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for n in range(3):
            pixels = np.full((16, 16, 3), (seed * 37 + n) % 256, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


@dataclass
class Made:
    """Rows are gathered by `clip()` and written by `dataset()`."""

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    def clip(
        self,
        video_id: str,
        start_ms: int = 0,
        *,
        duration_ms: int = 10_000,
        sound: int | None = None,
        picture: bool = False,
        fetch: State = "done",
        cut: State = "done",
        measure: State = "done",
        loudness_lufs: float | None = -20.0,
        said: Sequence[dict[str, Any]] = ({},),
    ) -> str:
        """One clip, its sound made from a seed (its own unless given), with annotations. Returns its clip_id."""
        clip_id = keys.clip_id("youtube", video_id, start_ms, duration_ms)
        span = {"video_id": video_id, "start_ms": start_ms, "duration_ms": duration_ms, "clip_id": clip_id}
        states = {"fetch": fetch, "cut": cut, "measure": measure}
        content = {"sound": 100 + len(self.rows) if sound is None else sound, "picture": picture, "said": said}
        self.rows.append({**span, **states, **content, "loudness_lufs": loudness_lufs})
        return clip_id

    def dataset(self, name: str = "dataset", *, reverse: bool = False) -> Dataset:
        """Write everything into a new dataset, optionally in reverse order."""
        dataset = Dataset.create(self.folder / name)
        dataset.set_config(sources=[{"list": source, "rows": 0, "rejected": 0} for source in ("listed", "other")])
        rows = self.rows[::-1] if reverse else self.rows
        keyed = [(row, keys.video_key("youtube", row["video_id"])) for row in rows]
        span = ("clip_id", "start_ms", "duration_ms")
        dataset.append(
            "videos", [{"video_key": key, "platform": "youtube", "video_id": row["video_id"]} for row, key in keyed]
        )
        dataset.append(
            "clips",
            [
                {"video_key": key, "origin": "list" if row["said"] else "segment", **{name: row[name] for name in span}}
                for row, key in keyed
            ],
        )
        dataset.append("annotations", [said for row, key in keyed for said in self._said(row, key)])
        fetched, cut, measured = [], [], []
        for row, key in keyed:
            flac, pcm_sha256 = made_flac(row["sound"])
            audio_sha256 = self._put(dataset, flac, ".flac")
            video_sha256 = self._put(dataset, made_mp4(row["sound"]), ".mp4") if row["picture"] else None
            files = {"audio_sha256": audio_sha256, "video_sha256": video_sha256, "sample_rate_hz": RATE_HZ}
            levels = {"loudness_lufs": row["loudness_lufs"], "pcm_sha256": pcm_sha256}
            answer = {"licence": "CC BY 4.0", "duration_s": 10.0, "original_sha256": "original"}
            fetched.append((key, row["fetch"], answer, "original"))
            cut.append((row["clip_id"], row["cut"], files, "original"))
            measured.append((row["clip_id"], row["measure"], levels, audio_sha256))
        write_facts(dataset, MadeFetch(), fetched)
        write_facts(dataset, MadeCut(), cut)
        write_facts(dataset, MadeMeasure(), measured)
        return dataset

    def _said(self, row: dict[str, Any], video_key: str) -> list[dict[str, Any]]:
        """The annotations of a clip; `line` does not depend on the order of writing."""
        line = 100 * self.rows.index(row)
        given = [{"grain": "clip", "list": "listed", "line": line + n, **said} for n, said in enumerate(row["said"])]
        return [{"key": video_key if said["grain"] == "video" else row["clip_id"], **said} for said in given]

    def _put(self, dataset: Dataset, content: bytes, suffix: str) -> str:
        file = self.folder / f"media{suffix}"
        file.write_bytes(content)
        return dataset.media.put(file, suffix)


def write_facts(dataset: Dataset, stage: Stage, answers: Sequence[tuple[str, State, dict[str, Any], str]]) -> None:
    """Let a stage have run: (key, state, values, hash of what was read); a state of None gives no row."""
    facts = dataset.facts(stage)
    facts.make_current(stage)
    rows = []
    for key, state, values, input_hash in answers:
        error = ClipError(state, "made so") if isinstance(state, Code) else None
        outcome = Outcome(key=key, values={} if error else values, error=error)
        if state is not None:
            rows.append(fact_row(outcome, input_hash=input_hash, attempt=1, seconds=0.0))
    facts.append(rows)
