"""AudioX: any of text and pictures to sound, by one diffusion transformer (arXiv 2503.10522)."""

from models.audiox.generate import AudioX

__all__ = ["AudioX"]
