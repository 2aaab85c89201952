"""What the evidence of AudioLDM 2 counts, on sounds of which the answer is known."""

import torch

from benchmarks.evidence.audioldm2 import BANDS, FRAMES, Plan, Sounds, features, recipe, right, whitened


def sounds(offset: float = 0.0) -> Sounds:
    """Ten of two classes that differ in their lowest band."""
    latents = torch.randn(10, FRAMES, BANDS, generator=torch.Generator().manual_seed(0)) * 0.1
    latents[:5, :, 0] += 3 + offset
    heard = torch.zeros(10, 4, 16)
    return Sounds(latents, heard, ["the sound of a"] * 5 + ["the sound of b"] * 5, ["a"] * 5 + ["b"] * 5)


def test_a_judge_counts_what_is_nearest_to_its_class() -> None:
    judge = sounds()
    assert right(judge.latents_NFD, judge.labels, judge) == 10
    assert right(judge.latents_NFD, judge.labels[::-1], judge) == 0
    swapped = ["b", *judge.labels[1:]]
    assert right(judge.latents_NFD, swapped, judge) == 9
    assert features(judge.latents_NFD).shape == (10, 3 * BANDS)


def test_recordings_are_whitened_by_others() -> None:
    own = whitened(sounds(), sounds())
    assert float(own.latents_NFD.mean(dim=(0, 1)).abs().max()) < 1e-5
    torch.testing.assert_close(own.latents_NFD.flatten(0, 1).std(0), torch.ones(BANDS))
    assert float(whitened(sounds(offset=1.0), sounds()).latents_NFD[:, :, 0].mean()) > 0.1


def test_both_unets_see_as_many_clips() -> None:
    class Encoders:
        class clap:  # noqa: N801
            dimension = 8

        class text:  # noqa: N801
            text_width = 16

    seen = []
    for by_loa in (True, False):
        asked = recipe(Plan(), sounds(), Encoders, 0, by_loa=by_loa)  # type: ignore[arg-type]
        phases = {one.objective.phase: one.training.total_clips for one in asked.phases}
        seen.append(phases.get("diffusion", 0) + phases.get("joint", 0))
        assert ("language" in phases) == by_loa
    assert seen[0] == seen[1] == Plan().diffusion_clips + Plan().joint_clips
