"""How what is said is pronounced: eSpeak NG asked once for each text, for whatever is told phonemes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

from curation.programs.espeak import espeak_version, phonemes_of

MOST_TEXTS = 1_000_000
"""Pronunciations that are remembered. Source: ours; of texts of 60 characters some 300 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pronouncer:
    """Pronounces texts; any thread may ask.

    Args:
        voice: Language, as `en-us`.
    """

    voice: str = "en-us"
    _known: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def identity(self) -> dict[str, str]:
        """What determines its answers.

        Raises:
            StoppedError: The program is not installed.
        """
        return {"program": "espeak-ng", "version": espeak_version(), "voice": self.voice}

    def of(self, texts: Sequence[str]) -> list[str]:
        """Pronunciations, as signs of the International Phonetic Alphabet; empty where nothing is said.

        Raises:
            ArgumentError: A text is too long, or there is no such voice.
            StoppedError: The program is not installed, or does not end.
        """
        return [self._of(text) for text in texts]

    def _of(self, text: str) -> str:
        if (found := self._known.get(text)) is None:
            found = phonemes_of(text, voice=self.voice)
            with self._lock:
                if len(self._known) < MOST_TEXTS:
                    self._known[text] = found
        return found
