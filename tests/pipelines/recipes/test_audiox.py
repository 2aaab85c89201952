"""AudioX from a dataset: stored tokens and latents give the losses that encoders and codec in the step give."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.samples import Source
from curation.selections.selection import select
from curation.shards.pack import pack
from models.audiox.adapters import Adapters
from models.audiox.conditioning import FramePatches
from models.audiox.distillation import Distillation
from models.audiox.encoder_source import ConditionSources, EncoderSource
from models.audiox.masking import default_masking
from models.audiox.network import AudioXConfig, AudioXNetwork
from models.audiox.objective import AudioXObjective, ObjectiveSettings
from models.audiox.pretrained import ClipFrames
from models.audiox.recipes import audiox_base, audiox_small, audiox_tiny, default_tasks
from models.audiox.tasks import TaskMix
from models.codecs.closed_form import MdctPcaConfig
from models.training.step import sample_rngs
from models.training.world import World
from pipelines.main import main
from pipelines.recipes.audiox import TINY, _extras, train_size
from pipelines.recipes.data import Encoding, batches_of, latent_samples
from pipelines.recipes.options import RunOptions
from pipelines.verbs.encode import encode
from tests.curation.made import RATE_HZ, Made
from tests.models.audiox.tiny_audiox import save_clip, save_t5
from tests.pipelines.verbs.test_encode import saved_codec

TEXTS = ("a dog barks", "rain falls on the roof", "loud siren", "rain", "a loud dog", "siren on the roof")

SIZES = AudioXConfig(
    latent_channels=8,
    text_width=8,
    frame_width=48,
    frame_patches=4,
    width=16,
    depth=2,
    heads=2,
    context_width=12,
    time_features=16,
)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    written = Made(tmp_path)
    for number, text in enumerate(TEXTS):
        written.clip(f"v{number}", picture=number % 2 == 0, said=[{"captions": [text]}])
    dataset = written.dataset()
    select(dataset, name="train")
    pack(dataset, "train")
    return dataset


@pytest.fixture
def encoding(tmp_path: Path) -> Encoding:
    return Encoding(
        codec=str(saved_codec(tmp_path / "codec")),
        name="tiny",
        frame_rate_hz=50.0,
        frame_size_px=16,
        text=EncoderSource(kind="t5", path=str(save_t5(tmp_path / "t5"))),
    )


def rows_of(dataset: Dataset, encoding: Encoding, **how: Any) -> dict[str, Any]:
    world = World(device=torch.device("cpu"))
    samples = latent_samples([Source(dataset=dataset)], encoding, seconds=[0.05], world=world, **how)
    return batches_of(samples, samples.plan(batch_size=6, seed=0))(0, range(6))


def random_network(spread: float = 0.2, **sizes: Any) -> AudioXNetwork:
    """One in which every condition counts, the more the larger its weights are: none begins at zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AudioXNetwork(replace(SIZES, **sizes))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=spread)
    return network


