"""How a model's answers are found: the most likely one, and others drawn by seed.

Settings alone; drawing itself is in `draws.py`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from curation.errors import ArgumentError

MOST_DRAWS = 63
"""Source: ours; a server is asked for draw n of seed s by the seed 64 s + n."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """How further answers are drawn.

    Args:
        draws: How many beside the most likely one.
        temperature: The log probabilities are divided by it. Source: Qwen2-Audio-7B-Instruct's generation settings,
            as are the next two.
        top_p: The most likely words that together have this probability are drawn from.
        top_k: ... and no more than so many.
        seed: Another seed, other answers.
    """

    draws: int
    temperature: float = 0.7
    top_p: float = 0.5
    top_k: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.draws <= MOST_DRAWS:
            raise ArgumentError(f"--candidates must lie in 1 to {MOST_DRAWS + 1}, not {self.draws + 1}")
        if not self.temperature > 0 or not 0 < self.top_p <= 1 or self.top_k < 1:
            raise ArgumentError(f"a number is out of range: {self.as_dict()}")

    def as_dict(self) -> dict[str, Any]:
        """For the identity and the provenance of a caption."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How an answer is found: the most likely token each time, and further ones by seed.

    What a model's own `generation_config.json` says of sampling and penalties is not used: a penalty on repetition also
    counts the padding before a short prompt, so that a clip's answer would depend on its neighbours in the batch.

    Args:
        max_new_tokens: Longest answer, tokens; a longer one ends there. 128: ours, about 90 English words, where
            published captions of sounds have 10 to 60.
        drawing: How further answers are drawn; None draws none.
    """

    max_new_tokens: int = 128
    drawing: Drawing | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.max_new_tokens <= 4096:
            raise ArgumentError(f"max_new_tokens must lie in 1 to 4096, not {self.max_new_tokens}")

    def as_dict(self) -> dict[str, Any]:
        """For the identity and the provenance of a caption."""
        drawn = {} if self.drawing is None else {"drawing": self.drawing.as_dict()}
        return {"strategy": "greedy", "max_new_tokens": self.max_new_tokens, **drawn}
