"""Datasets of which facts are known and no sounds are there, for captions that need no listening."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from captioning.caption import Caption
from curation import keys
from curation.dataset import Dataset
from curation.facts import fact_row
from curation.schema import column, table
from curation.stage import Outcome, Stage


class CutMade(Stage):
    """Stands for the stage `cut`."""

    NAME, VERSION, GRAIN = "cut", 1, "clip"
    RESULTS = table("made", column("audio_sha256", pa.string(), "sound"))

    def requests(self) -> str:
        return "SELECT clip_id AS key, clip_id AS input FROM clips"


class TagMade(Stage):
    """Stands for the stage `tag`, of the name `audioset`."""

    NAME, VERSION, GRAIN = "tag", 1, "clip"
    RESULTS = table("made", column("tags", pa.list_(pa.struct({"label": pa.string(), "score": pa.float32()})), "tags"))

    @property
    def label(self) -> str:
        return "audioset"

    def requests(self) -> str:
        return "SELECT key, audio_sha256 AS input FROM cut"


class SaidMade(Stage):
    """Stands for the stage `caption` of some model."""

    NAME, VERSION, GRAIN = "caption", 1, "clip"
    RESULTS = Caption.RESULTS

    def __init__(self, called: str) -> None:
        self.called = called

    @property
    def label(self) -> str:
        return self.called

    def identity(self) -> dict[str, Any]:
        return {"stage": "caption", "called": self.called}

    def requests(self) -> str:
        return "SELECT key, audio_sha256 AS input FROM cut"


def commit(dataset: Dataset, stage: Stage, rows: Mapping[str, Mapping[str, Any]], **inputs: str) -> None:
    """Facts by clip; the input is the sound `sound-<clip>` unless it is given."""
    facts = dataset.facts(stage)
    facts.make_current(stage)
    facts.append(
        fact_row(Outcome(key=key, values=values), input_hash=inputs.get(key, f"sound-{key}"), attempt=1, seconds=0.1)
        for key, values in rows.items()
    )


def cut_and_tagged(dataset: Dataset, tags: Mapping[str, Mapping[str, float] | None]) -> None:
    """Clips with a sound each and these tags; None is not tagged."""
    commit(dataset, CutMade(), {key: {"audio_sha256": f"sound-{key}"} for key in tags})
    heard = {key: scores for key, scores in tags.items() if scores is not None}
    listed = {key: [{"label": label, "score": score} for label, score in one.items()] for key, one in heard.items()}
    commit(dataset, TagMade(), {key: {"tags": one} for key, one in listed.items()})


def said(dataset: Dataset, called: str, texts: Mapping[str, str], **values: Any) -> None:
    """Captions of a model by clip."""
    made = {"model": called, "candidate": 0, "further": [], "made_from": "sound", **values}
    commit(
        dataset,
        SaidMade(called),
        {key: {**made, "text": text, "audio_sha256": f"sound-{key}"} for key, text in texts.items()},
    )


def dataset_of(folder: Path, labels: Mapping[str, Sequence[str]], captions: Mapping[str, Sequence[str]]) -> Dataset:
    """Clips of one video each, and what the list `one` says of them."""
    made = Dataset.create(folder)
    made.append(
        "videos", [{"video_key": f"v-{clip}", "platform": "youtube", "video_id": f"v-{clip}"} for clip in labels]
    )
    made.append("clips", [{"clip_id": clip, "video_key": f"v-{clip}", "origin": "list"} for clip in labels])
    rows = [
        {
            "key": clip,
            "grain": "clip",
            "list": "one",
            "line": line,
            "labels": list(of),
            "captions": list(captions.get(clip, ())),
        }
        for line, (clip, of) in enumerate(labels.items(), 1)
    ]
    made.append("annotations", rows)
    made.add_source({"list": "one", "rows": len(rows), "rejected": 0})
    return made


def with_spans(folder: Path, *spans: tuple[str, str, int, int], kind: str = "table", **columns: str) -> Dataset:
    """A dataset of spans (platform, video_id, start_ms, duration_ms), named by a list of this kind."""
    made = Dataset.create(folder)
    videos = {(platform, video_id) for platform, video_id, _, _ in spans}
    made.append(
        "videos",
        [
            {"video_key": keys.video_key(*video), "platform": video[0], "video_id": video[1], **columns}
            for video in sorted(videos)
        ],
    )
    made.append(
        "clips",
        [
            {
                "clip_id": keys.clip_id(*span),
                "video_key": keys.video_key(*span[:2]),
                "start_ms": span[2],
                "duration_ms": span[3],
                "origin": "list",
            }
            for span in spans
        ],
    )
    rows = [
        {"key": keys.clip_id(*span), "grain": "clip", "list": "one", "line": line, "labels": [], "captions": []}
        for line, span in enumerate(spans, 1)
    ]
    made.append("annotations", rows)
    made.add_source({"list": "one", "kind": kind, "rows": len(rows), "rejected": 0})
    return made
