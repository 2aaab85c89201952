"""What a training step minimises: how wrong the frozen UNet is about a noisy frame, told by the word of its sound.

Legend: B clips, T samples, H and W pixels, Z latent channels, h and w latent pixels, L text tokens, D width of a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.audiotoken.conditioning import PROMPT, SoundPrompt, heard, label_words
from models.audiotoken.text_to_image import TextToImage
from models.encoders.beats import Beats
from models.training.step import Batch, StepResult


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveSettings:
    """What is minimised beside the diffusion's mean square error.

    Source of the weights: the published code (`lambda_a`, `lambda_c`). Its classification loss takes the mean cosine of
    a batch before it is squared; here each clip has its own, so that no split of a batch changes it.

    Attributes:
        prompt: With one `<*>`.
        size_weight: Of the mean absolute value of the word.
        label_weight: Of (1 - cos(word, mean embedding of the label's tokens))^2; 0 as published, 0.01 in the paper's
            variant with the classification loss.
    """

    prompt: str = PROMPT
    size_weight: float = 0.01
    label_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in ("size_weight", "label_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it cannot be negative")


class AudioTokenObjective:
    """The loss of a batch; everything but the network is frozen."""

    def __init__(self, settings: ObjectiveSettings, model: TextToImage, listener: Beats) -> None:
        """Takes the frozen parts, on one device."""
        self.settings, self.model, self.listener = settings, model, listener
        self.prompt = SoundPrompt(model, settings.prompt)

    def __call__(self, network: nn.Module, batch: Batch, rngs: Sequence[np.random.Generator]) -> StepResult:
        """The loss of a batch.

        Args:
            network: An `AudioTokenNetwork`.
            batch: `waves`, float32 (B, T) at 16 kHz; `latents` and `spreads`, float32 (B, Z, h, w) as
                `TextToImage.latent_moments` gives them, or `pictures`, uint8 (B, H, W, 3); `labels`, a text each, which
                may be empty.
            rngs: Draw of each clip a level, the noise, and where in their spread the latents lie, in this order.

        Raises:
            ValueError: The classification loss is on and the batch has no labels.
        """
        x_BZhw, noise_BZhw, level_B = self._drawn(batch, rngs)
        token_BD = network(heard(self.listener, batch["waves"]))
        states_BLD = self.prompt.states(token_BD)
        schedule = self.model.schedule
        predicted_BZhw = self.model.unet(
            schedule.noised(x_BZhw, noise_BZhw, level_B), level_B, encoder_hidden_states=states_BLD, return_dict=False
        )[0]
        wanted_BZhw = schedule.wanted(x_BZhw, noise_BZhw, level_B)
        terms = {
            "diffusion": (predicted_BZhw.float() - wanted_BZhw).square().mean((1, 2, 3)),
            "size": token_BD.float().abs().mean(1),
        }
        loss_B = terms["diffusion"] + self.settings.size_weight * terms["size"]
        if self.settings.label_weight > 0:
            terms["label"] = self._label_term(token_BD, batch)
            loss_B = loss_B + self.settings.label_weight * terms["label"]
        count = torch.tensor(float(len(rngs)), device=loss_B.device)
        tallies = {name: torch.stack([term_B.detach().sum(), count]) for name, term_B in terms.items()}
        return StepResult(loss=loss_B.mean(), tallies=tallies)

    def _drawn(self, batch: Batch, rngs: Sequence[np.random.Generator]) -> tuple[Tensor, Tensor, Tensor]:
        """Latents of the frames (B, Z, h, w), noise for them, and levels (B,)."""
        if batch.get("latents") is None:
            mean_BZhw, spread_BZhw = self.model.latent_moments(batch["pictures"])
        else:
            mean_BZhw, spread_BZhw = batch["latents"], batch["spreads"]
        shape = tuple(mean_BZhw.shape[1:])
        levels = [self.model.schedule.draw(rng) for rng in rngs]
        noise, place = (
            torch.from_numpy(np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs])).to(mean_BZhw)
            for _ in range(2)
        )
        return mean_BZhw + spread_BZhw * place, noise, torch.tensor(levels, device=mean_BZhw.device)

    def _label_term(self, token_BD: Tensor, batch: Batch) -> Tensor:
        """(1 - cos)^2 of each clip with a label, 0 of the others: (B,)."""
        if batch.get("labels") is None:
            raise ValueError("the classification loss is on and the batch has no labels: set label_weight to 0")
        words_BD = label_words(self.model, batch["labels"])
        cosine_B = nn.functional.cosine_similarity(token_BD.float(), words_BD, dim=1)
        return (1 - cosine_B).square() * (words_BD.abs().sum(1) > 0)
