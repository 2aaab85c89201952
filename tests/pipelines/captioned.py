"""A small dataset of real tiny sounds about which people and two captioners have said something."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from captioning.caption import Caption
from captioning.captioner import CaptionerIdentity
from captioning.labels import LABEL_CAPTIONER, LabelCaptioner
from captioning.prompt import load_prompt
from captioning.score import Score
from captioning.text_scores import text_scores
from curation.annotated import ANNOTATED
from curation.dataset import Dataset
from curation.errors import Code
from tests.curation.made import write_facts
from tests.retrieval_index.tones import RATE_HZ, clip_of, tone_dataset

LISTENER = CaptionerIdentity(
    name="listener",
    version=1,
    model="made/Listener",
    revision="a" * 40,
    weights_sha256="b" * 64,
    decoding={"strategy": "greedy", "max_new_tokens": 128},
    sample_rate_hz=16_000,
    window_s=30.0,
)

PEOPLE = {
    "dog": ["A dog barks twice in the yard.", "Two barks of a dog outside."],
    "rain": ["Rain falls on a tin roof.", "Rain on a roof."],
    "bird": ["Birds sing in a far away wood."],
}

ANSWERS: dict[str, tuple[str, list[str]]] = {
    "dog": ("A dog barks twice in the yard.", ["It might be a dog, perhaps.", "Dog dog dog dog dog dog."]),
    "rain": ("Rain falls on the roof of a house.", []),
    "wind": ("Wind blows through <b>leaves</b> & grass.", ["Wind in the leaves."]),
}
"""The listener's most likely answer, and those drawn beside it."""


def provenance(text: str, further: list[str], audio_sha256: str | None) -> dict[str, Any]:
    """The columns of a done row of `caption`."""
    return {
        "text": text,
        "model": LISTENER.model,
        "revision": LISTENER.revision,
        "weights_sha256": LISTENER.weights_sha256,
        "prompt_sha256": load_prompt("sound-v1").sha256,
        "decoding": '{"strategy": "greedy"}',
        "candidate": 0,
        "further": [{"candidate": number, "text": other} for number, other in enumerate(further, 1)],
        "audio_sha256": audio_sha256,
        "heard_s": 1.0,
    }


def captioned(folder: Path) -> Dataset:
    """Six clips of a second: dog, rain, bird (heard before it was cut anew), wind, train (set aside), sea (pending)."""
    random = np.random.default_rng(3)
    names = ("dog", "rain", "bird", "wind", "train", "sea")
    sounds = {name: random.normal(0, 0.1, RATE_HZ).astype(np.float32) for name in names}
    dataset = tone_dataset(folder, sounds)
    people = {**PEOPLE, "train": ["A train passes."], "sea": ["Waves."]}
    rows = [{"key": clip_of(name), "line": line, "captions": said} for line, (name, said) in enumerate(people.items())]
    dataset.append("annotations", [{**row, "grain": "clip", "list": "listed", "labels": ["a <sound>"]} for row in rows])
    cut = dataset.sql("SELECT key, audio_sha256 FROM cut").to_pylist()
    heard = {row["key"]: row["audio_sha256"] for row in cut}
    stage = Caption(captioner=LISTENER, prompt=load_prompt("sound-v1"), build=LabelCaptioner, media=dataset.media)
    made = [
        (clip_of(name), "done", provenance(text, further, heard[clip_of(name)]), heard[clip_of(name)])
        for name, (text, further) in ANSWERS.items()
    ]
    bird = (clip_of("bird"), "done", provenance("Birds sing.", [], "of another cut"), "of another cut")
    train = (clip_of("train"), Code.BAD_CAPTION, {}, heard[clip_of("train")])
    write_facts(dataset, stage, [*made, bird, train])
    labels = Caption(
        captioner=LabelCaptioner().identity(),
        prompt=load_prompt("sentence-v1"),
        build=LabelCaptioner,
        media=dataset.media,
        called=LABEL_CAPTIONER,
    )
    write_facts(dataset, labels, [(clip_of("rain"), "done", {"text": "This is rain.", "candidate": 0}, "labels")])
    return dataset


def score(dataset: Dataset) -> None:
    """Scores of all that the listener said: a cosine of 0.5 less a tenth a draw, and what a text says of itself."""
    stage = Score(
        captions="listener",
        embedder={},
        annotated=ANNOTATED,
        build=LabelCaptioner,
        vectors="clap",
        blobs=dataset.root("vectors"),
    )
    rows = []
    for name, (text, further) in ANSWERS.items():
        scored = [
            {"candidate": number, "clap": 0.5 - number / 10, **dataclasses.asdict(text_scores(said))}
            for number, said in enumerate([text, *further])
        ]
        rows.append((clip_of(name), "done", {"candidates": scored, "labels": []}, "scored"))
    write_facts(dataset, stage, rows)
