"""The loss by arithmetic, whatever the folder's network predicts, and that only the embedder learns."""

import numpy as np
import pytest
import torch

from models.audiotoken.objective import AudioTokenObjective, ObjectiveSettings
from models.audiotoken.text_to_image import TextToImage
from models.training.step import sample_rngs
from tests.models.audiotoken.tiny_audiotoken import embedder, save_pictures, waves


def batch(count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    latents, spreads = torch.randn(2, count, 4, 8, 8, generator=generator)
    return {
        "keys": [str(number) for number in range(count)],
        "waves": waves(count),
        "latents": latents,
        "spreads": 0.1 * spreads.abs(),
        "labels": ["rising chirp", "", "dog barking"][:count],
    }


def rngs(count=3):
    return sample_rngs(0, 0, count)


def test_the_loss_is_the_error_of_what_the_folder_predicts_and_the_words_size(frozen, tmp_path):
    other = TextToImage.from_pretrained(save_pictures(tmp_path / "v", prediction_type="v_prediction"))
    for model in (frozen[0], other):
        objective = AudioTokenObjective(ObjectiveSettings(size_weight=0.25), model, frozen[1])
        network, one = embedder(), batch()
        with torch.no_grad():
            result = objective(network, one, rngs())
            data = []
            for rng in rngs():  # a level, the noise, the place within the spread
                data.append((int(rng.integers(1_000)), rng.standard_normal((4, 8, 8), np.float32), rng))
            level = torch.tensor([level for level, _, _ in data])
            noise = torch.from_numpy(np.stack([noise for _, noise, _ in data]))
            place = torch.from_numpy(np.stack([rng.standard_normal((4, 8, 8), np.float32) for _, _, rng in data]))
            x = one["latents"] + one["spreads"] * place
            abar = model.schedule.abar()[level].float()[:, None, None, None]
            word = network(frozen[1].features(one["waves"]))
            states = objective.prompt.states(word)
            said = model.unet(abar.sqrt() * x + (1 - abar).sqrt() * noise, level, encoder_hidden_states=states).sample
        wanted = noise if model is frozen[0] else abar.sqrt() * noise - (1 - abar).sqrt() * x
        diffusion, size = (said - wanted).square().mean(), word.abs().mean()
        assert result.loss.item() == pytest.approx((diffusion + 0.25 * size).item(), rel=1e-5)
        assert result.tallies["size"].tolist() == pytest.approx([3 * size.item(), 3.0], rel=1e-5)


def test_the_classification_loss_is_the_square_of_one_minus_the_cosine(frozen):
    model, listener = frozen
    one, network = batch(), embedder()
    plain, labelled = (
        AudioTokenObjective(ObjectiveSettings(label_weight=weight), model, listener)(network, one, rngs())
        for weight in (0.0, 0.01)
    )
    word = network(listener.features(one["waves"]))
    weights = model.words().weight
    terms = [
        (1 - torch.cosine_similarity(word[row], weights[model.token_ids(one["labels"][row])].mean(0), dim=0)) ** 2
        for row in (0, 2)  # the clip without a label adds nothing
    ]
    assert (labelled.loss - plain.loss).item() == pytest.approx(0.01 * sum(terms).item() / 3, rel=1e-3)
    with pytest.raises(ValueError, match="has no labels"):
        AudioTokenObjective(ObjectiveSettings(label_weight=0.01), model, listener)(
            network, {**one, "labels": None}, rngs()
        )


def test_the_classification_loss_turns_words_towards_their_labels(frozen):
    model, listener = frozen
    objective = AudioTokenObjective(ObjectiveSettings(label_weight=10.0), model, listener)
    network, one = embedder(), batch()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    seen = []
    for _ in range(30):
        result = objective(network, one, rngs())
        seen.append(result.tallies["label"][0].item())
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
    assert seen[-1] < 0.3 * seen[0]


def test_pictures_are_encoded_where_no_latents_are_given(frozen):
    model, listener = frozen
    pictures = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    latents, spreads = model.latent_moments(pictures)
    objective = AudioTokenObjective(ObjectiveSettings(), model, listener)
    shared = {"keys": ["a", "b"], "waves": waves(2), "labels": ["", ""]}
    stored = objective(embedder(), {**shared, "latents": latents, "spreads": spreads}, rngs(2))
    encoded = objective(embedder(), {**shared, "latents": None, "pictures": pictures}, rngs(2))
    assert stored.loss.item() == encoded.loss.item()


def test_only_the_embedder_gets_gradients(frozen):
    model, listener = frozen
    network = embedder()
    AudioTokenObjective(ObjectiveSettings(), model, listener)(network, batch(), rngs()).loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    for frozen_part in (model.unet, model.vae, model.text_encoder, listener.network):
        assert all(parameter.grad is None for parameter in frozen_part.parameters())


def test_a_batch_is_the_mean_of_its_clips(frozen):
    objective = AudioTokenObjective(ObjectiveSettings(label_weight=0.01), *frozen)
    network, one = embedder(), batch()
    whole = objective(network, one, rngs()).loss.item()
    alone = [
        objective(
            network, {name: value[row : row + 1] for name, value in one.items()}, rngs()[row : row + 1]
        ).loss.item()
        for row in range(3)
    ]
    assert whole == pytest.approx(sum(alone) / 3, rel=1e-5)


@pytest.mark.parametrize("name", ["size_weight", "label_weight"])
def test_weights_below_zero_are_refused(name):
    with pytest.raises(ValueError, match=name):
        ObjectiveSettings(**{name: -1.0})
