"""From cut sounds to answers with a real, untrained CLAP: the stage, the index, queries, and what is refused."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import ffmpeg
import numpy as np
import pytest
import soundfile

from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.measure import Measure
from curation.programs.ffmpeg import ffmpeg_path
from curation.selections.selection import select
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from pipelines.runner import Job, run
from pipelines.verbs.embed import embed
from pipelines.verbs.index import index
from pipelines.verbs.query import query
from pipelines.wiring.embedders import embed_stage, embedder_of, embedder_source, load_clap
from retrieval_index.index import Index
from retrieval_index.manifest import MANIFEST_FILE
from retrieval_index.windows import mono
from tests.retrieval_index.tones import RATE_HZ, clip_of, tone_dataset
from tests.retrieval_index.toy_embedder import tone

CAPTIONS = {"low": "a low hum", "middle": "a steady tone", "high": "a shrill whistle", "noise": "a rushing waterfall"}
TINY = TinyClapConfig(sample_rate_hz=RATE_HZ, window_s=2, f_max_hz=3_900, audio_width=16, text_width=32, dimension=16)


def save_clap(folder: Path, seed: int = 0) -> Path:
    return build_tiny_clap(list(CAPTIONS.values()), TINY, seed=seed).save(folder)


def measured(dataset: Dataset) -> Dataset:
    """With the facts of `measure`, which a selection asks for."""
    stage = Measure(media=dataset.media)
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=8, workers=0))
    return dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of four sounds, embedded and indexed, with its CLAP inside."""
    folder = tmp_path_factory.mktemp("wiring") / "dataset"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE_HZ).astype(np.float32)
    sounds = {"low": tone(110, 1, RATE_HZ), "middle": tone(440, 2, RATE_HZ), "high": tone(3000, 3, RATE_HZ)}
    dataset = measured(tone_dataset(folder, {**sounds, "noise": noise}, CAPTIONS))
    clap = save_clap(dataset.folder("runs") / "clap" / "model")
    select(dataset, name="train")
    assert embed(folder, embedder=str(clap), workers=0).stages["embed"].done == 4
    built = index(folder, embedder=str(clap))
    assert (built.clips, built.windows) == (4, 1 + 1 + 2 + 2)
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it in another place, so that it may be spoiled."""
    yield Path(shutil.copytree(made, tmp_path / "moved"))


def clap_of(dataset: Path) -> Path:
    return dataset / "runs" / "clap" / "model"


def sound_file(dataset: Path, name: str) -> Path:
    opened = Dataset(dataset)
    row = opened.sql("SELECT audio_sha256 FROM cut WHERE key = ?", [clip_of(name)]).to_pylist()[0]
    return opened.media.path(row["audio_sha256"], ".flac")


@pytest.mark.parametrize("name", CAPTIONS)
def test_a_sound_finds_itself(made: Path, name: str) -> None:
    file = sound_file(made, name)
    best = query(made, sound=file, k=2).as_dict()[0]
    assert (best["clip_id"], best["caption"], best["path"]) == (clip_of(name), CAPTIONS[name], str(file))
    assert best["score"] == pytest.approx(1, abs=1e-3)
    assert 0 <= best["start_s"] < best["end_s"] <= 3


def test_a_text_finds_what_the_vectors_say(made: Path) -> None:
    """The answer equals a sort of all cosines, computed here with the encoder alone."""
    clap = load_clap(str(clap_of(made)))
    text_D = clap.embed_text(["a shrill whistle"])[0]
    scores = {}
    for name in CAPTIONS:
        wave_T = mono(sound_file(made, name), RATE_HZ)
        pieces = [wave_T[: 2 * RATE_HZ], *([wave_T[RATE_HZ:]] if len(wave_T) > 2 * RATE_HZ else [])]
        scores[clip_of(name)] = max(float(clap.embed_sound(piece[None])[0] @ text_D) for piece in pieces)
    hits = query(made, "a shrill whistle").hits
    assert [hit.clip_id for hit in hits] == sorted(scores, key=lambda clip: -scores[clip])
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores.values(), reverse=True), abs=1e-3)


def test_embedder_of_is_the_one_that_made_the_index(made: Path) -> None:
    folder = made / "indexes" / "train"
    embedder = embedder_of(folder)
    assert (
        embedder.identity()
        == Index.read_manifest(folder)["embedder"]
        == embed_stage(Dataset(made), str(clap_of(made))).embedder
    )
    assert (embedder.sample_rate_hz, embedder.window_s, embedder.dimension) == (RATE_HZ, 2.0, 16)
    assert len(Index.open(folder, embedder=embedder).query_text(["hum"], k=3)[0]) == 3


def test_a_dataset_with_its_own_clap_may_be_moved(made: Path, dataset: Path) -> None:
    before, after = query(made, "a low hum"), query(dataset, "a low hum")
    assert after.hits == before.hits
    assert all(after.path(hit).is_relative_to(dataset) and after.path(hit).is_file() for hit in after.hits)


def test_a_clap_outside_the_dataset_is_named_by_its_whole_path(tmp_path: Path) -> None:
    (tmp_path / "clap").mkdir()
    data = tmp_path / "data"
    (data / "clap").mkdir(parents=True)
    assert embedder_source(str(tmp_path / "clap"), data, data / "indexes" / "i") == str(tmp_path / "clap")
    assert embedder_source(str(data / "clap"), data, data / "indexes" / "i") == "../../clap"
    assert embedder_source("laion/clap-htsat-unfused", data, data / "indexes" / "i") == "laion/clap-htsat-unfused"


def test_a_clap_that_changed_since_is_refused(dataset: Path) -> None:
    save_clap(clap_of(dataset), seed=1)
    with pytest.raises(DatasetError, match="another embedder \\(weights_sha256: "):
        query(dataset, "a low hum")
    with pytest.raises(ArgumentError, match="has no vectors 'clap' made with"):
        index(dataset, embedder=str(clap_of(dataset)))


def test_a_clap_that_is_damaged_or_gone_is_refused(dataset: Path) -> None:
    weights = clap_of(dataset) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ArgumentError, match="no CLAP can be loaded from"):
        query(dataset, "a low hum")
    shutil.rmtree(clap_of(dataset))
    with pytest.raises(ArgumentError, match="no CLAP can be loaded from"):
        query(dataset, "a low hum")


def test_an_index_that_names_no_embedder_is_refused(dataset: Path) -> None:
    file = dataset / "indexes" / "train" / MANIFEST_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), "source": {}}))
    with pytest.raises(DatasetError, match="does not say how its embedder is loaded"):
        query(dataset, "a low hum")


def test_clips_without_vectors_are_counted_and_an_empty_selection_says_so(tmp_path: Path) -> None:
    sounds = {name: tone(220 * (n + 1), 1, RATE_HZ) for n, name in enumerate("abc")}
    dataset = measured(tone_dataset(tmp_path / "dataset", sounds))
    clap = str(save_clap(tmp_path / "clap"))
    stage = embed_stage(dataset, clap)
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage).slice(0, 1), workers=0))
    select(dataset, name="all")
    select(dataset, name="none", where="false")
    with pytest.raises(ArgumentError, match="2 of 3 clips of selection 'all' have no vectors 'clap'"):
        index(dataset.path, selection="all", embedder=clap)
    with pytest.raises(ArgumentError, match="'none' keeps no clip"):
        index(dataset.path, selection="none", embedder=clap)
    with pytest.raises(ArgumentError, match="cannot name a index"):
        index(dataset.path, selection="all", name="../up", embedder=clap)


def test_a_query_is_a_text_or_a_sound(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="and not both"):
        query(made)
    with pytest.raises(ArgumentError, match="and not both"):
        query(made, "a hum", sound=tmp_path / "a.wav")
    with pytest.raises(ArgumentError, match="there is no sound"):
        query(made, sound=tmp_path / "a.wav")
    (tmp_path / "a.wav").write_text("not a sound")
    with pytest.raises(ArgumentError, match="cannot be read"):
        query(made, sound=tmp_path / "a.wav")
    with pytest.raises(ArgumentError, match="give some words"):
        query(made, " ")


def test_the_sound_of_a_video_is_asked_as_the_same_sound_is(made: Path, tmp_path: Path) -> None:
    sound, video = tmp_path / "a.wav", tmp_path / "a.mov"
    soundfile.write(sound, tone(440, 2, RATE_HZ), RATE_HZ)
    ffmpeg.run(ffmpeg.input(str(sound)).output(str(video), acodec="pcm_s16le", v="error"), cmd=ffmpeg_path())
    assert query(made, sound=video).hits == query(made, sound=sound).hits
    with pytest.raises(DatasetError, match="holds no index"):
        query(made, "a hum", index="other")
