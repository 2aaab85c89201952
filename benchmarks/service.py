"""Text queries a second through the service with 32 clients, against the same index and CLAP asked in one process.

The CLAP has the size of published ones where it matters here, the text tower (12 layers of 768), and random weights.
`unbatched` is the service with batches of one: what batches across requests are worth. `crowd` is one client, that asks
for what sounds like a clip, while ten times as many connections as are allowed are held or asked for again each second,
beside the same client alone.

    python -m benchmarks.service [--requests 20000] [--windows 100000] [--layers 12]
"""

import argparse
import asyncio
import http.client
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import Measured
from benchmarks.search import made_rows
from curation.dataset import Dataset
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from pipelines.wiring.embedders import ClapEmbedder, load_clap
from retrieval_index import Index
from retrieval_index.service.access import Access
from retrieval_index.service.app import Service
from retrieval_index.service.batcher import Batcher
from retrieval_index.service.catalogue import Catalogue, Clip
from retrieval_index.service.collection import Collection, Snapshot
from retrieval_index.service.columns import Columns
from retrieval_index.service.limits import Limits
from retrieval_index.service.server import begin, listening, server_of
from retrieval_index.service.sharing import SharedIndex, shared

CLIENTS, K = 32, 10
WORDS = ("rain", "wind", "dog", "bell", "engine", "water", "bird", "crowd", "door", "piano", "metal", "wood", "glass")
CROWDED = Limits(connections=48)
CROWD, CROWD_S, ALONE = 10 * CROWDED.connections, 12.0, 300
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


async def _one_of_crowd(port: int, until: float, seen: Counter[bytes]) -> None:
    """A client that holds its connection, and comes again a second later where it gets none."""
    while time.monotonic() < until:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        try:
            status = (await reader.readuntil(b"\r\n\r\n"))[9:12]
        except (asyncio.IncompleteReadError, ConnectionError):  # it came too late with its question
            status = b"cut"
        seen[status] += 1
        await asyncio.sleep(1 if status != b"200" else max(until - time.monotonic(), 0))
        writer.close()


def crowd(port: int) -> dict[bytes, int]:
    """Answers to a crowd by status; run in a process of its own."""

    async def run() -> dict[bytes, int]:
        seen: Counter[bytes] = Counter()
        until = time.monotonic() + CROWD_S
        await asyncio.gather(*(_one_of_crowd(port, until, seen) for _ in range(CROWD)))
        return dict(seen)

    return asyncio.run(run())


