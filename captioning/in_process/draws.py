"""Further answers of a model to the same question, drawn by seed.

Draw 0 is the most likely token each time. A further draw adds Gumbel noise to the log probabilities and takes the
largest, which is sampling from them. The noise is a function of the clip, the draw and the place in the sentence, so a
clip's answer does not depend on its neighbours in a batch, and drawing again repeats it.

Source of the method: Gumbel 1954; Maddison et al. 2014, arXiv 1411.0030, section 2.

Shapes: B sounds, V words of the vocabulary, K most likely of them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from captioning.decoding import Drawing
from curation.keys import stable_hash

if TYPE_CHECKING:
    from torch import Tensor


class SeededChoice:
    """A logits processor that leaves one word for each sound of a batch.

    Args:
        keys: The clips, in the order of the batch.
        draw: Number of the draw, from 1.
        drawing: How it is drawn.
    """

    def __init__(self, keys: Sequence[str], draw: int, drawing: Drawing) -> None:
        self._drawing = drawing
        self._random = [np.random.default_rng([drawing.seed, stable_hash(key), draw]) for key in keys]

    def __call__(self, input_ids: "Tensor", scores_BV: "Tensor") -> "Tensor":
        """Scores of the next word -> 0 for the word that is drawn, minus infinity for all others."""
        import torch

        top_k = min(self._drawing.top_k, scores_BV.shape[1])
        best_BK, words_BK = scores_BV.float().topk(top_k, dim=1)
        log_p_BK = torch.log_softmax(best_BK / self._drawing.temperature, dim=1)
        before_BK = log_p_BK.exp().cumsum(dim=1) - log_p_BK.exp()
        noise = np.stack([random.gumbel(size=top_k) for random in self._random])
        noisy_BK = log_p_BK + torch.as_tensor(noise, dtype=torch.float32, device=scores_BV.device)
        choice_B1 = noisy_BK.masked_fill(before_BK >= self._drawing.top_p, -torch.inf).argmax(dim=1, keepdim=True)
        only_BV = torch.full_like(scores_BV, -torch.inf)
        return only_BV.scatter(1, words_BK.gather(1, choice_B1), 0.0)
