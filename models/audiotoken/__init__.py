"""AudioToken (G. Yariv et al. 2023, arXiv 2305.13050): pictures from sounds, by one word that a sound becomes."""

from models.audiotoken.generate import AudioToken

__all__ = ["AudioToken"]
