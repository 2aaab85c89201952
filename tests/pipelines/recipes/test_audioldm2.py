"""AudioLDM 2 from a dataset: trained, stopped and resumed, trained further, made sounds with, read by diffusers."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from curation.dataset import Dataset
from curation.errors import ArgumentError, StoppedError
from curation.selections.selection import select
from curation.shards.pack import pack
from models.audioldm2 import AudioLDM2
from models.encoders.audiomae import save_audiomae
from models.encoders.audiomae_network import AudioMaeConfig, AudioMaeEncoder
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from models.training.checkpoint import checkpoints
from models.training.loop import TrainSettings
from models.training.run_folder import ReportLog
from pipelines.makers.manner import Manner
from pipelines.recipes.audioldm2 import BASE, TINY, train_size
from pipelines.recipes.options import RunOptions
from pipelines.training.evaluation import EvaluationOptions
from pipelines.verbs.generate import generate
from pipelines.verbs.measure import measure
from pipelines.verbs.train import Parts, train
from tests.models.audioldm2.tiny_audioldm2 import codec
from tests.retrieval_index.tones import RATE_HZ, tone_dataset
from tests.retrieval_index.toy_embedder import tone

CAPTIONS = {"low": "a low hum", "middle": "a steady tone", "high": "a shrill whistle"}
CLAP = TinyClapConfig(sample_rate_hz=RATE_HZ, window_s=2, f_max_hz=3_900, audio_width=16, text_width=32, dimension=16)


def make(folder: Path) -> Dataset:
    """Three tones packed as `train`, and a CLAP, an AudioMAE and a mel VAE of random weights."""
    sounds = {name: tone(110 * 3**number, 1.5, RATE_HZ) for number, name in enumerate(CAPTIONS)}
    dataset = tone_dataset(folder, sounds, CAPTIONS)
    runs = dataset.folder("runs")
    build_tiny_clap(list(CAPTIONS.values()), CLAP, seed=0).save(runs / "clap-tiny" / "model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        audiomae = AudioMaeEncoder(AudioMaeConfig(frames=128, width=16, depth=3, heads=2))
    save_audiomae(audiomae, runs / "audiomae-tiny" / "model")
    codec().save(runs / "mel-vae-tiny" / "model")
    return packed(dataset)


def packed(dataset: Dataset) -> Dataset:
    measure(dataset.path, workers=0)
    select(dataset, name="train")
    pack(dataset, "train")
    return dataset


def options(clips: int = 40, **more: object) -> RunOptions:
    return RunOptions(seconds=1.28, clips=clips, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    dataset = make(tmp_path_factory.mktemp("audioldm2") / "dataset")
    facts = train_size(TINY, dataset, dataset.folder("runs") / "run", options())
    assert (facts["clips"], facts["clips_seen"]) == (3, 40) and facts["loss_language"] > 0
    return dataset


def test_a_run_goes_through_its_phases_and_encodes_all_once(trained: Dataset) -> None:
    folder = trained.folder("runs") / "run"
    seen = {
        phase: json.loads((folder / phase / "log.jsonl").read_text().splitlines()[-1])["clips_seen"]
        for phase in ("diffusion", "language", "joint")
    }
    assert seen == {"diffusion": 16, "language": 16, "joint": 8}
    for stage, count in (("encode", 3), ("encode_sound", 3), ("encode_text", 3), ("embed_text", 3)):
        assert len(trained.sql(f"SELECT key FROM {stage}")) == count, stage
    model = AudioLDM2.from_pretrained(folder)
    language = model.network.language.config
    # 1.28 s are 8 by 8 patches: one vector, as wide as the listener.
    assert (language.vectors, language.width, model.hearing.window_s) == (1, 16, 1.28)
    assert model.scheduler["prediction_type"] == "v_prediction"
    (row,) = trained.sql("SELECT DISTINCT window_s, tokens, token_channels FROM encode_sound").to_pylist()
    assert tuple(row.values()) == (1.28, 1, 16)
    variance = np.mean([_variance(trained, row) for row in trained.sql("SELECT * FROM encode").to_pylist()])
    assert float(model.network.latent_scale) == pytest.approx(variance**-0.5, rel=0.05)


def _variance(dataset: Dataset, row: dict) -> float:
    """Of what is drawn of a clip's latents: that of their means, which are near 0, and the mean of their own."""
    content = (dataset.root("latents").path / row["blob"]).read_bytes()
    count = row["latent_frames"] * row["latent_channels"]
    mean, std = (
        np.frombuffer(content, "<f2", count=count, offset=row[f"{name}_offset_bytes"]).astype(np.float64)
        for name in ("latents", "std")
    )
    return float(mean.var() + np.square(std).mean())


def test_sounds_are_made_meanwhile_and_change_nothing(trained: Dataset) -> None:
    """In the last phase alone, where words are understood; clips of all phases are counted."""
    folder = trained.folder("runs") / "sampled"
    train_size(TINY, trained, folder, options(evaluation=EvaluationOptions(samples=2, every_clips=8)))
    (made,) = (folder / "samples").iterdir()
    assert made.name == "clips-000000040" and len(list(made.glob("*.wav"))) == 2
    lines = [json.loads(line) for line in (folder / "joint" / "log.jsonl").read_text().splitlines()]
    assert [line["samples"] for line in lines if "samples" in line] == [2.0]
    for part in ("unet/diffusion_pytorch_model", "language_model/model"):
        one, other = (trained.folder("runs") / run / "model" / f"{part}.safetensors" for run in ("run", "sampled"))
        assert one.read_bytes() == other.read_bytes()


