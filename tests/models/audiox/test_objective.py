"""The objective: draws by the sample, losses known by arithmetic, and a small set that is learned."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.audiox.adapters import Adapters
from models.audiox.distillation import Distillation
from models.audiox.masking import ConditionDrop, Masking, PatchMask, SpanMask
from models.audiox.network import AudioXNetwork
from models.audiox.objective import AudioXObjective, ObjectiveSettings, drawn_noise
from models.audiox.tasks import TaskMix
from models.diffusion.times import TimeDraw
from models.training.step import sample_rngs


@pytest.fixture
def network(config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AudioXNetwork(config(text_width=6))


@pytest.fixture
def batch(frames):
    latents = torch.from_numpy(np.random.default_rng(2).standard_normal((2, 6, 4), dtype=np.float32))
    has_frames = torch.tensor([True, False])
    return {"latents": latents, "texts": ["rain", ""], "frames": frames, "has_frames": has_frames, "keys": ["r", "n"]}


@pytest.mark.parametrize("path", ["flow", "v"])
def test_a_network_that_predicts_zero_has_the_mean_square_of_the_target(network, batch, encoders, path):
    settings = ObjectiveSettings(path=path, times=TimeDraw(kind="uniform"), drop=ConditionDrop(everything=0.0))
    result = AudioXObjective(settings, encoders)(network, batch, sample_rngs(0, 0, 2))
    expected = []
    for rng, x_FD in zip(sample_rngs(0, 0, 2), batch["latents"].numpy(), strict=True):
        rng.random(3)
        t = rng.random()
        noise = rng.standard_normal((6, 4), dtype=np.float32)
        angle = t * np.pi / 2
        target = noise - x_FD if path == "flow" else np.cos(angle) * noise - np.sin(angle) * x_FD
        expected.append(np.square(target).mean())
    assert float(result.loss.detach()) == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_tallies_by_time_add_up_to_the_loss(network, batch, encoders):
    result = AudioXObjective(ObjectiveSettings(time_bins=3), encoders)(network, batch, sample_rngs(0, 0, 2))
    assert list(result.tallies) == ["loss_t_0.00_0.33", "loss_t_0.33_0.67", "loss_t_0.67_1.00"]
    total, count = torch.stack(list(result.tallies.values())).sum(0).tolist()
    assert count == 2
    assert total / count == pytest.approx(float(result.loss.detach()), rel=1e-5)


def test_a_sample_draws_the_same_in_any_batch(batch):
    together = drawn_noise(sample_rngs(0, 0, 2), batch["latents"])
    alone = drawn_noise(sample_rngs(0, 1, 1), batch["latents"][1:])
    assert torch.equal(together[1:], alone)


def test_what_is_always_dropped_is_never_seen(network, batch, encoders):
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))
    objective = AudioXObjective(ObjectiveSettings(drop=ConditionDrop(everything=1.0)), encoders)
    loss = objective(network, batch, sample_rngs(0, 0, 2)).loss
    other = {**batch, "texts": ["loud", "siren"], "frames": 255 - batch["frames"]}
    torch.testing.assert_close(objective(network, other, sample_rngs(0, 0, 2)).loss, loss)
    seen = AudioXObjective(ObjectiveSettings(drop=ConditionDrop(everything=0.0, text=0.0, frames=0.0)), encoders)
    assert not torch.equal(
        seen(network, other, sample_rngs(0, 0, 2)).loss, seen(network, batch, sample_rngs(0, 0, 2)).loss
    )


def test_two_sounds_are_learned_from_their_texts(network, encoders):
    """The latents are constants, +1 for rain and -1 for a siren: in the end only the text tells which at high noise."""
    ones = torch.ones(1, 6, 4)
    batch = {
        "latents": torch.cat([ones, -ones] * 8),
        "texts": ["rain", "siren"] * 8,
        "frames": None,
        "has_frames": torch.zeros(16, dtype=torch.bool),
        "keys": ["s"] * 16,
    }
    settings = ObjectiveSettings(times=TimeDraw(mean=1.5), drop=ConditionDrop(everything=0.0, text=0.0, frames=0.0))
    objective = AudioXObjective(settings, encoders)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for step in range(80):
        optimizer.zero_grad()
        loss = objective(network, batch, sample_rngs(0, 16 * step, 16)).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[:3]) == pytest.approx(2.0, abs=0.2), "variances of noise and data"
    assert np.mean(losses[-10:]) < 0.4


@pytest.mark.parametrize(
    "make",
    [lambda: ObjectiveSettings(path="ddpm"), lambda: ObjectiveSettings(time_bins=0)],
)
def test_settings_out_of_range_say_the_value(make):
    with pytest.raises(ValueError, match=r"ddpm|0"):
        make()


NEVER = ConditionDrop(everything=0.0, text=0.0, frames=0.0, audio=0.0)


@pytest.fixture
def hearing(config):
    """A network that reads prompts of sound, and in which no layer is zero."""
    sizes = replace(config(text_width=6), adapters=Adapters(audio=True), teacher_width=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AudioXNetwork(sizes)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return network.requires_grad_(False)


def loss_of(network, encoders, batch, settings):
    return float(AudioXObjective(settings, encoders)(network, batch, sample_rngs(0, 0, 2)).loss)


@pytest.mark.parametrize(
    ("type_", "felt"),
    [
        ("text_condition-audio", {"texts"}),
        ("video_condition-audio", {"frames"}),
        ("text+video_condition-music", {"texts", "frames"}),
        ("image_condition-audio", {"frames"}),
        ("audio_condition-audio", {"texts"}),
        ("audio_condition-music", {"texts", "before"}),
        ("uni_condition-music", {"texts", "frames", "before"}),
    ],
)
def test_the_type_of_a_row_decides_what_is_shown(hearing, batch, encoders, type_, felt):
    settings = ObjectiveSettings(drop=NEVER)
    given = {
        **batch,
        "texts": ["rain", "siren"],
        "has_frames": torch.tensor([True, True]),
        "before": torch.ones(2, 6, 4),
        "has_before": torch.tensor([True, True]),
        "types": [type_] * 2,
    }
    loss = loss_of(hearing, encoders, given, settings)
    others = {"texts": ["loud", "roof"], "frames": 255 - batch["frames"], "before": -torch.ones(2, 6, 4)}
    for name, value in others.items():
        changed = loss_of(hearing, encoders, {**given, name: value}, settings)
        assert (abs(changed - loss) > 1e-6) == (name in felt), name


def test_music_without_what_sounded_before_is_the_sound_with_a_gap(hearing, batch, encoders):
    settings = ObjectiveSettings(drop=NEVER)
    music = {**batch, "types": ["audio_condition-music"] * 2}
    sound = {**batch, "types": ["audio_condition-audio"] * 2}
    assert loss_of(hearing, encoders, music, settings) == loss_of(hearing, encoders, sound, settings)
    unknown = {**music, "before": torch.ones(2, 6, 4), "has_before": torch.tensor([False, False])}
    assert loss_of(hearing, encoders, unknown, settings) == loss_of(hearing, encoders, sound, settings)


def test_hidden_parts_are_not_seen(hearing, batch, encoders):
    """With everything hidden, what it was makes no difference; with nothing hidden it does."""
    given = {**batch, "has_frames": torch.tensor([True, True]), "types": ["text+video_condition-audio"] * 2}
    other = {**given, "frames": 255 - batch["frames"]}
    hidden = SpanMask(probability=1.0, least=1.0)
    for masking, is_felt in (
        (Masking(frames=PatchMask(probability=1.0, least=1.0, least_time=1.0)), False),
        (Masking(text=hidden), True),
    ):
        settings = ObjectiveSettings(drop=NEVER, masking=masking)
        difference = loss_of(hearing, encoders, given, settings) - loss_of(hearing, encoders, other, settings)
        assert (abs(difference) > 1e-6) == is_felt
    settings = ObjectiveSettings(drop=NEVER, masking=Masking(text=hidden))
    spoken = {**given, "texts": ["siren", ""]}
    assert loss_of(hearing, encoders, spoken, settings) == loss_of(hearing, encoders, given, settings)


def test_a_still_picture_is_one_of_the_video(hearing, batch, encoders):
    still = batch["frames"][:, :1].expand(-1, 5, -1, -1, -1)
    given = {**batch, "frames": still, "has_frames": torch.tensor([True, True])}
    settings = ObjectiveSettings(drop=NEVER)
    losses = [
        loss_of(hearing, encoders, {**given, "types": [type_] * 2}, settings)
        for type_ in ("image_condition-audio", "video_condition-audio")
    ]
    assert losses[0] == losses[1]


def test_masks_and_tasks_of_a_sample_do_not_depend_on_the_batch(hearing, batch, encoders):
    """The sum of two losses is that of both samples together."""
    settings = ObjectiveSettings(
        masking=Masking(text=SpanMask(probability=1.0, least=0.5), frames=PatchMask(probability=1.0, least=0.5)),
        tasks=TaskMix(weights={"text": 1, "video": 1, "image": 1, "audio": 1, "uni": 1}),
    )
    objective = AudioXObjective(settings, encoders)
    given = {**batch, "texts": ["rain falls on the roof", "a siren"]}
    for first in range(12):
        together = objective(hearing, given, sample_rngs(5, first, 2)).loss
        rows = [{name: value[row : row + 1] for name, value in given.items()} for row in range(2)]
        rows[1]["frames"] = None
        alone = [objective(hearing, row, [rng]).loss for row, rng in zip(rows, sample_rngs(5, first, 2), strict=True)]
        torch.testing.assert_close(torch.stack(alone).mean(), together)


def test_the_distillation_is_added_by_its_weight(hearing, batch, encoders):
    given = {**batch, "teachers": torch.eye(5)[:2], "has_teachers": torch.tensor([True, True])}
    plain = loss_of(hearing, encoders, given, ObjectiveSettings())
    settings = ObjectiveSettings(distillation=Distillation(weight=0.5))
    result = AudioXObjective(settings, encoders)(hearing, given, sample_rngs(0, 0, 2))
    total, count = result.tallies["contrast"].tolist()
    assert count == 1
    assert float(result.loss) == pytest.approx(plain + 0.5 * total, rel=1e-5)
    with pytest.raises(ValueError, match="no teachers"):
        loss_of(hearing, encoders, batch, settings)


def test_a_network_that_hears_nothing_is_not_trained_on_prompts_of_sound(network, batch, encoders):
    given = {**batch, "types": ["audio_condition-audio", "text_condition-audio"]}
    with pytest.raises(ValueError, match="this network reads none"):
        loss_of(network, encoders, given, ObjectiveSettings())
    with pytest.raises(ValueError, match="smell_condition-audio"):
        loss_of(network, encoders, {**batch, "types": ["smell_condition-audio", ""]}, ObjectiveSettings())
