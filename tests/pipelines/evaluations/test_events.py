"""`evaluate events`: scores by how often an event was trained on, with sounds and judges whose answers are known."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.selections.selection import select
from curation.shards.pack import pack
from pipelines.evaluations import events as judged
from pipelines.evaluations.events import EventJudging, EventMaking, events
from pipelines.evaluations.made_sounds import Making
from pipelines.evaluations.sound_sets import RealClip, Sound
from pipelines.wiring.listeners import Listener
from tests.curation.made import RATE_HZ, Made

LEVELS = {"dog": 1, "rain": 2, "siren": 3}
"""What a sound's first sample says, in eighths: its class. Made sounds of sirens are wrong."""


class Levels:
    """Hears the class that the first sample says, as one of three directions; reads a caption likewise."""

    def __init__(self) -> None:
        self.listener = Listener(
            kind="clap",
            name="levels",
            sample_rate_hz=RATE_HZ,
            window_s=None,
            features="the class",
            identity={"weights_sha256": "0" * 64},
            listen=self.listen,
            embed_text=self.embed_text,
        )

    def listen(self, wave_BT: torch.Tensor) -> tuple[torch.Tensor, None]:
        level_B = (wave_BT[:, 0] * 8).round().long().clamp(0, 3)
        return torch.eye(4)[level_B][:, None], None

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        return np.eye(4, dtype=np.float32)[[LEVELS[text.split()[-1]] for text in texts]]


