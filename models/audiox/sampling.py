"""From noise to latents: solvers, times and guidance, for whoever has the conditions ready. No codec, no prompts.

Legend: B batch, F latent frames, D latent channels, K contexts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.audiox.conditioning import MODALITIES, Features, Modality
from models.diffusion.guidance import Context, Denoiser, classifier_free_weights, guided, modality_weights
from models.diffusion.keeping import keeping
from models.diffusion.paths import PATHS, mixed
from models.diffusion.solvers import SOLVERS, STOCHASTIC, OnStep
from models.diffusion.times import exponential_times, sampling_times

_SOLVER_OF_PATH = {"flow": "euler", "v": "dpm_solver_2m"}
_OF_ANY_PATH = ("dpm_solver_2m", *STOCHASTIC)
_TIMES = {"even": sampling_times, "exponential": exponential_times}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """What is rarely changed about sampling.

    Attributes:
        solver: "euler" or "heun" for networks of rectified flow, "dpm_solver_2m" or "dpm_solver_3m_sde" for any; None:
            Euler, and DPM-Solver++(2M) for v-prediction. Heun calls the network twice a step. The last one draws noise
            on its way; AudioX's authors take it with 250 exponential steps.
        times: "even", or "exponential" as AudioX's authors sample their v-prediction.
        rescale: How far the spread of what guidance makes is brought back to that without it, 0 to 1.
        at_once: Sounds made at once; None: all. It changes memory and speed, and results only in rounding.
    """

    solver: Literal["euler", "heun", "dpm_solver_2m", "dpm_solver_3m_sde"] | None = None
    times: Literal["even", "exponential"] = "even"
    rescale: float = 0.0
    at_once: int | None = None

    def __post_init__(self) -> None:
        if self.solver is not None and self.solver not in (known := (*SOLVERS, *STOCHASTIC)):
            raise ValueError(f"solver is {self.solver!r}: choose one of {', '.join(known)}")
        if self.times not in _TIMES:
            raise ValueError(f"times are {self.times!r}: choose one of {', '.join(_TIMES)}")
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"rescale is {self.rescale}: it goes from 0 to 1")
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"at_once is {self.at_once}: it must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """The part of a sample that is not to be made.

    Attributes:
        latents_BFD: Scaled; of any value where they are not known.
        is_known_BF: bool.
    """

    latents_BFD: Tensor
    is_known_BF: Tensor


Seed = int | Sequence[int | tuple[int, ...]]
_WHOLE = (int, np.integer)


def start_noise(seed: Seed, count: int, shape: tuple[int, int]) -> Tensor:
    """Noise to start from, (count, F, D) float32 on the CPU; arguments and errors as of `Noise.of`."""
    return Noise.of(seed, count, shape).start()


CPU = torch.device("cpu")

_STEP = 0x57E9
"""Stands between a sound's numbers and a step's, so that no step draws what a sound starts from. Ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """All the noise of some sounds: each sound's is a function of its own numbers.

    Attributes:
        keys: Of each sound the numbers that its noise is drawn from.
        shape: F and D.
        device: Where it is wanted; it is drawn on the CPU.
    """

    keys: tuple[tuple[int, ...], ...]
    shape: tuple[int, int]
    device: torch.device = CPU

    @classmethod
    def of(cls, seed: Seed, count: int, shape: tuple[int, int], device: torch.device = CPU) -> "Noise":
        """The noise of some sounds.

        Args:
            seed: Sound i draws from (seed, i); of a sequence, from its own number or pair alone.
            count: Sounds.
            shape: F and D.
            device: Where it is wanted.

        Raises:
            ValueError: if there is not one seed for each sound, or one is negative.
        """
        return cls(keys=_keys(seed, count), shape=shape, device=device)

    def part(self, which: slice) -> "Noise":
        """That of some of the sounds."""
        return Noise(keys=self.keys[which], shape=self.shape, device=self.device)

    def start(self) -> Tensor:
        """What the sounds start from, (B, F, D) float32."""
        return self._drawn(())

    def fresh(self, step: int) -> Tensor:
        """What a solver that draws noise on its way draws in a step, counted from 0; as `start`."""
        return self._drawn((_STEP, step + 1))

    def _drawn(self, more: tuple[int, ...]) -> Tensor:
        rngs = [np.random.default_rng([*key, *more]) for key in self.keys]
        drawn = np.stack([rng.standard_normal(self.shape, np.float32) for rng in rngs])
        return torch.from_numpy(drawn).to(self.device)


