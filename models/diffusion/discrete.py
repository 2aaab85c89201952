"""The discrete noise schedule of latent diffusion: a thousand levels, of which a training step draws one.

AudioLDM 2, Re-AudioLDM and Stable Diffusion are trained on it. It is not a network and not a solver: those that sample
on it are diffusers' schedulers, which take the same numbers. AudioX goes along the continuous paths of `paths.py`.

Key: x data, e noise of unit variance, z_n = sqrt(abar_n) x + sqrt(1 - abar_n) e.
Shapes: (B, ...) for x, e, z; (B,) for n; N levels.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from models.diffusion.paths import beside

Spacing = Literal["linear", "scaled_linear"]
Target = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscreteSchedule:
    """How much noise each level has, and what the network is asked for.

    Attributes:
        levels: N.
        beta_start: Variance that the first level adds, above 0.
        beta_end: Variance that the last one adds, at most 1.
        spacing: Whether the variances rise evenly (linear) or their roots do (scaled_linear), in diffusers' words; what
            the code of latent diffusion and of AudioLDM calls linear are the roots.
        target: The noise e (epsilon), or sqrt(abar) e - sqrt(1 - abar) x (v_prediction).

    Source: Ho et al. 2020, arXiv 2006.11239, section 4; the numbers and both spacings: Rombach et al. 2022,
    arXiv 2112.10752 and its published configuration, which AudioLDM's repeats.
    """

    levels: int = 1_000
    beta_start: float = 0.0015
    beta_end: float = 0.0195
    spacing: Spacing = "scaled_linear"
    target: Target = "epsilon"

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError(f"levels is {self.levels}: it must be at least 1")
        if not 0 < self.beta_start <= self.beta_end <= 1:
            raise ValueError(
                f"betas need 0 < beta_start <= beta_end <= 1, got {self.beta_start:g} and {self.beta_end:g}"
            )
        if self.spacing not in get_args(Spacing):
            raise ValueError(f"spacing is {self.spacing!r}: choose one of {', '.join(get_args(Spacing))}")
        if self.target not in get_args(Target):
            raise ValueError(f"target is {self.target!r}: choose one of {', '.join(get_args(Target))}")

    @classmethod
    def from_scheduler(cls, config: Any) -> "DiscreteSchedule":
        """Reads the configuration of a scheduler of diffusers, as its `config` or `scheduler_config.json` gives it.

        Raises:
            ValueError: It has betas, or asks for something, that is not known here.
        """
        return cls(
            levels=config["num_train_timesteps"],
            beta_start=config["beta_start"],
            beta_end=config["beta_end"],
            spacing=config["beta_schedule"],
            target=config.get("prediction_type", "epsilon"),
        )

    def scheduler_settings(self) -> dict[str, Any]:
        """The same by the names of diffusers' schedulers."""
        return {
            "num_train_timesteps": self.levels,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "beta_schedule": self.spacing,
            "prediction_type": self.target,
        }

    def ddim_settings(self) -> dict[str, Any]:
        """The same for diffusers' `DDIMScheduler`, and how it ends.

        Source: nothing is cut, and the last step ends as Stable Diffusion's does: at the first level, not at none.
        """
        return {**self.scheduler_settings(), "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}

    def abar(self) -> Tensor:
        """What is left of the variance of the data at each level, float64 (N,)."""
        if self.spacing == "linear":
            betas = torch.linspace(self.beta_start, self.beta_end, self.levels, dtype=torch.float64)
        else:
            roots = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, self.levels, dtype=torch.float64)
            betas = roots.square()
        return torch.cumprod(1 - betas, dim=0)

    def draw(self, rng: np.random.Generator) -> int:
        """A level, each as likely: from 0 (hardly any noise) to N - 1."""
        return int(rng.integers(self.levels))

    def weights(self, level_B: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar_n) and sqrt(1 - abar_n), float32, for int64 levels (B,)."""
        abar_B = self.abar().to(level_B.device)[level_B]
        return abar_B.sqrt().float(), (1 - abar_B).sqrt().float()

    def noised(self, data: Tensor, noise: Tensor, level_B: Tensor) -> Tensor:
        """z_n = sqrt(abar_n) x + sqrt(1 - abar_n) e."""
        kept_B, added_B = self.weights(level_B)
        return beside(kept_B, data) * data + beside(added_B, noise) * noise

    def wanted(self, data: Tensor, noise: Tensor, level_B: Tensor) -> Tensor:
        """What the network should predict."""
        if self.target == "epsilon":
            return noise
        kept_B, added_B = self.weights(level_B)
        return beside(kept_B, noise) * noise - beside(added_B, data) * data
