"""Speech from a dataset: transcripts are pronounced, learned, and said; no program is needed where one stands in."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from curation.dataset import Dataset
from curation.errors import ArgumentError
from models.audioldm2 import AudioLDM2
from models.audioldm2.phonemes import PHONEMES, phoneme_tokens
from models.encoders.audiomae import save_audiomae
from models.encoders.audiomae_network import AudioMaeConfig, AudioMaeEncoder
from models.encoders.clap_fit import build_tiny_clap
from pipelines.evaluations.made_sounds import Making, make_some
from pipelines.evaluations.sound_sets import packed_set
from pipelines.makers.audioldm2 import SYSTEM
from pipelines.makers.manner import Manner
from pipelines.recipes.audioldm2 import SPEECH_TINY, TINY, train_size
from pipelines.recipes.pronounced import pronounced
from pipelines.training.evaluation import EvaluationOptions
from pipelines.verbs.generate import generate
from pipelines.wiring import phonemes
from pipelines.wiring.phonemes import Pronouncer
from tests.models.audioldm2.tiny_audioldm2 import codec
from tests.pipelines.recipes.test_audioldm2 import CAPTIONS, CLAP, options, packed
from tests.retrieval_index.tones import RATE_HZ, clip_of, tone_dataset
from tests.retrieval_index.toy_embedder import tone

SAID = {"low": "one", "middle": "two"}


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says of each word its letters."""
    monkeypatch.setattr(phonemes, "phonemes_of", lambda text, voice: text)
    monkeypatch.setattr(phonemes, "espeak_version", lambda: "none")


def make(folder: Path, said: dict[str, str]) -> Dataset:
    """Three tones with captions, of which some say something, and the parts that a run needs, of random weights."""
    sounds = {name: tone(110 * 3**number, 1.5, RATE_HZ) for number, name in enumerate(CAPTIONS)}
    dataset = tone_dataset(folder, sounds, CAPTIONS)
    rows = [
        {"key": clip_of(name), "grain": "clip", "list": "listed", "line": 9, "transcript": said[name]} for name in said
    ]
    dataset.append("annotations", rows)
    runs = dataset.folder("runs")
    build_tiny_clap(list(CAPTIONS.values()), CLAP, seed=0).save(runs / "clap-tiny" / "model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        audiomae = AudioMaeEncoder(AudioMaeConfig(frames=128, width=16, depth=3, heads=2))
    save_audiomae(audiomae, runs / "audiomae-speech-tiny" / "model")
    codec().save(runs / "mel-vae-tiny" / "model")
    return packed(dataset)


def test_a_run_hears_every_patch_and_is_told_what_is_said(tmp_path: Path) -> None:
    dataset = make(tmp_path / "dataset", SAID)
    run = dataset.folder("runs") / "run"
    facts = train_size(SPEECH_TINY, dataset, run, options())
    assert (facts["clips"], facts["clips_seen"]) == (3, 44)  # phases of 20, 16 and 4, the last a whole batch
    (row,) = dataset.sql("SELECT DISTINCT tokens FROM encode_sound").to_pylist()
    assert row["tokens"] == 64  # 1.28 s are 8 by 8 patches
    told = json.loads((run / "config.json").read_text())["settings"]["data"]["phonemes"]
    assert told == {"program": "espeak-ng", "version": "none", "voice": "en-us"}
    model = AudioLDM2.from_pretrained(run)
    assert [one.name for one in model.network.language.config.streams] == ["clap", "t5", PHONEMES]
    how = {"seconds": 1.28, "steps": 2}
    spoken = generate(run, text=["a low hum"], out=tmp_path, manner=Manner(transcript=("one", "two", "")), **how).files  # type: ignore[arg-type]
    one, two, none = (soundfile.read(file, dtype="float32")[0] for file in spoken)
    assert len(one) == len(two) == len(none) == 20_480
    assert not np.array_equal(one, two) and not np.array_equal(one, none)
    assert json.loads(spoken[1].with_suffix(".json").read_text())["transcript"] == "two"
    with pytest.raises(ArgumentError, match="a model of speech: audioldm2-tiny cannot train it further"):
        train_size(TINY, dataset, tmp_path / "further", options(clips=8, start=str(run / "model")))


def test_samples_meanwhile_say_transcripts(tmp_path: Path) -> None:
    """They are what the trained model says, and not what it makes of captions alone."""
    dataset = make(tmp_path / "dataset", SAID)
    run = dataset.folder("runs") / "run"
    with pytest.raises(ArgumentError, match="2 clips have transcripts, too few for --samples 3"):
        train_size(SPEECH_TINY, dataset, run, options(evaluation=EvaluationOptions(samples=3)))
    facts = train_size(SPEECH_TINY, dataset, run, options(evaluation=EvaluationOptions(samples=2)))
    assert facts["samples"] == 2.0 and facts["fd_clap"] > 0 and -1 <= facts["clap_score"] <= 1
    (place,) = (run / "samples").iterdir()
    listed = [json.loads(line) for line in (place / "sounds.jsonl").read_text().splitlines()]
    assert sorted(row["transcript"] for row in listed) == ["one", "two"]
    by_id = {clip.clip_id: clip for clip in packed_set(dataset, "train", seed=0).clips}
    clips = [by_id[row["clip_id"]] for row in listed]
    for prompt, is_same in (("transcript", True), ("text", False)):
        making = Making(prompt=prompt, seconds=1.28, guidance=SYSTEM.usual.guidance)  # type: ignore[arg-type]
        for row, wave_CT in zip(listed, make_some(SYSTEM.loaded(run), clips, making), strict=True):
            sample_T, _ = soundfile.read(place / row["file"], dtype="float32")
            assert np.allclose(sample_T, wave_CT[0], atol=2**-14) == is_same


def test_where_nothing_is_said_it_is_refused(tmp_path: Path) -> None:
    dataset = make(tmp_path / "dataset", {})
    with pytest.raises(ArgumentError, match=r"no clip of generation .train. of .* has a transcript"):
        train_size(SPEECH_TINY, dataset, tmp_path / "run", options())


def test_transcripts_are_pronounced_row_by_row() -> None:
    def batch_at(number: int, rows: range) -> dict[str, object]:
        return {"transcripts": [["one", "", "eleven"][row] for row in rows], "number": number}

    whole = pronounced(batch_at, Pronouncer())(7, range(3))
    tokens_BTV, lengths = phoneme_tokens(["one", "", "eleven"])
    assert torch.equal(whole[PHONEMES], tokens_BTV) and whole[f"{PHONEMES}_lengths"] == lengths == [3, 0, 6]
    assert whole["number"] == 7
    assert pronounced(batch_at, Pronouncer())(7, range(1, 2))[f"{PHONEMES}_lengths"] == [0]