def _keys(seed: Seed, count: int) -> tuple[tuple[int, ...], ...]:
    given = [(seed, number) for number in range(count)] if isinstance(seed, _WHOLE) else list(seed)
    keys = tuple(tuple(index(number) for number in ([one] if isinstance(one, _WHOLE) else one)) for one in given)
    if len(keys) != count:
        raise ValueError(f"{len(keys)} seeds for {count} sounds: give one for each, or one for all")
    if negative := [number for key in keys for number in key if number < 0]:
        raise ValueError(f"seed is {negative[0]}: it cannot be negative")
    return keys


def guidance_of(
    conditioner: Callable[[Features], Context], features: Features, guidance: float | Mapping[Modality, float]
) -> tuple[list[Context], tuple[float, ...]]:
    """The contexts that guidance needs, and their weights.

    Raises:
        ValueError: if a modality is unknown.
    """
    if not isinstance(guidance, Mapping):
        return [conditioner(features), conditioner(features.emptied())], classifier_free_weights(guidance)
    if unknown := guidance.keys() - set(MODALITIES):
        raise ValueError(f"no modality is called {', '.join(sorted(unknown))}: choose of {', '.join(MODALITIES)}")
    led = [name for name in MODALITIES if guidance.get(name, 1.0) != 1.0]
    if not led:
        return [conditioner(features)], (1.0,)
    contexts = [conditioner(features), *(conditioner(features.without(name)) for name in led)]
    return contexts, modality_weights([guidance[name] for name in led])


def sample_latents(
    network: Denoiser,
    noise: Noise,
    *,
    path: str,
    steps: int,
    conditions: tuple[Sequence[Context], Sequence[float]],
    known: Known | None,
    sampling: Sampling,
    on_step: OnStep | None = None,
) -> Tensor:
    """Follows a path from noise to latents.

    Args:
        network: `network(x_BFD, t_B, context_BLC, context_mask_BL)`.
        noise: Where it starts, and what solvers draw that draw noise on their way.
        path: "flow" or "v", as the network was trained.
        steps: Of the solver.
        conditions: Contexts and their weights.
        known: What is not to be made; None: everything is.
        sampling: The solver and its times.
        on_step: Called with (steps done, steps in all).

    Raises:
        ValueError: if the solver does not fit the path, or there are no steps.
    """
    solver = sampling.solver or _SOLVER_OF_PATH[path]
    if path == "v" and solver not in _OF_ANY_PATH:
        raise ValueError(f"solver {solver!r} follows rectified flow, this network predicts v: take 'dpm_solver_2m'")
    contexts, weights = conditions
    velocity = guided(network, contexts, weights, rescale=sampling.rescale)
    times, noise_BFD = _TIMES[sampling.times](steps), noise.start()
    start_BFD = noise_BFD
    if known is not None:
        velocity = keeping(
            velocity,
            PATHS[path],
            known_BFD=known.latents_BFD,
            is_known_BF=known.is_known_BF,
        )
        # Some times begin a little before noise.
        begun_BFD = mixed(PATHS[path], known.latents_BFD, noise_BFD, times[:1].to(noise_BFD.device))
        start_BFD = torch.where(known.is_known_BF[..., None], begun_BFD, noise_BFD)
    if solver in STOCHASTIC:
        return STOCHASTIC[solver](velocity, start_BFD, times, PATHS[path], on_step, fresh=noise.fresh)
    return SOLVERS[solver](velocity, start_BFD, times, PATHS[path], on_step)
