"""From a sound to what the frozen UNet reads: BEATs' features, and a prompt in which the sound's word stands.

Legend: B sounds, T samples, P patches, H width of what was heard, L text tokens, D width of a word.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.audiotoken.text_to_image import TextToImage
from models.encoders.beats import Beats

PLACE = "<*>"
"""Where the sound's word stands in a prompt."""
PROMPT = f"a photo of {PLACE}"
"""Source: the published code of AudioToken."""


class SoundPrompt:
    """A prompt with a place for a sound's word.

    Attributes:
        ids: The tokens, filled up as the pipeline does; at `place` one that is not read.
        place: Number of the token that the word replaces.
    """

    def __init__(self, model: TextToImage, text: str = PROMPT) -> None:
        """Takes a prompt with one `<*>`.

        Raises:
            ValueError: It has none or several, or is too long.
        """
        if text.count(PLACE) != 1:
            raise ValueError(f"the prompt {text!r} needs one {PLACE} where the sound's word stands")
        before, after = (model.token_ids(part) for part in text.split(PLACE))
        tokenizer, longest = model.tokenizer, model.tokens
        said = [tokenizer.bos_token_id, *before, tokenizer.eos_token_id, *after, tokenizer.eos_token_id]
        if len(said) > longest:
            raise ValueError(f"the prompt {text!r} has {len(said)} tokens, the text encoder takes {longest}")
        self.ids = [int(one) for one in said + [tokenizer.pad_token_id] * (longest - len(said))]
        self.place = 1 + len(before)
        self._model = model
        with torch.no_grad():
            self._embedded_LD = model.words()(torch.tensor(self.ids, device=model.device))

    def states(self, token_BD: Tensor) -> Tensor:
        """What the UNet reads: (B, D) -> (B, L, D), with gradients to the words."""
        embedded_BLD = self._embedded_LD.expand(len(token_BD), -1, -1)
        parts = (embedded_BLD[:, : self.place], token_BD[:, None], embedded_BLD[:, self.place + 1 :])
        return self._model.text_states(torch.cat(parts, dim=1))


@torch.no_grad()
def no_text_states(model: TextToImage) -> Tensor:
    """What guidance goes away from: the states of an empty text, (1, L, D)."""
    tokenizer = model.tokenizer
    ids = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    ids += [tokenizer.pad_token_id] * (model.tokens - len(ids))
    return model.text_states(model.words()(torch.tensor([ids], device=model.device)))


@torch.no_grad()
def label_words(model: TextToImage, labels: Sequence[str]) -> Tensor:
    """Of each label the mean embedding of its tokens, (B, D); zeros for an empty one."""
    words = model.words()
    found = torch.zeros(len(labels), model.token_width, device=model.device)
    for row, label in enumerate(labels):
        if ids := model.token_ids(label):
            found[row] = words(torch.tensor(ids, device=model.device)).mean(0)
    return found


def heard(listener: Beats, waves: Sequence[Tensor] | Tensor) -> Tensor:
    """BEATs' features of its blocks 4, 8 and 12 side by side: sounds of one length (B, T) at 16 kHz -> (B, P, H)."""
    wave_BT = waves if isinstance(waves, Tensor) else torch.stack(list(waves))
    return listener.features(wave_BT)
