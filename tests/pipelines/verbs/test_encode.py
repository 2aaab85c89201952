"""`encode --plan` says what `encode` then writes."""

from pathlib import Path

import pytest
import torch

from curation.errors import ArgumentError
from models.codecs.closed_form import MdctPca, MdctPcaConfig
from models.weights import safetensors_paths, sha256_of_files
from pipelines.verbs.encode import EncodePlan, encode
from pipelines.verbs.result import StageResult
from tests.curation.made import RATE_HZ, Made
from tests.models.audiox.tiny_audiox import save_clip, save_t5


def saved_codec(folder: Path) -> Path:
    config = MdctPcaConfig(sample_rate_hz=RATE_HZ, channels=1, hop_samples=80, latent_channels=8)
    return MdctPca.fit([torch.randn(1, 4_000, generator=torch.Generator().manual_seed(0))], config).save(folder)


def test_the_plan_is_what_is_written(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for number in range(12):
        made.clip(f"v{number}", picture=True)
    dataset, codec = made.dataset(), str(saved_codec(tmp_path / "codec"))
    plan = encode(dataset.path, codec=codec, name="blocks", frame_size_px=16, plan=True)
    assert isinstance(plan, EncodePlan)
    assert (plan.pending, plan.probed) == (12, 8)
    assert plan.latents_bytes == 10 * 8 * 2, "ten frames of eight numbers"
    assert not dataset.has_stage("encode")
    done = encode(dataset.path, codec=codec, name="blocks", frame_size_px=16, workers=0)
    assert isinstance(done, StageResult)
    written = sum(path.stat().st_size for path in dataset.folder("latents").rglob("*.bin"))
    assert written == plan.total_bytes
    again = encode(dataset.path, codec=codec, name="blocks", frame_size_px=16, plan=True)
    assert str(again) == "every clip is encoded"


def test_the_plan_counts_texts(tmp_path: Path) -> None:
    made = Made(tmp_path)
    for number in range(3):
        made.clip(f"v{number}", said=[{"captions": [f"rain {number}", "a dog barks"], "labels": ["siren"]}])
    made.clip("labelled", said=[{"labels": ["loud siren"]}])
    dataset, codec = made.dataset(), str(saved_codec(tmp_path / "codec"))
    text_encoder = str(save_t5(tmp_path / "t5"))
    plan = encode(dataset.path, codec=codec, name="blocks", text_encoder=text_encoder, plan=True)
    assert isinstance(plan, EncodePlan)
    mean_bytes = (3 * 2 + 3 * 3 + 2) / 7 * 8 * 2
    assert (plan.pending_texts, plan.tokens_bytes) == (7, pytest.approx(mean_bytes)), "eight numbers a token"
    assert plan.total_bytes == pytest.approx(3 * 192 + 160 + 7 * mean_bytes), "arrays begin at multiples of 64"
    assert "4 clips to encode" in str(plan) and "7 texts of 38.9 bytes" in str(plan)
    done = encode(dataset.path, codec=codec, name="blocks", text_encoder=text_encoder, workers=0)
    assert isinstance(done, StageResult)
    assert (done.stages["encode"].done, done.stages["encode_text"].done) == (4, 7)
    identity = dataset.current_facts("encode_text")["blocks"] / "identity.json"
    assert sha256_of_files(safetensors_paths(text_encoder)) in identity.read_text()
    assert encode(dataset.path, codec=codec, name="blocks", text_encoder=text_encoder, workers=0).tally.done == 0


def test_the_plan_names_the_tokens_that_are_not_kept() -> None:
    """190,000 clips of 3.84 MB are 730 GB."""
    plan = EncodePlan(pending=190_000, probed=8, latents_bytes=27_520, frames_bytes=600_000)
    assert "27.5 kB of latents and 600 kB of pictures a clip (measured on 8), 119 GB in total" in str(plan)
    assert "3.84 MB a clip, 730 GB" in str(plan)


def test_the_plan_measures_the_tokens_that_are_kept(tmp_path: Path) -> None:
    """Three pictures of five tokens of eight numbers are 240 bytes; arrays begin at multiples of 64."""
    made = Made(tmp_path)
    for number in range(10):
        made.clip(f"v{number}", picture=number < 9)
    dataset, how = made.dataset(), {"codec": str(saved_codec(tmp_path / "codec")), "name": "blocks", "frame_size_px": 8}
    clip = str(save_clip(tmp_path / "clip"))
    plan = encode(dataset.path, **how, frame_encoder=clip, plan=True)  # type: ignore[arg-type]
    assert isinstance(plan, EncodePlan)
    assert (plan.pending, plan.pending_sights, plan.seen_bytes) == (10, 9, 240)
    assert "tokens of pictures: 240 bytes a clip, 2.16 kB for 9 clips with pictures" in str(plan)
    assert plan.total_bytes == pytest.approx(10 * (plan.latents_bytes + plan.frames_bytes) + 9 * 240)
    done = encode(dataset.path, **how, frame_encoder=clip, workers=0)  # type: ignore[arg-type]
    assert isinstance(done, StageResult)
    assert (done.stages["encode"].done, done.stages["encode_frames"].done) == (10, 9)
    identity = dataset.current_facts("encode_frames")["blocks"] / "identity.json"
    assert sha256_of_files(safetensors_paths(clip)) in identity.read_text()
    again = encode(dataset.path, **how, frame_encoder=clip, plan=True)  # type: ignore[arg-type]
    assert str(again) == "every clip is encoded"
    other = str(save_clip(tmp_path / "other", seed=1))
    changed = encode(dataset.path, **how, frame_encoder=other, plan=True)  # type: ignore[arg-type]
    assert isinstance(changed, EncodePlan) and (changed.pending, changed.pending_sights) == (0, 9)


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.clip("v0", picture=True)
    dataset, codec = made.dataset(), str(saved_codec(tmp_path / "codec"))
    for name, said in ((str(save_t5(tmp_path / "t5")), "is of kind 't5'; give a CLIP"), ("nowhere", "can be loaded")):
        with pytest.raises(ArgumentError, match=said):
            encode(dataset.path, codec=codec, name="blocks", frame_encoder=name, plan=True)
