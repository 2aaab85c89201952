"""A small dataset of tones that is served, with an embedder of arithmetic: a text is a pitch, as `440`."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from starlette.testclient import TestClient

from curation.annotated import HUMAN_CAPTIONS
from curation.dataset import Dataset
from curation.measure import Measure
from curation.selections.selection import read_report, read_rows, select
from pipelines.runner import Job, run
from retrieval_index.embedder import Embedder
from retrieval_index.index import Index
from retrieval_index.manifest import ROWS
from retrieval_index.service.access import Access
from retrieval_index.service.app import Service
from retrieval_index.service.collection import Collection
from retrieval_index.service.limits import Limits
from retrieval_index.service.sharing import SharedIndex, shared
from tests.retrieval_index.tones import RATE_HZ, tone_dataset
from tests.retrieval_index.toy_embedder import Pitches, tone

TONES_HZ = {"low": 220, "middle": 440, "high": 880, "shrill": 1760}
CAPTIONS = {name: f"a tone at {pitch} Hz" for name, pitch in TONES_HZ.items()}
LENGTH_S = {"low": 1.0, "middle": 2.0, "high": 3.0, "shrill": 4.0}
LOCAL = "http://127.0.0.1:8765"


def make_dataset(folder: Path) -> Dataset:
    """Four tones, measured and selected, with an index `train`."""
    sounds = {name: tone(pitch, LENGTH_S[name], RATE_HZ) for name, pitch in TONES_HZ.items()}
    dataset = tone_dataset(folder, sounds, CAPTIONS)
    stage = Measure(media=dataset.media)
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=8, workers=0))
    select(dataset, name="train")
    build_index(dataset)
    return dataset


def build_index(dataset: Dataset, without: frozenset[str] = frozenset()) -> None:
    """The index of the selection `train`, one window a clip, without some clips."""
    import pyarrow as pa

    embedder = Pitches()
    kept = [row for row in read_rows(dataset, "train", kept_only=True).to_pylist() if row["clip_id"] not in without]
    rows, vectors = [], []
    for row in kept:
        wave_T, _ = soundfile.read(dataset.media.path(row["audio_sha256"], ".flac"), dtype="float32")
        vectors.append(embedder.embed_sound(wave_T[None, : 2 * RATE_HZ])[0])
        end_s = min(len(wave_T) / RATE_HZ, 2.0)
        told = {"clip_id": row["clip_id"], "caption": row["captions"][0], "audio_sha256": row["audio_sha256"]}
        rows.append({**told, "start_s": 0.0, "end_s": end_s})
    source = {"selection": "train", "selection_sha256": read_report(dataset, "train").sha256, "vectors": "clap"}
    table = pa.Table.from_pylist(rows, schema=ROWS)
    Index.build(dataset.folder("indexes") / "train", np.stack(vectors), table, embedder.identity(), source, kind="flat")


def make_service(
    dataset: Dataset, limits: Limits | None = None, embedder: Embedder | None = None, **options: Any
) -> Service:
    """A service of it; `access` and `may_select` as for `Service`."""
    embedder = shared(embedder or Pitches())

    def opened(dataset: Dataset) -> SharedIndex:
        return SharedIndex.open(dataset.folder("indexes") / "train", embedder=embedder)

    bounds = limits or Limits()
    collection = Collection(dataset, opened, lambda: HUMAN_CAPTIONS, bounds)
    access = options.pop("access", Access())
    return Service(collection, embedder, access=access, limits=bounds, **options)


def client_of(service: Service, address: str = LOCAL, **options: Any) -> TestClient:
    """A client that asks it without a network."""
    return TestClient(service.app, base_url=address, raise_server_exceptions=False, **options)


def wav(wave_T: np.ndarray, rate_hz: int = RATE_HZ, subtype: str = "PCM_16") -> bytes:
    """A WAV file."""
    written = io.BytesIO()
    soundfile.write(written, wave_T, rate_hz, format="WAV", subtype=subtype)
    return written.getvalue()


def archive() -> bytes:
    """A zip file, which is no sound."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as zipped:
        zipped.writestr("sound.wav", wav(tone(440, 0.1, RATE_HZ)))
    return written.getvalue()
