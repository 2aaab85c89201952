"""Clips a second of reading shards by byte offset, against the `webdataset` package reading the same shards.

Both give sound and text as bytes and decode nothing; the files are warm. Webdataset reads in order, or in the order of
its shuffle buffer, since it has no access by number; ours in order, and in that of a seeded permutation. The ratio is
the smallest of the four: in order and at random, of clips of 10 s (1.5 MB) and of small ones (60 kB).
"""

import tempfile
from pathlib import Path

import numpy as np
import webdataset

from benchmarks import Measured, best_seconds
from benchmarks.pack import made
from curation.shards.generation import GenerationIndex
from curation.shards.reader import Shards
from curation.shards.write import ShardPlan, pack_shard
from curation.storage import Root

SIZES = {"long": (1_500_000, 128), "short": (60_000, 3_000)}
"""Name -> bytes of a sound, and how many of them."""

SHUFFLED = 1_000
"""Samples in webdataset's shuffle buffer."""

MEMBERS = ("flac", "json")


def measure(rounds: int = 5) -> Measured:
    measured: Measured = {}
    ratios = []
    for name, (clip_bytes, clips) in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            found = compared(Path(folder), clip_bytes, clips, rounds)
        ratios += [found["ratio_in_order"], found["ratio_at_random"]]
        measured |= {f"{key}_{name}": value for key, value in found.items()}
    return {"ratio": min(ratios), "peer": "webdataset, the same shards, warm", **measured}


def compared(folder: Path, clip_bytes: int, clips: int, rounds: int) -> dict[str, float]:
    """Both ways of both readers on shards of so many clips."""
    generation = packed(folder, clip_bytes, clips)
    tars = [str(path) for path in sorted(generation.glob("*.tar"))]
    order = np.random.default_rng(0).permutation(clips).tolist()

    def ours(numbers: list[int]) -> int:
        shards = Shards.open(generation)
        return sum(len(member) for number in numbers for member in shards.read(number, MEMBERS).values())

    def theirs(shuffled: int) -> int:
        samples = webdataset.WebDataset(tars, shardshuffle=False)
        if shuffled:
            samples = samples.shuffle(shuffled, seed=0)
        return sum(len(sample[member]) for sample in samples for member in MEMBERS)

    assert ours(order) == theirs(0)
    ways = (lambda: ours(list(range(clips))), lambda: theirs(0), lambda: ours(order), lambda: theirs(SHUFFLED))
    in_order_s, their_order_s, random_s, their_random_s = best_seconds(*ways, rounds=rounds)
    return {
        "ratio_in_order": their_order_s / in_order_s,
        "ratio_at_random": their_random_s / random_s,
        "clips_a_second_in_order": clips / in_order_s,
        "peer_clips_a_second_in_order": clips / their_order_s,
        "clips_a_second_at_random": clips / random_s,
        "peer_clips_a_second_at_random": clips / their_random_s,
    }


def packed(folder: Path, clip_bytes: int, clips: int, clips_per_shard: int = 500) -> Path:
    """A generation of shards of made sounds."""
    store, selected = made(folder, clips, clip_bytes)
    root = Root.of(folder / "shards")
    shards = [
        pack_shard(ShardPlan(root=root, name=f"{n:06d}", media=store, clips=selected.slice(begin, clips_per_shard)))
        for n, begin in enumerate(range(0, clips, clips_per_shard))
    ]
    index = GenerationIndex(selection="s", selection_sha256="", settings={}, parent=None, shards=tuple(shards))
    root.write("index.json", index.to_bytes())
    return root.path
