"""Windows with a picture that is shown meanwhile; AudioToken, its frozen models and its pictures on a dataset."""

import io
import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.selections.selection import select
from curation.shards.pack import pack
from models.audiotoken import AudioToken
from models.encoders.beats import Beats
from models.encoders.sound_picture import SoundPictureConfig, SoundPictureNetwork, save_judge
from pipelines.evaluations.made_pictures import make_some
from pipelines.makers.audiotoken import SYSTEM
from pipelines.recipes.audiotoken import train_audiotoken_tiny
from pipelines.recipes.beats import train_beats_tiny
from pipelines.recipes.data import open_shards
from pipelines.recipes.options import RunOptions
from pipelines.recipes.pictures import train_pictures_tiny
from pipelines.recipes.sounded_pictures import SoundedPictures, with_pictures
from pipelines.training.evaluation import EvaluationOptions
from pipelines.verbs.generate import generate
from tests.curation.made import Made
from tests.models.audiotoken.tiny_audiotoken import save_listener, save_pictures


class Clip:
    """One clip of 10 s whose sound says the time: at t seconds it is t / 10."""

    rate_hz = 1_000

    def read(self, clip, members):
        file = io.BytesIO()
        ramp = np.arange(10 * self.rate_hz, dtype=np.float32) / (10 * self.rate_hz)
        soundfile.write(file, ramp, self.rate_hz, format="FLAC", subtype="PCM_24")
        return {"flac": file.getvalue()}

    def key(self, clip):
        return "k"

    def about(self, clip):
        return {"labels": ["a", "b"]}


class Stored:
    """Pictures at 4 Hz whose latents say their number."""

    pictures = np.array([40])

    def read(self, clip, picture):
        return np.full((1, 1, 1), picture, np.float16), np.zeros((1, 1, 1), np.float16)


def windows(**changes):
    settings = {"window_samples": 3_000, "batch_clips": 4, "seed": 0} | changes
    return SoundedPictures(
        shards=Clip(), clips=[0], sample_rate_hz=1_000, picture_rate_hz=4.0, side_px=8, stored=Stored(), **settings
    )


def test_a_picture_is_shown_during_its_sound():
    seen = set()
    for number in range(40):
        batch = windows()(number, range(4))
        starts_s = 10 * batch["waves"][:, 0]
        shown_s = batch["latents"][:, 0, 0, 0] / 4
        assert (shown_s >= starts_s - 1e-3).all() and (shown_s < starts_s + 3).all()
        seen |= set((shown_s - starts_s).round().tolist())
        assert batch["labels"] == ["a"] * 4
    assert seen == {0.0, 1.0, 2.0, 3.0}


def test_a_batch_is_a_function_of_the_seed_and_its_number():
    whole, parts = windows()(7, range(4)), [windows()(7, range(row, row + 1)) for row in range(4)]
    for name in ("waves", "latents"):
        assert torch.equal(whole[name], torch.cat([part[name] for part in parts]))
        assert not torch.equal(whole[name], windows()(8, range(4))[name])
        assert not torch.equal(whole[name], windows(seed=1)(7, range(4))[name])


def test_a_clip_shorter_than_the_window_is_whole_and_filled_up():
    batch = windows(window_samples=12_000)(0, range(4))
    assert (batch["waves"][:, 10_000:] == 0).all() and batch["waves"][0, 9_999] > 0.99


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    made = Made(tmp_path_factory.mktemp("audiotoken"))
    for number in range(12):
        made.clip(f"v{number}", picture=True, said=[{"labels": [("dog barking", "rising chirp")[number % 2]]}])
    made.clip("blind")
    dataset = made.dataset()
    select(dataset, name="s")
    pack(dataset, "s", clips_per_shard=10)
    return dataset


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("frozen")
    return {"pictures": str(save_pictures(folder / "pictures")), "listener": str(save_listener(folder / "beats"))}


def options(frozen, **more):
    return RunOptions(generation="s", **{"clips": 32, "seconds": 0.5, **frozen, **more})


def test_only_clips_with_a_picture_are_drawn(dataset):
    shards = open_shards(dataset, "s")
    assert len(shards) == 13 and len(with_pictures(dataset, shards)) == 12
    one = shards.key(with_pictures(dataset, shards)[3])
    assert len(with_pictures(dataset, shards, f"clip_id = '{one}'")) == 1
    with pytest.raises(ArgumentError, match=r"no clip of .* that is wanted has a picture"):
        with_pictures(dataset, shards, "false")


def test_a_run_makes_a_picture_of_a_sound(dataset, frozen, tmp_path):
    run = tmp_path / "run"
    facts = train_audiotoken_tiny(dataset, run, options(frozen))
    assert facts["clips"] == 12 and facts["loss"] > 0
    assert dataset.sql("SELECT count(*) AS n FROM encode_pictures WHERE state = 'done'").to_pylist() == [{"n": 12}]
    again = train_audiotoken_tiny(dataset, run, options(frozen))
    assert again["clips"] == 12
    sound = tmp_path / "bark.wav"
    soundfile.write(sound, np.random.default_rng(0).standard_normal(8_000) * 0.1, 16_000)
    made = generate(run, audio=sound, steps=2, out=tmp_path / "out")
    assert [file.suffix for file in made.files] == [".png"]
    about = json.loads(made.files[0].with_suffix(".json").read_text())
    assert about["steps"] == 2 and about["guidance"] == 7.5
    with pytest.raises(ArgumentError, match="takes no --text"):
        generate(run, text=["a dog"], out=tmp_path / "out")
    assert AudioToken.from_pretrained(run).network.config.heard_width == 48


