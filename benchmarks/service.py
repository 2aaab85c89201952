"""Text queries a second through the service with 32 clients, against the same index and CLAP asked in one process.

The CLAP has the size of published ones where it matters here, the text tower (12 layers of 768), and random weights.
`unbatched` is the service with batches of one: what batches across requests are worth.
"""

import asyncio
import socket
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
from uvicorn import Server

from benchmarks import Measured
from benchmarks.search import made_rows
from curation.dataset import Dataset
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from pipelines.wiring.embedders import load_clap
from retrieval_index import Index
from retrieval_index.service.access import Access
from retrieval_index.service.app import Service
from retrieval_index.service.batcher import Batcher
from retrieval_index.service.catalogue import Catalogue, Clip
from retrieval_index.service.collection import Collection, Snapshot
from retrieval_index.service.columns import Columns
from retrieval_index.service.limits import Limits
from retrieval_index.service.server import begin, listening, server_config
from retrieval_index.service.sharing import SharedEmbedder, SharedIndex

CLIENTS, K = 32, 10
WORDS = ("rain", "wind", "dog", "bell", "engine", "water", "bird", "crowd", "door", "piano", "metal", "wood", "glass")
SIZE = TinyClapConfig(text_width=768, text_layers=12, dimension=512)
HEAD = b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def texts(count: int) -> list[str]:
    """Queries of four words, each another one."""
    draw = np.random.default_rng(0)
    return [f"{' '.join(draw.choice(WORDS, 4))} {number}" for number in range(count)]


def made_catalogue(clips: list[str]) -> Catalogue:
    """Clips about which as much is known as about real ones."""
    columns = {name: [""] * len(clips) for name in Clip.__slots__}
    numbers = {"start_ms": 0, "duration_ms": 10_000, "sample_rate_hz": 48_000}
    columns |= {name: [value] * len(clips) for name, value in numbers.items()}
    columns |= {name: [["rain", "wind"]] * len(clips) for name in ("labels", "captions", "caption_sources")}
    table = pa.table({**columns, "clip_id": clips})
    return Catalogue(table.sort_by("clip_id"))


class Standing(Collection):
    """A collection of made clips: there is an index, and no dataset to speak of behind it."""

    catalogue = made_catalogue([])

    def _snapshot(self) -> Snapshot:
        index = self._open(self.dataset)
        index.searches = self.searches
        return Snapshot(index, self.catalogue, Columns({}))


async def _client(port: int, queries: list[str], taken: list[float], wrong: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while queries:
        body = f'{{"text": "{queries.pop()}", "k": {K}}}'.encode()
        begun = time.perf_counter()
        writer.write(HEAD % len(body) + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        taken.append(time.perf_counter() - begun)
        if answer[9:12] != b"200":
            wrong.append(int(answer[9:12]))
    writer.close()


def ask_all(port: int, queries: list[str]) -> tuple[float, list[float], int]:
    """Seconds for all, seconds of each, and how many were refused; run in a process of its own."""

    async def run() -> tuple[float, list[float], int]:
        taken: list[float] = []
        wrong: list[int] = []
        begun = time.perf_counter()
        await asyncio.gather(*(_client(port, queries, taken, wrong) for _ in range(CLIENTS)))
        return time.perf_counter() - begun, taken, len(wrong)

    return asyncio.run(run())


def serve_and_ask(service: Service, limits: Limits, queries: list[str]) -> tuple[float, list[float], int]:
    """Serve in a thread, ask from a process."""
    bound: socket.socket = listening("127.0.0.1", 0)
    begin(bound)
    server = Server(server_config(service.app, limits))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    port = bound.getsockname()[1]
    thread.start()
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
            processes.submit(ask_all, port, list(queries[: 2 * CLIENTS])).result()  # warm
            return processes.submit(ask_all, port, list(queries)).result()
    finally:
        server.should_exit = True
        thread.join()


def measure(windows: int = 100_000, requests: int = 2_000) -> Measured:
    draw = np.random.default_rng(0)
    vectors_ND = draw.standard_normal((windows, SIZE.dimension), dtype=np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    queries, limits = texts(requests), Limits()
    with tempfile.TemporaryDirectory() as name:
        folder, rows = Path(name), made_rows(windows)
        clap = load_clap(str(build_tiny_clap(list(WORDS), SIZE, seed=0).save(folder / "clap")))
        Index.build(folder / "index", vectors_ND, rows, clap.identity(), {}, kind="flat")
        dataset = Dataset.create(folder / "dataset")
        Standing.catalogue = made_catalogue(rows["clip_id"].unique().to_pylist())
        plain = Index.open(folder / "index", embedder=clap, gpu=False)

        def service(batch: int, wait_s: float) -> Service:
            shared = SharedEmbedder(clap)
            shared.texts.close()
            shared.texts = Batcher(shared._embed_texts, most=batch, wait_s=wait_s)

            def opened(dataset: Dataset) -> SharedIndex:
                return SharedIndex.open(folder / "index", embedder=shared, gpu=False)

            collection = Standing(dataset, opened, str, limits)
            if batch == 1:
                collection.now.index.searches = None
            return Service(collection, shared, access=Access(), limits=limits)

        few = queries[: max(64, requests // 10)]
        begun = time.perf_counter()
        for text in few:
            plain.query_text([text], K)
        alone_s = (time.perf_counter() - begun) / len(few)
        begun = time.perf_counter()
        for at in range(0, len(few), CLIENTS):
            plain.query_text(few[at : at + CLIENTS], K)
        together_s = (time.perf_counter() - begun) / len(few)
        batched = service(64, 0.002)
        all_s, taken, wrong = serve_and_ask(batched, limits, queries)
        items, batches = batched._embedder.texts.items, batched._embedder.texts.batches
        one_s, one_taken, one_wrong = serve_and_ask(service(1, 0.0), limits, few)
    p50, p99 = np.percentile(taken, [50, 99])
    return {
        "ratio": alone_s * requests / all_s,
        "peer": "Index.query_text, one text after the other in one process",
        "requests_a_second": requests / all_s,
        "peer_one_by_one_a_second": 1 / alone_s,
        "peer_32_at_once_a_second": 1 / together_s,
        "unbatched_service_a_second": len(few) / one_s,
        "batches_are_worth": (requests / all_s) / (len(few) / one_s),
        "texts_a_batch": items / batches,
        "p50_ms": 1000 * float(p50),
        "p99_ms": 1000 * float(p99),
        "unbatched_p99_ms": 1000 * float(np.percentile(one_taken, 99)),
        "refused": wrong + one_wrong,
        "requests": requests,
        "clients": CLIENTS,
        "windows": windows,
    }
