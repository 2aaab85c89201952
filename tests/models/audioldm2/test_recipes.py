"""Recipes, and training further what diffusers saved."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.audioldm2 import AudioLDM2
from models.audioldm2.phases import AudioLdm2Recipe
from models.audioldm2.recipes import Frozen, Widths, audioldm2_base, audioldm2_tiny, train_audioldm2
from models.training.step import Batch
from models.training.world import World
from tests.models.audioldm2.tiny_audioldm2 import CONFIG, save_encoders, tiny_audioldm2


def test_the_base_recipe_is_the_published_one() -> None:
    recipe = audioldm2_base(total_clips=1_000_000)
    assert [one.objective.phase for one in recipe.phases] == ["diffusion", "language", "joint"]
    assert [one.training.total_clips for one in recipe.phases] == [600_000, 200_000, 200_000]
    rates = {one.objective.phase: one.training.schedule.peak for one in recipe.phases}
    assert rates == {"diffusion": 1e-4, "language": 2e-4, "joint": 1e-4}
    assert recipe.batch_clips == 16 and recipe.phases[0].training.schedule.warmup_clips == 5_000 * 16
    objective = recipe.phases[2].objective
    assert (objective.true_ratio, objective.drop, objective.distance) == (0.25, 0.1, "l1")
    assert (objective.schedule.spacing, objective.schedule.beta_start, objective.schedule.beta_end) == (
        "scaled_linear", 0.0015, 0.0195,
    )  # fmt: skip
    # 0.9999 a step of 16 clips.
    assert recipe.phases[0].training.ema.decay(16, 10**9) == pytest.approx(0.9999, abs=1e-7)


def test_phases_are_each_once_and_can_be_chosen() -> None:
    recipe = audioldm2_tiny(Widths(said_width=8, text_width=16, loa_width=16, vectors=2), total_clips=100)
    assert recipe.total_clips == 100
    assert [one.objective.phase for one in recipe.only("joint").phases] == ["joint"]
    with pytest.raises(ValueError, match="each once"):
        AudioLdm2Recipe(network=recipe.network, phases=recipe.phases[:1] * 2, batch_clips=1)
    with pytest.raises(ValueError, match="at least one"):
        recipe.only()


def bare(folder: Path) -> Path:
    """A folder as diffusers writes one: nothing of ours in it."""
    tiny_audioldm2(folder).save_pretrained(folder / "pipeline")
    for name in ("foundsound.json", "mean_loa.safetensors", "audiomae/model.safetensors"):
        (folder / "pipeline" / name).unlink()
    (folder / "pipeline" / "audiomae").rmdir()
    return folder / "pipeline"


def rows_at(number: int, rows: range) -> Batch:
    rng = torch.Generator().manual_seed(number)
    count = 2

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn((count, *shape), generator=rng)[rows.start : rows.stop : rows.step]

    return {
        "keys": ["a", "b"],
        "latents": drawn(16, 32),
        "heard": drawn(8, 16),
        "said": drawn(8),
        "tokens": drawn(3, 16),
        "token_lengths": [3, 2],
        "texts": ["a dog barks", "rain falls"],
    }


def test_a_folder_that_diffusers_wrote_is_trained_further(tmp_path: Path) -> None:
    folder = bare(tmp_path)
    listener = save_encoders(tmp_path / "parts") / "audiomae"
    start = AudioLDM2.from_pretrained(folder, listener=listener)
    assert (start.network.language.config.vectors, start.hearing.window_s, start.hearing.factor) == (8, 10.24, 8)
    before = {name: one.clone() for name, one in start.network.state_dict().items()}
    recipe = audioldm2_tiny(Widths(), total_clips=20).only("joint")
    recipe = replace(recipe, network=CONFIG, batch_clips=2)
    frozen = Frozen(codec=start.codec, encoders=start.encoders, hearing=start.hearing, identity={}, start=start)
    how = {"frozen": frozen, "data": {}, "world": World(device=torch.device("cpu"))}
    model = train_audioldm2(recipe, rows_at, folder=tmp_path / "run", **how)  # type: ignore[arg-type]
    assert model is not None
    after = model.network.state_dict()
    moved = {name for name, one in before.items() if not torch.equal(one, after[name])}
    assert any(name.startswith("unet.") for name in moved) and any(name.startswith("language.gpt2.h") for name in moved)
    assert "latent_scale" not in moved and "language.gpt2.wte.weight" not in moved
    # The run's own folder has all that a further one needs, and is read by diffusers too.
    again = AudioLDM2.from_pretrained(tmp_path / "run")
    assert again.encoders.listener is not None
    assert (tmp_path / "run" / "model" / "model_index.json").is_file()
    with pytest.raises(ValueError, match="holds a run with other settings"):
        train_audioldm2(replace(recipe, batch_clips=1), rows_at, folder=tmp_path / "run", **how)  # type: ignore[arg-type]