def test_pictures_are_made_meanwhile_judged_and_change_nothing(dataset, frozen, tmp_path):
    config = SoundPictureConfig(
        labels=("dog barking", "rising chirp"), side_px=16, window_samples=4_800, width=4, dimension=4
    )
    torch.manual_seed(0)
    save_judge(SoundPictureNetwork(config), config, tmp_path / "judge")
    judge = f"own:{tmp_path / 'judge'}"
    plain, sampled = tmp_path / "plain", tmp_path / "sampled"
    train_audiotoken_tiny(dataset, plain, options(frozen))
    asked = EvaluationOptions(samples=3, every_clips=16, judges=(judge,))
    facts = train_audiotoken_tiny(dataset, sampled, options(frozen, evaluation=asked))
    assert facts["samples"] == 3 and facts["fixed_loss"] > 0 and facts["fid_own"] > 0
    assert 0 <= facts["aic_own"] <= 1 and 0 <= facts["ais_own"] <= 1 and 0 <= facts["iis_own"] <= 1
    weights = [(run / "model" / "embedder.safetensors").read_bytes() for run in (plain, sampled)]
    assert weights[0] == weights[1]
    places = sorted((sampled / "samples").iterdir())
    assert [place.name for place in places] == ["clips-000000016", "clips-000000032"]
    *files, page = sorted(places[1].iterdir())
    assert len(files) == 3 and page.name == "grid.png" and Image.open(page).size == (3 * 16, 16)
    shards = open_shards(dataset, "s")
    by_key = {shards.key(number): number for number in range(len(shards))}
    numbers = [by_key[file.stem.partition("-")[2]] for file in files]
    made = make_some(SYSTEM.loaded(sampled), shards, numbers, SYSTEM.usual, 0)
    for file, picture in zip(files, made, strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), picture), "what the trained model makes"


def test_what_cannot_be_sampled_or_judged_is_said_before_a_step(dataset, frozen, tmp_path):
    for samples, judges, said in (
        (13, (), "12 clips have a picture, too few for --samples 13"),
        (1, ("own:x",), "give --samples 2 or more"),
        (2, ("efficientat:mn04",), "with a kind of clip, own, inception"),
    ):
        asked = EvaluationOptions(samples=samples, judges=judges)
        with pytest.raises(ArgumentError, match=said):
            train_audiotoken_tiny(dataset, tmp_path / "run", options(frozen, evaluation=asked))
    config = SoundPictureConfig(labels=("a", "b"), side_px=16, window_samples=4_800, width=4, dimension=4)
    save_judge(SoundPictureNetwork(config), config, tmp_path / "judge")
    asked = EvaluationOptions(samples=4, judges=(f"own:{tmp_path / 'judge'}",))
    with pytest.raises(ArgumentError, match="knows no label 'dog barking'"):
        train_audiotoken_tiny(dataset, tmp_path / "run", options(frozen, evaluation=asked))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_raw_pictures_come_to_the_same_losses_but_for_float16(dataset, frozen, tmp_path):
    stored = train_audiotoken_tiny(dataset, tmp_path / "stored", options(frozen, clips=16))
    raw = train_audiotoken_tiny(dataset, tmp_path / "raw", options(frozen, clips=16, raw=True))
    assert raw["loss"] == pytest.approx(stored["loss"], rel=1e-3)


def test_what_it_needs_and_does_not_take_is_said(dataset, frozen, tmp_path):
    with pytest.raises(ArgumentError, match=r"give --pictures, or train one .*pictures-tiny"):
        train_audiotoken_tiny(dataset, tmp_path, RunOptions(generation="s"))
    with pytest.raises(ArgumentError, match="drop --text-encoder and --codec"):
        train_audiotoken_tiny(dataset, tmp_path, options(frozen, codec="x"))
    with pytest.raises(ArgumentError, match="no text-to-image model can be loaded"):
        train_audiotoken_tiny(dataset, tmp_path, options({**frozen, "pictures": str(tmp_path)}))
    with pytest.raises(ArgumentError, match="no BEATs can be loaded"):
        train_audiotoken_tiny(dataset, tmp_path, options({**frozen, "listener": str(tmp_path)}))


def test_a_listener_is_trained_on_the_labels(dataset, tmp_path):
    facts = train_beats_tiny(dataset, tmp_path, RunOptions(generation="s", clips=32, seconds=0.3))
    assert facts["classes"] == 2 and facts["clips"] == 12
    listener = Beats.from_pretrained(tmp_path / "model")
    assert listener.labels == ("dog barking", "rising chirp") and listener.dimension == 3 * 64


def test_a_text_to_image_model_is_trained_on_labels_and_pictures(dataset, tmp_path):
    facts = train_pictures_tiny(dataset, tmp_path, RunOptions(generation="s", clips=32))
    assert facts["clips"] == 12 and facts["loss"] > 0
    assert (tmp_path / "model" / "model_index.json").is_file()
    assert train_pictures_tiny(dataset, tmp_path, RunOptions(generation="s", clips=32))["clips"] == 12
    with pytest.raises(ArgumentError, match="drop --seconds"):
        train_pictures_tiny(dataset, tmp_path, RunOptions(generation="s", seconds=1.0))
