"""Re-AudioLDM from a dataset: neighbours that were stored, what is heard in them, and sounds made by an index."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.keys import clip_id
from curation.measure import Measure
from curation.selections.selection import select
from curation.shards.pack import pack
from models.codecs.closed_form import MdctPcaConfig
from models.encoders.audiomae import save_audiomae
from models.encoders.audiomae_network import AudioMaeConfig, AudioMaeEncoder
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from models.re_audioldm import ReAudioLDM
from models.re_audioldm.generate import sizes_of
from pipelines.evaluations.made_sounds import Making, make_some
from pipelines.evaluations.sound_sets import packed_set
from pipelines.makers.manner import Manner
from pipelines.makers.re_audioldm import SYSTEM
from pipelines.makers.retrieved import Retriever
from pipelines.recipes.data import fitted_codec
from pipelines.recipes.options import Retrieving, RunOptions
from pipelines.recipes.re_audioldm import SMALL, TINY, train_size
from pipelines.runner import Job, run
from pipelines.training.evaluation import EvaluationOptions
from pipelines.verbs.embed import embed
from pipelines.verbs.generate import generate
from pipelines.verbs.index import index
from pipelines.verbs.neighbours import neighbours
from pipelines.verbs.train import Parts
from pipelines.verbs.train import train as train_verb
from retrieval_index.neighbours import Neighbours
from tests.models.codecs.tiny_mel import save_parts
from tests.retrieval_index.tones import RATE_HZ, clip_of, tone_dataset
from tests.retrieval_index.toy_embedder import tone

CAPTIONS = {"low": "a low hum", "middle": "a steady tone", "high": "a shrill whistle", "higher": "a shrill tone"}
CLOSED = MdctPcaConfig(sample_rate_hz=16_000, channels=1, hop_samples=400, latent_channels=96)
"""What a vocoder of random weights makes is too quiet to tell sounds apart; the baseline takes one all the same."""

CLAP = TinyClapConfig(sample_rate_hz=RATE_HZ, window_s=2, f_max_hz=3_900, audio_width=16, text_width=32, dimension=16)


def make(folder: Path) -> Dataset:
    """Four tones, all but the highest packed as `train`, a CLAP and an AudioMAE of random weights, and neighbours."""
    sounds = {name: tone(110 * 3**number, 1.5, RATE_HZ) for number, name in enumerate(CAPTIONS)}
    dataset = tone_dataset(folder, sounds, CAPTIONS)
    clap = build_tiny_clap(list(CAPTIONS.values()), CLAP, seed=0).save(dataset.folder("runs") / "clap-tiny" / "model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        audiomae = AudioMaeEncoder(AudioMaeConfig(frames=128, width=8, depth=3, heads=2))
    save_audiomae(audiomae, dataset.folder("runs") / "audiomae-tiny" / "model")
    stage = Measure(media=dataset.media)
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=8, workers=0))
    (dataset.folder("runs") / "mel-vae-tiny").mkdir()
    save_parts(dataset.folder("runs") / "mel-vae-tiny" / "model")
    select(dataset, name="all")
    select(dataset, name="train", where=f"clips.clip_id <> '{clip_of('higher')}'")
    pack(dataset, "train")
    embed(folder, embedder=str(clap), workers=0)
    neighbours(folder, store="all", of="train", by="sound", name="heard", embedder=str(clap), k=2)
    return dataset


def train(dataset: Dataset, name: str = "run", clips: int = 16, **said: object) -> Path:
    retrieving = Retrieving(**{"found": "heard", "neighbours": 2, **said})  # type: ignore[arg-type]
    folder = dataset.folder("runs") / name
    codec = None if name == "plain" else str(fitted_codec(dataset, "train", name="closed", config=CLOSED, seed=0))
    train_size(TINY, dataset, folder, RunOptions(seconds=1.0, clips=clips, codec=codec, retrieving=retrieving))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    dataset = make(tmp_path_factory.mktemp("retrieval") / "dataset")
    train(dataset)
    index(dataset.path, selection="all", name="all", embedder=str(dataset.folder("runs") / "clap-tiny" / "model"))
    return dataset


def test_a_run_reads_the_stored_neighbours_and_no_others(trained: Dataset) -> None:
    folder = trained.folder("runs") / "run"
    assert sizes_of(folder).neighbours == 2 and sizes_of(folder).reads_text
    told = json.loads((folder / "config.json").read_text())["settings"]
    stored = Neighbours.open(trained.folder("neighbours") / "heard")
    assert told["data"]["neighbours"]["stored"] == [stored.manifest["files"]["neighbours"]["sha256"]]
    assert told["sources"]["heard_s"] == 1.0
    heard = trained.sql("SELECT window_s, tokens, token_channels FROM encode_sound").to_pylist()
    assert {tuple(row.values()) for row in heard} == {(1.0, 1, 8)} and len(heard) == 4
    assert {row["input"] for row in trained.sql("SELECT input FROM embed_text").to_pylist()} >= {
        row["input"] for row in trained.sql("SELECT input FROM encode_text").to_pylist()
    }


def test_samples_meanwhile_are_made_with_the_stored_neighbours(trained: Dataset) -> None:
    """But for half precision they are what the trained model makes with an index of the same clips; weights stay."""
    folder, plain = trained.folder("runs") / "sampled", trained.folder("runs") / "run"
    asked = {"codec": str(trained.folder("codecs") / "closed"), "retrieving": Retrieving(found="heard", neighbours=2)}
    evaluation = EvaluationOptions(samples=2, every_clips=16)
    facts = train_size(TINY, trained, folder, RunOptions(seconds=1.0, clips=16, evaluation=evaluation, **asked))  # type: ignore[arg-type]
    assert facts["samples"] == 2.0 and facts["fd_clap"] > 0 and -1 <= facts["clap_score"] <= 1
    weights = [(run / "model" / "network.safetensors").read_bytes() for run in (folder, plain)]
    assert weights[0] == weights[1]
    (place,) = (folder / "samples").iterdir()
    listed = [json.loads(line) for line in (place / "sounds.jsonl").read_text().splitlines()]
    by_id = {clip.clip_id: clip for clip in packed_set(trained, "train", seed=0).clips}
    clips = [by_id[row["clip_id"]] for row in listed]
    for manner, is_same in ((Manner(index=trained.folder("indexes") / "all"), True), (Manner(), False)):
        making = Making(seconds=1.0, guidance=SYSTEM.usual.guidance, manner=manner)
        for row, wave_CT in zip(listed, make_some(SYSTEM.loaded(plain), clips, making), strict=True):
            sample_T, _ = soundfile.read(place / row["file"], dtype="float32")
            assert np.allclose(sample_T, wave_CT[0], atol=2e-3) == is_same


def test_sounds_are_made_with_what_an_index_holds(trained: Dataset, tmp_path: Path) -> None:
    folder, place = trained.folder("runs") / "run", trained.folder("indexes") / "all"
    ways = {
        "alone": Manner(),
        "none": Manner(index=place, neighbours=0),
        "one": Manner(index=place, neighbours=1),
        "two": Manner(index=place),
    }
    waves = {}
    for name, manner in ways.items():
        (file,) = generate(folder, text=["a low hum"], out=tmp_path / name, seconds=0.5, steps=2, manner=manner).files
        waves[name], rate_hz = soundfile.read(file, dtype="float32")
        assert (len(waves[name]), rate_hz) == (8_000, 16_000)
    np.testing.assert_array_equal(waves["none"], waves["alone"])
    assert not np.allclose(waves["one"], waves["alone"], atol=1e-3)
    assert not np.allclose(waves["two"], waves["one"], atol=1e-3)
    with pytest.raises(ArgumentError, match=r"--neighbours 3: this model was trained to read at most 2"):
        generate(folder, text=["a"], out=tmp_path, seconds=0.5, steps=2, manner=Manner(index=place, neighbours=3))
    with pytest.raises(ArgumentError, match="give --index DATASET/indexes/NAME"):
        generate(folder, text=["a"], out=tmp_path, seconds=0.5, steps=2, manner=Manner(neighbours=1))


def test_a_model_hears_of_a_found_clip_what_training_heard(trained: Dataset) -> None:
    """What is made of an index's clip is, but for half precision, what the stage stored of it."""
    model = ReAudioLDM.from_pretrained(trained.folder("runs") / "run")
    retriever = Retriever(trained.folder("indexes") / "all")
    ((hit,),) = retriever.nearest(["a low hum"], 1, [None])
    heard = model.encoders.neighbour(torch.from_numpy(retriever.wave(hit, 16_000)), hit.caption)
    (row,) = trained.sql("SELECT blob, tokens_offset_bytes FROM encode_sound WHERE key = ?", [hit.clip_id]).to_pylist()
    content = (trained.root("latents").path / row["blob"]).read_bytes()[row["tokens_offset_bytes"] :][: 8 * 2]
    stored = torch.from_numpy(np.frombuffer(content, np.float16).reshape(1, 8).astype(np.float32))
    torch.testing.assert_close(heard.heard_LH, stored, atol=2e-3, rtol=1e-3)
    assert hit.caption == CAPTIONS[next(name for name in CAPTIONS if clip_of(name) == hit.clip_id)]


