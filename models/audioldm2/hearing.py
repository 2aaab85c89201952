"""What of a sound the language of audio says: of how long a sound, and how finely."""

from dataclasses import dataclass

from models.encoders.audiomae import LOA_FACTOR

WINDOW_S = 10.24
"""What the published models hear and make at once, s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hearing:
    """What of a sound the language of audio says.

    Attributes:
        window_s: Length of a sound, s.
        factor: Patches of AudioMAE along time that one vector pools, and up to 8 along frequency (`pool_patches`).
            Source: 8 for sounds and music, which makes 8 vectors of 10.24 s; 1 for speech: 512, a patch each.
    """

    window_s: float = WINDOW_S
    factor: int = LOA_FACTOR

    def __post_init__(self) -> None:
        if not self.window_s > 0 or self.factor < 1:
            raise ValueError(f"window_s and factor must be above 0, got {self.window_s} and {self.factor}")
