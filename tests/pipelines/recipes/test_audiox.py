"""AudioX from a dataset: stored tokens and latents give the losses that encoders and codec in the step give."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curation.dataset import Dataset
from curation.samples import Source
from curation.selections.selection import select
from curation.shards.pack import pack
from models.audiox.adapters import Adapters
from models.audiox.conditioning import FramePatches
from models.audiox.distillation import Distillation
from models.audiox.encoder_source import ConditionSources, EncoderSource
from models.audiox.network import AudioXConfig, AudioXNetwork
from models.audiox.objective import AudioXObjective, ObjectiveSettings
from models.audiox.recipes import audiox_base, audiox_small, audiox_tiny, default_tasks
from models.codecs.closed_form import MdctPcaConfig
from models.training.step import sample_rngs
from models.training.world import World
from pipelines.recipes.audiox import TINY, _extras, train_size
from pipelines.recipes.data import Encoding, batches_of, latent_samples
from pipelines.recipes.options import RunOptions
from tests.curation.made import RATE_HZ, Made
from tests.models.audiox.tiny_audiox import save_t5
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AudioXNetwork(SIZES)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    objective = AudioXObjective(ObjectiveSettings(), encoders)
    wanted = float(objective(network, plain, sample_rngs(0, 0, 6)).loss.detach())
    monkeypatch.setattr(encoders.text, "text_tokens", None)  # nothing may ask it any more
    encoders._remembered.clear()
    found = float(objective(network, stored, sample_rngs(0, 0, 6)).loss.detach())
    assert found == pytest.approx(wanted, rel=1e-3)
    part = {name: value if value is None else value[:2] for name, value in stored.items()}
    shown = objective.encoders.features(part["texts"], None, None, tokens=(part["tokens"], part["token_lengths"]))
    assert shown.text_BLT.shape[1] == max(part["token_lengths"]), "no longer than the longest text of the micro-batch"


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