def test_the_own_clip_and_what_is_of_its_video_is_not_found(tmp_path: Path, trained: Dataset) -> None:
    retriever = Retriever(trained.folder("indexes") / "all")
    everything = [hit.clip_id for hit in retriever.nearest(["a low hum"], 9, [None])[0]]
    assert len(everything) == 4
    own = everything[0]
    found = retriever.nearest(["a low hum", " ", "a low hum"], 3, [own, None, None])
    assert [[hit.clip_id for hit in several] for several in found] == [everything[1:], [], everything[:3]]
    trained.append("clips", [{**row, "clip_id": clip_id("youtube", "more", 9, 9), "start_ms": 9} for row in
                             trained.sql("SELECT * FROM clips WHERE clip_id = ?", [own]).to_pylist()])  # fmt: skip
    other = clip_id("youtube", "more", 9, 9)
    found = retriever.nearest(["a low hum"], 4, [other])
    assert [hit.clip_id for hit in found[0]] == everything[1:], "another clip of the same video"
    with pytest.raises(ArgumentError, match="lies in no dataset"):
        Retriever(Path(shutil.copytree(trained.folder("indexes") / "all", tmp_path / "index")))


def test_a_baseline_reads_nothing_and_refuses_an_index(trained: Dataset, tmp_path: Path) -> None:
    folder = train(trained, "plain", retrieval="none", neighbours=None)
    sizes = sizes_of(folder)
    assert not sizes.reads_sound and (sizes.latent_channels, sizes.latent_bins) == (2, 16)
    told = json.loads((folder / "config.json").read_text())["settings"]
    assert "neighbours" not in told["data"] and told["sources"]["listener"] is None
    manner = Manner(index=trained.folder("indexes") / "all")
    with pytest.raises(ArgumentError, match="was trained without retrieval: drop --index"):
        generate(folder, text=["a low hum"], out=tmp_path, seconds=0.5, steps=2, manner=manner)
    assert generate(folder, text=["a low hum"], out=tmp_path, seconds=0.5, steps=2).files[0].is_file()


