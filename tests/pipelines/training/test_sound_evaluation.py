"""Samples during a run: the same prompts and noise each time, judged, and without a trace in what is trained."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
import torch

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.samples import Source
from models.audiox import AudioX
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from models.metrics.frechet import Moments, frechet_distance
from models.training.world import World
from pipelines.evaluations.made_sounds import Making, write_sound
from pipelines.evaluations.sound_sets import made_set
from pipelines.makers.audiox import AudioXMaker
from pipelines.training import sound_evaluation as module
from pipelines.training.evaluation import EvaluationOptions
from pipelines.training.sound_evaluation import SoundEvaluation, sound_evaluation
from pipelines.verbs.train import Machinery, train
from tests.models.audiox.tiny_audiox import save_audiox
from tests.pipelines.evaluations.listening import CLASSES_HZ, NAMES, RATE_HZ, Ears, packed_tones
from tests.retrieval_index.tones import clip_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset(packed_tones(tmp_path_factory.mktemp("sounds") / "dataset"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AudioX:
    return AudioX.from_pretrained(save_audiox(tmp_path_factory.mktemp("run")))


def state(model: AudioX, clips_seen: int) -> Any:
    return SimpleNamespace(ema=SimpleNamespace(network=model.network), clips_seen=clips_seen)


def evaluated(options: EvaluationOptions, **more: Any) -> SoundEvaluation:
    evaluation = sound_evaluation(options, world=World(device=torch.device("cpu")), **more)
    assert evaluation is not None
    return evaluation


def test_samples_are_made_judged_and_repeatable(
    data: Dataset, model: AudioX, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ears = Ears()
    monkeypatch.setattr(module, "load_listener", lambda name, option: ears.listener())
    evaluation = evaluated(
        EvaluationOptions(samples=3, judges=("clap:ears",)),
        folder=tmp_path,
        source=Source(dataset=data, generation="train"),
        making=Making(seconds=0.25, steps=2),
        maker_of=lambda network: AudioXMaker(model),
    )
    assert ears.heard == 24
    before = torch.random.get_rng_state()
    first = evaluation(state(model, 100))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (first["samples"], set(first)) == (3.0, {"samples", "fd_clap", "clap_score", "evaluation_s"})
    again = evaluation(state(model, 2_000))
    early, late = (sorted((tmp_path / "samples" / f"clips-{clips:09d}").glob("*.wav")) for clips in (100, 2_000))
    assert [file.name for file in early] == [file.name for file in late] and len(early) == 3
    assert [file.read_bytes() for file in early] == [file.read_bytes() for file in late]
    assert {key: first[key] for key in ("fd_clap", "clap_score")} == {
        key: again[key] for key in ("fd_clap", "clap_score")
    }
    store, real = evaluation.stores[0], evaluation.real[0]
    waves = [soundfile.read(file, dtype="float32")[0] for file in early]
    assert all(len(wave) == 250 for wave in waves)
    assert real.sounds == 24
    listed = [json.loads(line) for line in (early[0].parent / "sounds.jsonl").read_text().splitlines()]
    assert {row["text"] for row in listed} <= {str(pitch) for pitch in CLASSES_HZ}
    features = store.features(made_set(early[0].parent, None, evaluation.clips))
    assert first["fd_clap"] == pytest.approx(frechet_distance(real, Moments.of(features)), rel=1e-6)


def test_without_a_listener_at_hand_sounds_are_still_made(
    data: Dataset, model: AudioX, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "listeners_at_hand", lambda dataset: [])
    evaluation = evaluated(
        EvaluationOptions(samples=1),
        folder=tmp_path,
        source=Source(dataset=data, generation="train"),
        making=Making(seconds=0.1, steps=1),
        maker_of=lambda network: AudioXMaker(model),
    )
    assert set(evaluation(state(model, 5))) == {"samples", "evaluation_s"}
    assert len(list((tmp_path / "samples" / "clips-000000005").glob("*.wav"))) == 1


def test_prompts_and_real_sounds_are_of_the_clips_that_are_wanted(
    data: Dataset, model: AudioX, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ears = Ears()
    monkeypatch.setattr(module, "load_listener", lambda name, option: ears.listener())
    wanted = [clip_of(name) for name, pitch in NAMES.items() if pitch == 440.0]
    evaluation = evaluated(
        EvaluationOptions(samples=6, judges=("clap:ears",)),
        folder=tmp_path,
        source=Source(dataset=data, generation="train", where=f"clips.clip_id IN {tuple(wanted)}"),
        making=Making(seconds=0.1, steps=1),
        maker_of=lambda network: AudioXMaker(model),
    )
    assert sorted(clip.clip_id for clip in evaluation.clips) == sorted(wanted) and ears.heard == 6


def test_samples_are_there_as_a_whole_or_not_at_all(
    data: Dataset, model: AudioX, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut short at the second file: what is left goes away with the next samples, wherever in the run those are."""
    evaluation = evaluated(
        EvaluationOptions(samples=3),
        folder=tmp_path,
        source=Source(dataset=data, generation="train"),
        making=Making(seconds=0.1, steps=1),
        maker_of=lambda network: AudioXMaker(model),
    )
    evaluation(state(model, 5))
    whole = sorted((tmp_path / "samples" / "clips-000000005").iterdir())
    contents = [file.read_bytes() for file in whole]

    def cut_short(file: Path, *given: Any) -> None:
        if file.name.startswith("001"):
            raise KeyboardInterrupt
        write_sound(file, *given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_sound", cut_short)
        for clips_seen in (5, 9):
            with pytest.raises(KeyboardInterrupt):
                evaluation(state(model, clips_seen))
    assert [file.read_bytes() for file in whole] == contents
    evaluation(state(model, 7))
    assert sorted(place.name for place in (tmp_path / "samples").iterdir()) == ["clips-000000005", "clips-000000007"]


def test_more_samples_than_captions_are_refused(data: Dataset, model: AudioX, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="24 clips have captions, too few for --samples 25"):
        evaluated(
            EvaluationOptions(samples=25),
            folder=tmp_path,
            source=Source(dataset=data, generation="train"),
            making=Making(seconds=0.1, steps=1),
            maker_of=lambda network: AudioXMaker(model),
        )


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_with_samples_trains_as_one_without(tmp_path: Path) -> None:
    data = packed_tones(tmp_path / "dataset", seconds=1.0)
    clap = TinyClapConfig(sample_rate_hz=RATE_HZ, window_s=2, f_max_hz=3_900, audio_width=16, text_width=32)
    build_tiny_clap([str(pitch) for pitch in CLASSES_HZ], clap, seed=0).save(data / "runs" / "clap-tiny" / "model")
    plain, sampled = tmp_path / "plain", tmp_path / "sampled"
    train("audiox-tiny", data=[str(data)], seconds=0.5, clips=48, out=plain)
    machinery = Machinery(samples=2, evaluate_every=16)
    train("audiox-tiny", data=[str(data)], seconds=0.5, clips=48, out=sampled, machinery=machinery)
    weights = [(folder / "model" / "network.safetensors").read_bytes() for folder in (plain, sampled)]
    assert weights[0] == weights[1]
    judged = [line for line in log_of(sampled) if "clap_score" in line]
    assert [line["clips_seen"] for line in judged] == [16, 32, 48]
    assert all(line["fd_clap"] > 0 and -1 <= line["clap_score"] <= 1 for line in judged)
    assert len({line["fd_clap"] for line in judged}) == 3
    assert [folder.name for folder in sorted((sampled / "samples").iterdir())] == [
        f"clips-{clips:09d}" for clips in (16, 32, 48)
    ]
    assert [line["loss"] for line in log_of(sampled) if "loss" in line] == [line["loss"] for line in log_of(plain)]
