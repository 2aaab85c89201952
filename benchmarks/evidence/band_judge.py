"""Says by arithmetic which event a sound is of: the nearest mean of what happens in bands of its log-mel.

It looks at the level of each band, how much it moves, and the sizes of a Fourier transform along time and bands, which
do not depend on where in its cycle a sound begins but tell rising from falling. Each is measured in the deviations that
recordings of one event have among themselves. It is fitted on recordings that nothing else was trained on.

Key: N sounds, F frames, D bands, P what is looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

LEAST_DEVIATION = 0.05
"""Of what is looked at, natural logarithm: what never differs within events must not decide. Source: ours."""


def looked_at(latents_NFD: Tensor) -> Tensor:
    """What the judge looks at, (N, P) float32, of natural logarithms of levels in bands."""
    mean_ND = latents_NFD.mean(dim=1)
    moved_NFD = latents_NFD - mean_ND[:, None]
    size_NFD = torch.fft.fft2(moved_NFD).abs() / latents_NFD.shape[1]
    some_NFD = size_NFD[:, 1 : latents_NFD.shape[1] // 2 + 1]  # the others are the same, turned round
    return torch.cat([mean_ND, latents_NFD.std(dim=1), some_NFD.flatten(1)], dim=1)


@dataclass(frozen=True, slots=True)
class BandJudge:
    """The event whose mean is nearest.

    Args:
        events: Their names.
        means_EP: Of the recordings of each.
        deviation_P: Of recordings from the mean of their event.
    """

    events: tuple[str, ...]
    means_EP: Tensor
    deviation_P: Tensor

    @classmethod
    def fit(cls, latents_NFD: Tensor, labels: Sequence[str]) -> Self:
        """A judge of the events of recordings, at least two of each.

        Raises:
            ValueError: There are not as many labels as recordings.
        """
        if len(latents_NFD) != len(labels):
            raise ValueError(f"{len(latents_NFD)} recordings and {len(labels)} labels: give as many")
        events, seen_NP = tuple(sorted(set(labels))), looked_at(latents_NFD)
        place_N = torch.tensor([events.index(label) for label in labels])
        means_EP = torch.stack([seen_NP[place_N == place].mean(dim=0) for place in range(len(events))])
        spread = (seen_NP - means_EP[place_N]).square().mean(dim=0).sqrt()
        return cls(events, means_EP, spread.clamp_min(LEAST_DEVIATION))

    def answers(self, latents_NFD: Tensor) -> list[str]:
        """The event of each sound."""
        nearest_N = torch.cdist(looked_at(latents_NFD) / self.deviation_P, self.means_EP / self.deviation_P).argmin(1)
        return [self.events[int(place)] for place in nearest_N]
