"""Run by the Python of an environment that has aac-metrics, never imported: one of its metrics over sentences.

    python aac_child.py fense < sentences.json

Standard input holds `{"candidates": [...], "references": [[...], ...]}`; the last line of standard output is the score.
Nothing is fetched: what tries to reach a network ends this program.
"""

import json
import sys
from importlib import import_module
from typing import Any

NETWORK = ("socket.connect", "socket.getaddrinfo")
"""Events of Python that lead to a network. Source: PEP 578 and its table of audit events."""


def refuse_networks(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook.

    Raises:
        ConnectionRefusedError: The event leads to a network.
    """
    if event in NETWORK:
        raise ConnectionRefusedError("a jar or model is not at hand, and nothing is fetched here")


def main() -> None:
    """Score what is on standard input by the metric that is named on the command line."""
    sys.addaudithook(refuse_networks)
    name = sys.argv[1]
    given = json.load(sys.stdin)
    evaluate = import_module("aac_metrics").evaluate
    scores, _ = evaluate(given["candidates"], given["references"], metrics=[name])
    print(f"\n{float(scores[name])}")


if __name__ == "__main__":
    main()
