"""Whether every node of a cluster sees the same storage: the driver writes a nonce, and each node must read it back.

Without this check a path that exists on every node, but is another disk on each, takes media that nobody finds again.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curation.dataset import Dataset
from curation.errors import StoppedError
from curation.storage import KINDS
from curation.tables import TEMPORARY

ANSWER_S = 60.0
"""How long a node may take to answer. Source: ours; a first task on a node starts a worker, which takes seconds."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster: its id in Ray, and how people call it."""

    node_id: str
    name: str


def roots_of(dataset: Dataset) -> dict[str, str]:
    """Kind of what workers write -> path or URL of its storage root."""
    return {kind: dataset.root(kind).url for kind in KINDS}


def alive_nodes() -> list[Node]:
    """The nodes that are up, of the Ray that this process is connected to."""
    import ray

    return [
        Node(node["NodeID"], f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})")
        for node in ray.nodes()
        if node["Alive"]
    ]


def write_nonce(root: str) -> tuple[str, str]:
    """Write a nonce into a storage root, which is made if it is not there.

    Args:
        root: A path, or a URL that fsspec understands.

    Returns:
        Name of its file, a temporary one that readers of the root skip, and its content.
    """
    from fsspec.core import url_to_fs

    file_system, path = url_to_fs(root)
    name, content = f"{TEMPORARY}nonce-{secrets.token_hex(8)}", secrets.token_hex(16)
    file_system.makedirs(path, exist_ok=True)
    file_system.pipe_file(f"{path}/{name}", content.encode())
    return name, content


def read_nonces(files: Mapping[str, str]) -> dict[str, str]:
    """What this node reads: root -> content, or why there is none; `files` maps a root to its file's name."""
    from fsspec.core import url_to_fs

    found = {}
    for root, name in files.items():
        try:
            file_system, path = url_to_fs(root)
            found[root] = file_system.cat_file(f"{path}/{name}").decode(errors="replace")
        except (OSError, ValueError, ImportError) as error:
            found[root] = f"{type(error).__name__}: {error}"
    return found


def remove_nonce(root: str, name: str) -> None:
    """Remove the file of a nonce."""
    from fsspec.core import url_to_fs

    file_system, path = url_to_fs(root)
    file_system.rm_file(f"{path}/{name}")


def _ask(nodes: list[Node], files: Mapping[str, str]) -> dict[Node, dict[str, str]]:
    """What each node reads."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def on(node: Node) -> Any:
        pinned = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        return ray.remote(read_nonces).options(num_cpus=0, scheduling_strategy=pinned, max_retries=0).remote(files)

    answers = {}
    for node, reference in [(node, on(node)) for node in nodes]:
        try:
            answers[node] = ray.get(reference, timeout=ANSWER_S)
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]
            raise StoppedError(
                f"node {node.name} cannot work for this run: {last}; foundsound must be installed there as it is here, "
                "in the same version of Python"
            ) from error
    return answers


def require_shared_roots(roots: Mapping[str, str]) -> None:
    """Refuse a run on several nodes that do not all see the same storage.

    Args:
        roots: Name of a storage root -> path or URL. Nothing is written when the cluster has one node.

    Raises:
        StoppedError: A node does not answer, or does not read back what was written here; it names node and root.
    """
    nodes = alive_nodes()
    if len(nodes) < 2:
        return
    nonces = {root: write_nonce(root) for root in sorted(set(roots.values()))}
    try:
        answers = _ask(nodes, {root: name for root, (name, _) in nonces.items()})
    finally:
        for root, (name, _) in nonces.items():
            remove_nonce(root, name)
    for node, found in answers.items():
        for name, root in roots.items():
            if found[root] != nonces[root][1]:
                raise StoppedError(
                    f"node {node.name} does not see the storage root {name!r} at {root}, where this process wrote a "
                    f"nonce ({found[root]}); name a shared folder or an object store in dataset.json, or run with "
                    "--workers 0"
                )
