"""`foundsound serve`: the search service and its page, over an index of a dataset."""

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioning.candidates import candidates_sql, choose
from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.names import plain_name
from pipelines.scratch import scratch_folder
from pipelines.verbs.query import open_index
from pipelines.wiring.embedders import embedder_of
from retrieval_index.service.access import Access
from retrieval_index.service.app import Service
from retrieval_index.service.collection import Collection
from retrieval_index.service.limits import Limits
from retrieval_index.service.server import address_of, begin, listening, run
from retrieval_index.service.sharing import SharedIndex, shared

TOKEN = "FOUNDSOUND_TOKEN"
"""Environment variable with the token; a command line can be read by everybody on a machine."""

PORT = 8765


@dataclass(frozen=True, slots=True)
class ServeResult:
    """What was served.

    Args:
        address: Where.
        requests: How many requests were answered.
    """

    address: str
    requests: int

    def as_dict(self) -> dict[str, Any]:
        """Address and number of requests."""
        return {"address": self.address, "requests": self.requests}

    def __str__(self) -> str:
        return f"{self.address}: {self.requests:,} requests answered"


def serve(
    dataset: Path,
    /,
    *,
    index: str = "train",
    host: str = "127.0.0.1",
    port: int = PORT,
    token_file: Path | None = None,
    name: tuple[str, ...] = (),
    connections: int = Limits().connections,
    requests: int = Limits().requests,
    may_select: bool = False,
) -> ServeResult:
    """Serve the search page of a dataset, and the HTTP interface behind it, until Ctrl-C or SIGTERM.

    Args:
        dataset: Folder of the dataset.
        index: Name of the index.
        host: Address to listen on; any but a loopback one needs a token.
        port: Port to listen on; 0 takes a free one.
        token_file: File with the token that clients must send; without it the variable FOUNDSOUND_TOKEN counts.
        name: Further host name by which this machine asks itself, as behind a tunnel; again for each.
        connections: Connections at once; further ones are answered with 503.
        requests: Requests worked on at once; further ones are answered with 503.
        may_select: Let clients make selections of what they found; otherwise nothing is ever written.
    """
    if min(connections, requests) < 1:
        raise ArgumentError(f"--connections and --requests must be at least 1, not {connections} and {requests}")
    limits = Limits(connections=connections, requests=requests)
    access = Access(host=host, token=_token(token_file), names=name)
    opened = Dataset(dataset)
    folder = opened.folder("indexes") / plain_name(index, "index")
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    with scratch_folder(), listening(host, port) as bound:
        embedder = shared(embedder_of(folder))

        def open_shared(dataset: Dataset) -> SharedIndex:
            found = open_index(dataset, index, embedder=embedder, opened_as=SharedIndex)
            assert isinstance(found, SharedIndex)
            return found

        collection = Collection(opened, open_shared, lambda: choose(candidates_sql(opened)), limits)
        service = Service(collection, embedder, access=access, limits=limits, may_select=may_select)
        begin(bound)
        address = address_of(bound)
        print(
            f"serving {len(collection.now.catalogue):,} clips of {opened.path} at {address} "
            f"({'with' if access.token else 'without'} a token; Ctrl-C ends)",
            file=sys.stderr,
            flush=True,
        )
        run(service, bound)
        return ServeResult(address, service.metrics.answered())


def _token(file: Path | None) -> str | None:
    """The token from a file or the environment.

    Raises:
        ArgumentError: The file cannot be read.
    """
    if file is None:
        return os.environ.get(TOKEN) or None
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"the token file {file} cannot be read: {error}") from error