def like_clips(connection: http.client.HTTPConnection, clips: int) -> list[float]:
    """Seconds of each of `ALONE` questions for what is like a clip."""
    taken = []
    for number in range(ALONE):
        begun = time.perf_counter()
        asked = json.dumps({"clip": str(number % clips), "k": K})
        connection.request("POST", "/api/search", asked, {"content-type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200 or not answer.read():
            raise RuntimeError(f"the service answered {answer.status}")
        taken.append(time.perf_counter() - begun)
    return taken


@contextmanager
def serving(service: Service) -> Iterator[tuple[int, ProcessPoolExecutor]]:
    """The port of a service that runs in a thread, and processes to ask it from."""
    with listening("127.0.0.1", 0) as bound:
        begin(bound)
        server = server_of(service)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
                yield bound.getsockname()[1], processes
        finally:
            server.should_exit = True
            thread.join()


def serve_and_ask(service: Service, queries: list[str]) -> tuple[float, list[float], int]:
    with serving(service) as (port, processes):
        processes.submit(ask_all, port, list(queries[: 2 * CLIENTS])).result()  # warm
        return processes.submit(ask_all, port, list(queries)).result()


def serve_in_a_crowd(service: Service, clips: int) -> Measured:
    with serving(service) as (port, processes):
        processes.submit(int).result()  # the process is there
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        like_clips(connection, clips)
        alone_s = like_clips(connection, clips)
        others = processes.submit(crowd, port)
        while service.connections.refused < CROWD - CROWDED.connections:
            time.sleep(0.05)
        crowded_s = like_clips(connection, clips)
        is_over = others.done()
        seen = others.result()
        connection.close()
    alone, crowded = np.percentile(alone_s, 99), np.percentile(crowded_s, 99)
    return {
        "crowd": CROWD,
        "crowd_limit": CROWDED.connections,
        "crowd_answered": seen.get(b"200", 0),
        "crowd_refused": seen.get(b"503", 0),
        "crowd_cut_off": seen.get(b"cut", 0),
        "crowd_went_on": str(not is_over),
        "crowd_p99_ms": 1000 * float(crowded),
        "crowd_alone_p99_ms": 1000 * float(alone),
        "crowd_p99_times": float(crowded / alone),
    }


class Made:
    """An index of made vectors and a CLAP of random weights, to be served and asked."""

    def __init__(self, folder: Path, windows: int, layers: int) -> None:
        draw = np.random.default_rng(0)
        vectors_ND = draw.standard_normal((windows, SIZE.dimension), dtype=np.float32)
        vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
        rows = made_rows(windows)
        size = replace(SIZE, text_layers=layers)
        self.clap: ClapEmbedder = load_clap(str(build_tiny_clap(list(WORDS), size, seed=0).save(folder / "clap")))
        self.folder = folder / "index"
        Index.build(self.folder, vectors_ND, rows, self.clap.identity(), {}, kind="flat")
        self.dataset = Dataset.create(folder / "dataset")
        clips = rows["clip_id"].unique().to_pylist()
        self.clips = len(clips)
        Standing.catalogue = made_catalogue(clips)

    def service(self, batch: int = 64, wait_s: float = 0.002, limits: Limits | None = None) -> Service:
        """A service of it, with batches of texts of this size at most."""
        embedder, bounds = shared(self.clap), limits or Limits()
        embedder.texts.close()
        embedder.texts = Batcher(embedder._embed_texts, most=batch, wait_s=wait_s)

        def opened(dataset: Dataset) -> SharedIndex:
            return SharedIndex.open(self.folder, embedder=embedder, gpu=False)

        collection = Standing(self.dataset, opened, str, bounds)
        if batch == 1:
            collection.now.index.searches = None
        return Service(collection, embedder, access=Access(), limits=bounds)

    def in_process(self, queries: list[str], at_once: int) -> float:
        """Seconds of a query."""
        plain = Index.open(self.folder, embedder=self.clap, gpu=False)
        begun = time.perf_counter()
        for at in range(0, len(queries), at_once):
            plain.query_text(queries[at : at + at_once], K)
        return (time.perf_counter() - begun) / len(queries)


def measure(windows: int = 100_000, requests: int = 2_000, layers: int = SIZE.text_layers) -> Measured:
    queries = texts(requests)
    few = queries[: max(64, min(requests // 10, 500))]
    with tempfile.TemporaryDirectory() as name:
        made = Made(Path(name), windows, layers)
        alone_s, together_s = made.in_process(few, 1), made.in_process(few, CLIENTS)
        batched = made.service()
        all_s, taken, wrong = serve_and_ask(batched, queries)
        counted = batched._embedder.texts
        one_s, one_taken, one_wrong = serve_and_ask(made.service(1, 0.0), few)
        crowded = serve_in_a_crowd(made.service(limits=CROWDED), made.clips)
    p50, p99 = np.percentile(taken, [50, 99])
    return {
        "ratio": alone_s * requests / all_s,
        "peer": "Index.query_text, one text after the other in one process",
        "requests_a_second": requests / all_s,
        "peer_one_by_one_a_second": 1 / alone_s,
        "peer_32_at_once_a_second": 1 / together_s,
        "ratio_to_32_at_once": together_s * requests / all_s,
        "unbatched_service_a_second": len(few) / one_s,
        "batches_are_worth": (requests / all_s) / (len(few) / one_s),
        "texts_a_batch": counted.items / counted.batches,
        "p50_ms": 1000 * float(p50),
        "p99_ms": 1000 * float(p99),
        "p99_times_p50": float(p99 / p50),
        "unbatched_p99_ms": 1000 * float(np.percentile(one_taken, 99)),
        "refused": wrong + one_wrong,
        "requests": requests,
        "clients": CLIENTS,
        "windows": windows,
        "text_layers": layers,
        **crowded,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--layers", type=int, default=SIZE.text_layers)
    given = parser.parse_args()
    for key, value in measure(given.windows, given.requests, given.layers).items():
        print(key, value)