def test_diffusers_makes_a_sound_of_a_run(trained: Dataset) -> None:
    from diffusers import AudioLDM2Pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = AudioLDM2Pipeline.from_pretrained(
            str(trained.folder("runs") / "run" / "model"), low_cpu_mem_usage=False
        )
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline("a low hum", num_inference_steps=2, audio_length_in_s=0.5).audios
    assert made.shape == (1, 8_000) and np.isfinite(made).all()


def test_a_stopped_run_comes_to_the_same_bits(trained: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped within the second phase, after its first step, and run again."""
    folder, whole = trained.folder("runs") / "stopped", trained.folder("runs") / "run"
    told = ReportLog.add

    def stop(self: ReportLog, report: dict[str, float]) -> None:
        told(self, report)
        if self.path.parent.name == "language":
            raise KeyboardInterrupt

    def often(self: TrainSettings) -> None:
        object.__setattr__(self, "report_every_clips", 8)
        object.__setattr__(self, "save_every_clips", 8)

    with monkeypatch.context() as patch:
        patch.setattr(ReportLog, "add", stop)
        patch.setattr(TrainSettings, "__post_init__", often)
        with pytest.raises((KeyboardInterrupt, StoppedError)):
            train_size(TINY, trained, folder, options())
    assert not (folder / "model").exists() and checkpoints(folder / "diffusion" / "checkpoints")
    train_size(TINY, trained, folder, options())
    for part in ("unet/diffusion_pytorch_model", "language_model/model", "projection_model/diffusion_pytorch_model"):
        one, other = ((place / "model" / f"{part}.safetensors").read_bytes() for place in (whole, folder))
        assert one == other, part


@pytest.mark.slow
def test_a_run_or_a_folder_of_the_pipeline_is_trained_further(trained: Dataset, tmp_path: Path) -> None:
    start = trained.folder("runs") / "run" / "model"
    bare = tmp_path / "pipeline"
    for path in sorted(start.rglob("*")):
        inside = path.relative_to(start)
        if path.is_file() and inside.parts[0] not in ("foundsound.json", "audiomae", "mean_loa.safetensors"):
            (bare / inside).parent.mkdir(parents=True, exist_ok=True)
            (bare / inside).write_bytes(path.read_bytes())
    # What diffusers wrote says nothing of the length of a sound: that of the published models, longer than these are.
    with pytest.raises(ArgumentError, match="has no AudioMAE; give --listener"):
        train_size(TINY, trained, tmp_path / "none", options(start=str(bare)))
    folder = tmp_path / "further"
    facts = train_size(TINY, trained, folder, options(clips=16, start=str(start)))
    assert facts["clips_seen"] == 16 and not (folder / "diffusion").exists()
    before, after = AudioLDM2.from_pretrained(start), AudioLDM2.from_pretrained(folder)
    assert float(before.network.latent_scale) == pytest.approx(float(after.network.latent_scale))
    moved = {
        name: float((one - dict(after.network.named_parameters())[name]).abs().max())
        for name, one in before.network.named_parameters()
    }
    assert 0 < max(moved.values()) < 0.1
    with pytest.raises(ArgumentError, match="brings its own codec"):
        train_size(TINY, trained, tmp_path / "other", options(start=str(start), codec="other"))
    with pytest.raises(ArgumentError, match="has the AudioMAE that it was trained with: give no other listener"):
        train_size(TINY, trained, tmp_path / "other", options(start=str(start), listener="other"))
    with pytest.raises(ArgumentError, match=r"trained on sounds of 1\.28 s: drop --seconds"):
        train_size(TINY, trained, tmp_path / "other", RunOptions(seconds=0.5, clips=8, start=str(start)))


def test_sounds_are_made_of_words_and_of_the_beginning_of_a_sound(trained: Dataset, tmp_path: Path) -> None:
    folder = trained.folder("runs") / "run"
    soundfile.write(tmp_path / "begun.wav", tone(300, 1.3, 16_000), 16_000)
    how = {"seconds": 1.0, "steps": 2}
    waves = {}
    for name, said in (
        ("words", {"text": ["a low hum"]}),
        ("begun", {"text": ["a low hum"], "audio": tmp_path / "begun.wav"}),
        ("three", {"text": ["a low hum"], "manner": Manner(candidates=3)}),
    ):
        (file,) = generate(folder, out=tmp_path / name, **how, **said).files  # type: ignore[arg-type]
        waves[name], rate_hz = soundfile.read(file, dtype="float32")
        assert (len(waves[name]), rate_hz) == (16_000, 16_000)
    assert not np.array_equal(waves["begun"], waves["words"])


def test_what_is_missing_is_said_with_the_lines_that_make_it(tmp_path: Path) -> None:
    dataset = packed(tone_dataset(tmp_path / "dataset", {"low": tone(110, 1.5, RATE_HZ)}, {"low": "a low hum"}))
    with pytest.raises(ArgumentError, match=r"(?s)needs --codec, --clap, --listener.*train mel-vae-tiny --data"):
        train_size(TINY, dataset, tmp_path / "run", options())
    with pytest.raises(ArgumentError, match="drop --raw"):
        train_size(TINY, dataset, tmp_path / "run", options(raw=True))
    with pytest.raises(ArgumentError, match="audiox-tiny trains no other model further; drop --start"):
        train("audiox-tiny", data=[str(dataset.path)], parts=Parts(start="somewhere"))
    assert (BASE.codec, BASE.seconds) == ("cvssp/audioldm2", 10.24)
