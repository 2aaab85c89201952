"""Classifier-free guidance: predictions under several conditions, combined, in one call of the network.

Not a solver and not a network; what comes out is again a `velocity(x, t_B)`.

Shapes: B batch, F latent frames, D latent channels, L context tokens, C context width, K contexts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.diffusion.paths import beside
from models.diffusion.solvers import Velocity

Denoiser = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""network(x_BFD, t_B, context_BLC, context_mask_BL) -> v_BFD."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """Condition tokens and which of them are real.

    Attributes:
        tokens_BLC: float tokens.
        mask_BL: bool, True where a token is real; at least one in each row. None: all are.
    """

    tokens_BLC: Tensor
    mask_BL: Tensor | None


def guided(
    network: Denoiser, contexts: Sequence[Context], weights: Sequence[float], *, rescale: float = 0.0
) -> Velocity:
    """A velocity that is the weighted sum of the network's predictions under each context.

    With the contexts (given, empty) and the weights (g, 1 - g) this is classifier-free guidance of scale g.
    Source: Ho and Salimans 2022, arXiv 2207.12598, equation 6 (whose w is g - 1); the rescaling: Lin et al. 2023,
    arXiv 2305.08891, equations 15 and 16.

    Args:
        network: `network(x_BFD, t_B, context_BLC, context_mask_BL)`.
        contexts: K contexts of equal shape; the first is the one that is followed.
        weights: One a context, summing to 1. A context of weight 0 is not computed, but for the first where rescale
                needs its spread.
        rescale: From 0 (not) to 1 (the spread of each sample is that under the first context).

    Raises:
        ValueError: if weights and contexts differ in number, weights do not sum to 1, or rescale is out of range.
    """
    if len(contexts) != len(weights) or not contexts:
        raise ValueError(f"{len(contexts)} contexts and {len(weights)} weights: each context needs one weight")
    if not abs(sum(weights) - 1) <= 1e-6:  # so that NaN is refused too
        raise ValueError(f"guidance weights {list(weights)} sum to {sum(weights)}: they must sum to 1")
    if len({context.mask_BL is None for context in contexts}) > 1:
        raise ValueError("some contexts have a mask and others none: give all of them one")
    if not 0 <= rescale <= 1:
        raise ValueError(f"rescale is {rescale}: it goes from 0 to 1")
    pairs = list(zip(contexts, weights, strict=True))
    followed = pairs[:1] if pairs[0][1] != 0 or rescale > 0 else []
    used = followed + [pair for pair in pairs[1:] if pair[1] != 0]
    tokens = torch.cat([context.tokens_BLC for context, _ in used])
    masks = [context.mask_BL for context, _ in used if context.mask_BL is not None]
    mask = torch.cat(masks) if masks else None

    def velocity(x_BFD: Tensor, t_B: Tensor) -> Tensor:
        count = len(used)
        v_KBFD = network(x_BFD.repeat(count, 1, 1), t_B.repeat(count), tokens, mask)
        v_KBFD = v_KBFD.reshape(count, *x_BFD.shape)
        combined = torch.stack([weight * v_BFD for (_, weight), v_BFD in zip(used, v_KBFD, strict=True)]).sum(0)
        if rescale == 0 or count == 1:
            return combined
        spread_B = v_KBFD[0].flatten(1).std(1) / combined.flatten(1).std(1).clamp_min(1e-8)
        return combined * beside(1 - rescale + rescale * spread_B, combined)

    return velocity


def classifier_free_weights(scale: float) -> tuple[float, float]:
    """The weights of (given, empty) for guidance of this scale: 1 follows the condition as it was learned."""
    return scale, 1 - scale


def modality_weights(scales: Sequence[float]) -> tuple[float, ...]:
    """The weights of (given, given without the first modality, without the second, ...) for a scale of each modality.

    v = v_all + sum over m of (g_m - 1) (v_all - v_without_m): each scale above 1 leads away from what would be said
    without that modality, and 1 leaves it as it was learned. With one modality it is classifier-free guidance. Source:
    ours, after Brooks et al. 2022, arXiv 2211.09800, equation 3, which orders two conditions.

    Raises:
        ValueError: if there is no scale.
    """
    if not scales:
        raise ValueError("no scales of modalities: give one for each")
    more = [scale - 1 for scale in scales]
    return 1 + sum(more), *(-one for one in more)
