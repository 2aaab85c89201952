"""A dataset of which every export shows something: several captions, none, pictures, music, odd spans, two splits."""

import pytest

from curation.dataset import Dataset
from curation.selections.selection import select
from curation.shards.pack import pack
from tests.curation.made import Made

HOSTILE = 'a bell, "rung" | <script>\nover\ttwo lines'


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Train: 5 clips with 6 captions; test: 2 clips; one of val; both packed. `lost` was never found."""
    made = Made(tmp_path_factory.mktemp("exports"))
    made.clip("plain______", 30_000, said=[{"labels": ["Bell", "dog, barking"], "captions": [HOSTILE, "a dog"]}])
    made.clip("picture____", 1_000, picture=True, said=[{"labels": ["Music"], "captions": ["a tune", "music"]}])
    made.clip("silent_film", 0, picture=True, said=[{"labels": []}])
    made.clip("bare_______", 0)
    made.clip("short______", 2_500, duration_ms=4_000, said=[{"captions": ["a short one", "kurz: süß"]}])
    made.clip("tested_____", 10_000, said=[{"captions": ["a test"], "split": "test"}])
    made.clip("tested_too_", 20_500, said=[{"captions": ["half a second late"], "split": "test"}])
    made.clip("judged_____", 0, said=[{"captions": ["a judge"], "split": "val"}])
    made.clip("lost_______", 0, fetch=None, cut=None, measure=None)
    dataset = made.dataset()
    for split in ("train", "val", "test"):
        select(dataset, name=split, split=split)
    for split in ("train", "test"):
        pack(dataset, split, clips_per_shard=2)
    return dataset