def test_what_does_not_fit_is_refused(trained: Dataset) -> None:
    folder = trained.folder("runs") / "refused"
    with pytest.raises(ArgumentError, match=r"3 neighbours are to be read, and 2 are stored in 'heard'.*--k 3 or more"):
        train(trained, "refused", neighbours=3)
    other = build_tiny_clap(["something else"], CLAP, seed=1).save(trained.path / "other-clap")
    options = RunOptions(seconds=1.0, clap=str(other), retrieving=Retrieving(found="heard", neighbours=1))
    with pytest.raises(ArgumentError, match="found by another CLAP than that of this run"):
        train_size(TINY, trained, folder, options)
    with pytest.raises(ArgumentError, match="drop --raw"):
        train_size(TINY, trained, folder, RunOptions(raw=True))
    with pytest.raises(ArgumentError, match="needs a codec of mel spectrograms: give --codec"):
        train_size(SMALL, trained, folder, RunOptions())
    with pytest.raises(ArgumentError, match="at least 1, not 0; for none --retrieval none"):
        Retrieving(neighbours=0)
    empty = Dataset.create(trained.path.parent / "empty")
    with pytest.raises(
        ArgumentError, match=r"needs --codec; .* train one on this dataset: foundsound train mel-vae-ti"
    ):
        train_size(TINY, empty, folder, RunOptions())
    with pytest.raises(ArgumentError, match=r"needs --clap; .* train one on this dataset: foundsound train clap-tiny"):
        train_size(TINY, empty, folder, RunOptions(codec=str(trained.folder("runs") / "mel-vae-tiny")))


def test_other_recipes_refuse_what_is_for_this_one(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "dataset")
    with pytest.raises(
        ArgumentError, match="audiox-tiny retrieves nothing; drop --retrieval, --neighbours and --found"
    ):
        train_verb("audiox-tiny", data=[str(dataset.path)], retrieving=Retrieving(retrieval="none"))
    with pytest.raises(ArgumentError, match="clap-tiny has no use for --clap; drop --clap"):
        train_verb("clap-tiny", data=[str(dataset.path)], parts=Parts(clap="clap"))
