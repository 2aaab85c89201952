"""Re-AudioLDM: words to sound, helped by the nearest clips of a data set (arXiv 2309.08051)."""

from models.re_audioldm.generate import ReAudioLDM

__all__ = ["ReAudioLDM"]
