"""AudioLDM 2: sounds from words by way of the language of audio."""

from models.audioldm2.generate import AudioLDM2

__all__ = ["AudioLDM2"]