def made(folder: Path) -> Dataset:
    """Of rain two training clips, of dogs one, of sirens none; two test clips of each."""
    written = Made(folder)
    folder.mkdir(exist_ok=True)
    train = {"rain": 2, "dog": 1}
    for label in LEVELS:
        for number in range(train.get(label, 0)):
            said = {"labels": [label], "captions": [f"a {label}"], "split": "train"}
            written.clip(f"{label}-train-{number}", said=[said])
        for number in range(2):
            said = {"labels": [label], "captions": [f"a {label}"], "split": "test"}
            written.clip(f"{label}-{number}", said=[said])
    dataset = written.dataset()
    for split in ("train", "test"):
        select(dataset, name=split, split=split)
        pack(dataset, split)
    return dataset


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A dataset whose real clips are heard as what they are; a run whose sounds are right but for sirens."""
    dataset, run = made(tmp_path / "data"), tmp_path / "run"
    run.mkdir()
    levels, made_with = Levels(), []
    keys = {row["clip_id"]: row["label"] for row in dataset.sql(
        "SELECT key AS clip_id, labels[1] AS label FROM annotations").to_pylist()}  # fmt: skip

    def make(run: Path, clips: Sequence[RealClip], making: Making, folder: Path) -> Path:
        made_with.append(making)
        inside = folder / f"sounds-{making.seed}"
        inside.mkdir(parents=True, exist_ok=True)
        rows = []
        for clip in clips:
            label = keys[clip.clip_id]
            level = LEVELS["dog" if label == "siren" else label]
            wave = np.full(100, level / 8) + making.seed * 1e-3
            soundfile.write(inside / f"{clip.clip_id}.wav", wave, RATE_HZ, subtype="FLOAT")
            rows.append(json.dumps({"file": f"{clip.clip_id}.wav", "clip_id": clip.clip_id, "text": clip.caption}))
        (inside / "sounds.jsonl").write_text("\n".join(rows))
        return inside

    def hear_real(self: RealClip, seconds: float | None) -> Sound:
        level = LEVELS[keys[self.clip_id]]
        return Sound(
            key=f"real {self.clip_id}",
            clip_id=self.clip_id,
            caption=self.caption,
            read=lambda rate_hz: np.full(100, level / 8, np.float32),
        )

    monkeypatch.setattr(judged, "make_sounds", make)
    monkeypatch.setattr(judged, "load_listener", lambda name: levels.listener)
    monkeypatch.setattr(EventMaking, "of", lambda self, run: [Making(seconds=1.0, seed=n) for n in range(self.seeds)])
    monkeypatch.setattr(RealClip, "sound", hear_real)
    return {"run": run, "data": str(dataset.path), "made_with": made_with}


JUDGES = {"embedder": "clap:levels", "judge": "clap:levels", "edge": (1, 2)}


def ask(asked: dict[str, Any], seeds: int = 2, **more: Any) -> Any:
    return events(
        asked["run"],
        real=f"{asked['data']}@test",
        trained=f"{asked['data']}@train",
        making=EventMaking(seeds=seeds),
        judging=EventJudging(**{**JUDGES, **more}),
    )


def test_each_bucket_has_the_scores_of_its_events(asked: dict[str, Any]) -> None:
    result = ask(asked)
    none, one, two = result.buckets
    assert [(row.bucket, row.events, row.clips, row.sounds) for row in result.buckets] == [
        ("0", 1, 2, 4), ("1", 1, 2, 4), ("2+", 1, 2, 4)]  # fmt: skip
    assert (none.clap, none.right, none.clap_real, none.right_real) == (0.0, 0.0, 1.0, 1.0)
    assert (one.clap, one.right) == (1.0, 1.0) and (two.clap, two.right) == (1.0, 1.0)
    assert none.clap_error == 0.0 and none.stored is None
    assert [making.seed for making in asked["made_with"]] == [0, 1]
    told = json.loads(result.report.read_text())
    assert told["buckets"][0]["bucket"] == "0" and told["protocol"]
    assert "written to" in str(result) and "0.000" in str(result)


def test_a_plot_shows_this_run_others_and_real_sounds(asked: dict[str, Any]) -> None:
    first = ask(asked)
    second = ask(asked, seeds=1, beside=(first.report,))
    drawn = second.report.with_name(f"{second.report.stem}-clap.svg").read_text()
    assert drawn.startswith('<svg xmlns="http://www.w3.org/2000/svg"') and "run: 0.000, 1.000, 1.000" in drawn
    assert drawn.count("<g><title>") == 3, "two runs and the real sounds"
    assert second.report.with_name(f"{second.report.stem}-right.svg").is_file()
    with pytest.raises(ArgumentError, match=r"has other buckets than 0, 1\+; give the same --edge"):
        ask(asked, edge=(1,), beside=(first.report,))
    (asked["run"] / "none.json").write_text("{}")
    with pytest.raises(ArgumentError, match=r"none\.json is no report of `evaluate events`"):
        ask(asked, beside=(asked["run"] / "none.json",))


def test_what_cannot_judge_is_told_before_a_sound_is_made(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(name: str) -> Any:
        raise ArgumentError(f"--embedder {name}: damaged")

    monkeypatch.setattr(judged, "load_listener", damaged)
    with pytest.raises(ArgumentError, match="clap:levels: damaged"):
        ask(asked)
    assert not asked["made_with"]


def test_what_cannot_be_asked_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="--seeds must be at least 1, not 0"):
        EventMaking(seeds=0)
    with pytest.raises(ArgumentError, match="--neighbours are taken from an index"):
        EventMaking(neighbours=3)
    with pytest.raises(ArgumentError, match=r"give --embedder clap:WEIGHTS, not 'efficientat:x'"):
        ask(asked, embedder="efficientat:x")
    dataset = Dataset(Path(asked["data"]))
    written = Made(dataset.path.parent / "unlabelled")
    (dataset.path.parent / "unlabelled").mkdir()
    written.clip("a", said=[{"captions": ["a dog"], "split": "test"}])
    plain = written.dataset()
    select(plain, name="test", split="test")
    with pytest.raises(ArgumentError, match=r"no clip of selection test of .* has a caption and a label"):
        events(
            asked["run"], real=f"{plain.path}@test", trained=f"{asked['data']}@train", judging=EventJudging(**JUDGES)
        )