def test_stored_tokens_give_the_loss_that_the_encoder_gives(
    dataset: Dataset, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = rows_of(dataset, encoding)
    assert stored["tokens"].dtype == torch.float32 and stored["token_lengths"] == [
        len(t.split()) for t in stored["texts"]
    ]
    plain = rows_of(dataset, replace(encoding, text=None))
    assert plain.keys() == stored.keys() - {"tokens", "token_lengths"}
    assert encoding.text is not None
    encoders = ConditionSources(text=encoding.text, frames=FramePatches(pictures=3, side_px=8, patch_px=4)).encoders()
    network = random_network()
    objective = AudioXObjective(ObjectiveSettings(), encoders)
    wanted = float(objective(network, plain, sample_rngs(0, 0, 6)).loss.detach())
    monkeypatch.setattr(encoders.text, "text_tokens", None)  # nothing may ask it any more
    encoders._remembered.clear()
    found = float(objective(network, stored, sample_rngs(0, 0, 6)).loss.detach())
    assert found == pytest.approx(wanted, rel=1e-3)
    part = {name: value if value is None else value[:2] for name, value in stored.items()}
    shown = objective.encoders.features(part["texts"], None, None, tokens=(part["tokens"], part["token_lengths"]))
    assert shown.text_BLT.shape[1] == max(part["token_lengths"]), "no longer than the longest text of the micro-batch"


def keep_tokens(dataset: Dataset, encoding: Encoding, clip: Path) -> None:
    """As the line that `Encoding` names does."""
    encode(
        dataset.path,
        codec=encoding.codec,
        name=encoding.name,
        frame_rate_hz=encoding.frame_rate_hz,
        frame_size_px=encoding.frame_size_px,
        frame_encoder=str(clip),
        workers=0,
    )


@pytest.mark.parametrize("frame_size_px", [16, 72], ids=["raw pictures", "JPEG"])
def test_kept_tokens_of_pictures_give_the_loss_that_clip_in_the_step_gives(
    dataset: Dataset, encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame_size_px: int
) -> None:
    """With stills, patches hidden over time, and clips that have no picture."""
    frames = EncoderSource(kind="clip", path=str(save_clip(tmp_path / "clip")))
    encoding = replace(encoding, frame_size_px=frame_size_px, frames=frames)
    assert encoding.text is not None
    plain = rows_of(dataset, encoding)
    assert plain["frames"] is not None and "seen" not in plain
    keep_tokens(dataset, encoding, tmp_path / "clip")
    kept = rows_of(dataset, encoding)
    assert kept["frames"] is None and kept["seen"].dtype == torch.float16
    assert kept["seen"].shape == (*plain["frames"].shape[:2], 5, 8)
    assert torch.equal(kept["has_seen"], plain["has_frames"]) and 0 < int(kept["has_seen"].sum()) < 6
    encoders = ConditionSources(text=encoding.text, frames=frames).encoders()
    network = random_network(0.5, frame_width=8, frame_patches=5)
    settings = ObjectiveSettings(masking=default_masking(), tasks=TaskMix(weights={"video": 1.0, "image": 1.0}))
    objective = AudioXObjective(settings, encoders)

    def losses_of(rows: dict[str, Any]) -> list[float]:
        return [float(objective(network, rows, sample_rngs(0, k, 6)).loss.detach()) for k in range(0, 48, 6)]

    wanted = losses_of(plain)
    blind = losses_of({**kept, "seen": kept["seen"] * 0})
    assert np.abs(np.divide(blind, wanted) - 1).max() > 1e-2, "pictures count, or nothing is shown"
    monkeypatch.setattr(ClipFrames, "frame_features", None)  # nothing may ask it any more
    np.testing.assert_allclose(losses_of(kept), wanted, rtol=1e-3)


def test_tokens_of_another_clip_are_refused_with_the_line_that_mends_it(
    dataset: Dataset, encoding: Encoding, tmp_path: Path
) -> None:
    first, other = (save_clip(tmp_path / name, seed) for seed, name in enumerate(("first", "other")))
    keep_tokens(dataset, encoding, first)
    wanted = replace(encoding, frames=EncoderSource(kind="clip", path=str(other)))
    for changed in (wanted, replace(wanted, frames=EncoderSource(kind="clip", path=str(first)), frame_size_px=24)):
        with pytest.raises(ArgumentError, match="of another encoder than this run's, or of pictures") as refused:
            rows_of(dataset, changed)
        line = str(refused.value).partition("make them anew: foundsound ")[2]
        assert main([*line.split(), "--workers", "0"]) == 0
        assert rows_of(dataset, changed)["seen"] is not None
    assert "seen" not in rows_of(dataset, encoding), "patches of pixels are no tokens of CLIP"


def test_tokens_of_some_datasets_alone_are_refused(dataset: Dataset, encoding: Encoding, tmp_path: Path) -> None:
    clip = save_clip(tmp_path / "clip")
    written = Made(tmp_path / "second")
    written.clip("w0", picture=True, said=[{"captions": ["rain"]}])
    second = written.dataset()
    select(second, name="train")
    pack(second, "train")
    keep_tokens(dataset, encoding, clip)
    both = [Source(dataset=one) for one in (dataset, second)]
    encoding = replace(encoding, frames=EncoderSource(kind="clip", path=str(clip)))
    with pytest.raises(ArgumentError, match=f"{second.path} has no tokens 'tiny' of pictures and another dataset"):
        latent_samples(both, encoding, seconds=[0.05], world=World(device=torch.device("cpu")))
    keep_tokens(second, encoding, clip)
    assert len(latent_samples(both, encoding, seconds=[0.05], world=World(device=torch.device("cpu")))) == 7


def test_what_came_later_is_seen_before_training(dataset: Dataset, encoding: Encoding, tmp_path: Path) -> None:
    """Tokens that were asked for once are made of new clips too, as latents are."""
    keep_tokens(dataset, encoding, save_clip(tmp_path / "clip"))
    (facts,) = dataset.current_facts("encode_frames").values()
    for part in facts.glob("part-*.parquet"):
        if "schema" not in part.name:
            part.unlink()
    encoding = replace(encoding, frames=EncoderSource(kind="clip", path=str(tmp_path / "clip")))
    assert rows_of(dataset, encoding)["seen"] is not None


def test_raw_batches_are_those_of_what_was_encoded(dataset: Dataset, encoding: Encoding) -> None:
    raw = rows_of(dataset, encoding, raw=True)
    assert not dataset.has_stage("encode") and "tokens" not in raw
    stored = rows_of(dataset, encoding)
    assert raw["keys"] == stored["keys"] and raw["texts"] == stored["texts"]
    for name in ("latents", "frames", "has_frames"):
        assert torch.equal(raw[name], stored[name]), name


def test_what_a_recipe_needs_is_asked_for() -> None:
    assert not _extras(audiox_tiny(latent_channels=8, text_width=8)).before
    small = audiox_small(latent_channels=8, text_width=8)
    assert _extras(small).before and _extras(audiox_base()).before and _extras(small).teachers is None
    tasks = replace(default_tasks(), music=0.0)
    assert not _extras(replace(small, objective=replace(small.objective, tasks=tasks))).before
    deaf = replace(small.network, adapters=Adapters(audio=False))
    assert not _extras(replace(small, network=deaf)).before
    distilled = replace(small.objective, distillation=Distillation(weight=0.1))
    assert _extras(replace(small, objective=distilled)).teachers == "clap"


@pytest.mark.slow
def test_a_raw_run_has_the_losses_of_an_encoded_one(dataset: Dataset, encoding: Encoding, tmp_path: Path) -> None:
    assert encoding.text is not None
    codec = MdctPcaConfig(sample_rate_hz=RATE_HZ, channels=1, hop_samples=80, latent_channels=8)
    size = replace(TINY, seconds=0.05, codec=codec, frame_size_px=16)
    curves = []
    for name, raw in (("encoded", False), ("raw", True)):
        options = RunOptions(clips=48, text_encoder=encoding.text.path, raw=raw)
        train_size(size, dataset, tmp_path / name, options)
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        curves.append([json.loads(line)["loss"] for line in lines])
    assert len(curves[0]) >= 1
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-3)
