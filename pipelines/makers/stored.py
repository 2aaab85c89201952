"""Neighbours of captions as a dataset has them stored: what a model that retrieves reads while it is trained."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch

from curation.dataset import Dataset
from curation.stored_neighbours import Neighbourhood, NeighboursWanted, StoredNeighbours
from models.re_audioldm.conditioning import Neighbour
from pipelines.prompts import Prompt


class StoredNeighbourhoods:
    """Gives what is read of the clips that `neighbours` found for captions of clips, each looked up once.

    Args:
        dataset: Whose clips they are.
        wanted: Which neighbours, and what was encoded of them.
    """

    def __init__(self, dataset: Dataset, wanted: NeighboursWanted) -> None:
        self._dataset, self._wanted = dataset, wanted
        self._known: dict[tuple[str, str], list[Neighbour]] = {}

    def __call__(self, prompts: Sequence[Prompt]) -> list[list[Neighbour]]:
        """The neighbours of each prompt, the nearest first.

        Args:
            prompts: Captions, each with the clip that it is of.

        Raises:
            ArgumentError: One of them has no neighbours, or what was encoded of those is not there.
        """
        asked = [(prompt.clip or "", prompt.text) for prompt in prompts]
        if new := [one for one in dict.fromkeys(asked) if one not in self._known]:
            clips, texts = zip(*new, strict=True)
            said = pa.table({"key": pa.array(clips), "clip": np.arange(len(new)), "text": pa.array(texts)})
            found = StoredNeighbours.of(self._dataset, self._wanted, said)
            for number, one in enumerate(new):
                self._known[one] = _neighbours(found.read(number, 0))
        return [self._known[one] for one in asked]


def _neighbours(found: Neighbourhood) -> list[Neighbour]:
    """As a model takes them."""
    return [
        Neighbour(
            heard_LH=torch.from_numpy(found.heard_KLW[rank].astype(np.float32)),
            text_NT=torch.from_numpy(tokens_NT.astype(np.float32)),
        )
        for rank, tokens_NT in enumerate(found.tokens)
    ]
