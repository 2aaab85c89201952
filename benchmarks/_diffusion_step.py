"""A training step of a diffusion model beside a peer's: what the benchmarks of the systems have in common.

Only torch, diffusers' schedules and NumPy are needed, so that `dit` runs beside a GPU machine's own torch.
"""

import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import Measured, best_seconds
from models.diffusion.discrete import DiscreteSchedule

Step = Callable[[], float]
"""Takes a training step and says its loss."""

LATENT_CHANNELS = 8
"""Of AudioLDM's autoencoder, for each bin of frequency."""


def optimised(
    loss_of: Callable[[], Tensor], parameters: Iterable[nn.Parameter], *, fused: bool, most_norm: float | None = 1.0
) -> Step:
    """A step that takes the gradient of a loss, cut to a norm unless that is None, and lets AdamW follow it."""
    trained = list(parameters)
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=1e-2, fused=fused)

    def step() -> float:
        loss = loss_of()
        loss.backward()
        if most_norm is not None:
            torch.nn.utils.clip_grad_norm_(trained, most_norm)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def drawn(
    schedule: DiscreteSchedule, rngs: Sequence[np.random.Generator], shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Levels (B,) and noise (B, *shape), as the objectives draw them one after the other from each clip's generator."""
    levels = torch.tensor([schedule.draw(rng) for rng in rngs])
    return levels, torch.from_numpy(np.stack([rng.standard_normal(shape, np.float32) for rng in rngs]))


def in_bins(latents_BFD: Tensor) -> Tensor:
    """Latents channel by channel (B, F, Z W) as the UNet reads them, (B, Z, F, W)."""
    return latents_BFD.unflatten(2, (LATENT_CHANNELS, -1)).transpose(1, 2).contiguous()


def flops_of(way: Callable[[], object]) -> float:
    """Products and attention of a call, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        way()
    return float(counter.get_total_flops())


def products_flops_per_s(clock: Callable[[], float] = time.perf_counter) -> float:
    """What bare float32 products of 1024 x 1024 matrices reach here: a processor says no peak of its own."""
    side = 1024
    one = torch.randn(side, side)
    (best_s,) = best_seconds(lambda: one @ one, rounds=20, clock=clock)
    return 2 * side**3 / best_s


def compared(step: Step, peer_step: Step, *, clips: int, rounds: int) -> Measured:
    """Speed and work of two steps that have the same loss but for 1e-4.

    Args:
        step: Ours.
        peer_step: The peer's.
        clips: Of a batch.
        rounds: How often each is timed.

    Raises:
        AssertionError: Their losses differ.
    """
    np.testing.assert_allclose(step(), peer_step(), rtol=1e-4)
    step_s, peer_s = best_seconds(step, peer_step, rounds=rounds)
    flops, peer_flops = flops_of(step), flops_of(peer_step)
    return {
        "ratio": peer_s / step_s,
        "peer": "a loop in the style of diffusers' train_text_to_image.py, frozen encoders in the step",
        "clips_a_second": clips / step_s,
        "peer_clips_a_second": clips / peer_s,
        "gflop_a_clip": flops / clips / 1e9,
        "peer_gflop_a_clip": peer_flops / clips / 1e9,
        "gflop_per_s": flops / step_s / 1e9,
        "ratio_to_bare_products": flops / step_s / products_flops_per_s(),
    }


def compared_compiled(step: Step, peer_step: Step, *, rounds: int) -> dict[str, float]:
    """Speed of two compiled steps that have the same loss but for 1e-3.

    Raises:
        AssertionError: Their losses differ.
    """
    np.testing.assert_allclose(step(), peer_step(), rtol=1e-3)
    ours_s, peer_s = best_seconds(step, peer_step, rounds=rounds)
    return {"compiled_ratio": peer_s / ours_s, "compiled_s": ours_s, "peer_compiled_s": peer_s}
