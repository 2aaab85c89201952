"""What one training step of AudioX minimises: the error of the predicted v at a drawn time, under masked conditions.

Every number a sample draws (which modalities it is shown, its time, its noise, its task, what is hidden) comes from its
own generator, in this order, so that it does not depend on the rest of the batch nor on the device. What depends on
whether a batch has pictures at all is drawn last.

Legend: B batch, F latent frames, D latent channels, N pictures, P features of a picture, L text tokens, S width of a
teacher's vectors.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from models.audiox.conditioning import AudioPrompt, ConditionEncoders, Features
from models.audiox.distillation import Distillation, contrastive_loss
from models.audiox.masking import ConditionDrop, Masking
from models.audiox.network import AudioXNetwork
from models.audiox.tasks import Task, TaskMix, task_of
from models.diffusion.paths import PATHS, mixed, squared_error
from models.diffusion.times import TimeDraw
from models.training.step import Batch, StepResult


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveSettings:
    """Settings of the objective.

    Attributes:
        path: "flow" (rectified flow) or "v" (v-prediction).
        times: How times are drawn.
        drop: How often conditions are taken away.
        masking: How parts of conditions are hidden; None: nothing is.
        tasks: What rows without a `type` train; None: all their conditions are shown, and no prompts of sound.
        distillation: Of a frozen encoder's vectors.
        time_bins: Equal parts of [0, 1] for which the loss is reported.
    """

    path: Literal["flow", "v"] = "flow"
    times: TimeDraw = field(default_factory=TimeDraw)
    drop: ConditionDrop = field(default_factory=ConditionDrop)
    masking: Masking | None = None
    tasks: TaskMix | None = None
    distillation: Distillation = field(default_factory=Distillation)
    time_bins: int = 4

    def __post_init__(self) -> None:
        if self.path not in PATHS:
            raise ValueError(f"path is {self.path!r}: choose one of {', '.join(PATHS)}")
        if self.time_bins < 1:
            raise ValueError(f"time_bins is {self.time_bins}: it must be at least 1")


class AudioXObjective:
    """The objective, as the training loop calls it.

    A batch has `latents` (B, F, D) float32 in the codec's units, `texts` (B strings, empty where absent), `frames`
    (B, N, H, W, 3) uint8 or None, `has_frames` (B,) bool, and `keys`. It may have `types` (B strings, see `tasks.py`,
    empty where a row has none), `before` (B, F, D) float32 with `has_before` (B,) bool, the latents of what sounded
    before, `teachers` (B, S) float32 with `has_teachers` (B,) bool, frozen vectors of the targets, and `tokens`
    (B, L, T) float32 with `token_lengths`, B integers, the text encoder's hidden states of the texts, and, in place of
    `frames`, `seen` (B, N, P, V) float16 or float32 with `has_seen`, the frame encoder's features of those pictures.
    """

    def __init__(self, settings: ObjectiveSettings, encoders: ConditionEncoders) -> None:
        self.settings = settings
        self.encoders = encoders
        self.path = PATHS[settings.path]

    def __call__(self, network: nn.Module, batch: Batch, rngs: Sequence[np.random.Generator]) -> StepResult:
        """The loss of a batch, and its mean by part of the time."""
        if not isinstance(network, AudioXNetwork):
            raise TypeError(f"the AudioX objective needs an AudioXNetwork, not a {type(network).__name__}")
        x_BFD = network.scale.scaled(batch["latents"])
        keeps = [self.settings.drop.draw(rng) for rng in rngs]
        t_B = torch.tensor([self.settings.times.draw(rng) for rng in rngs], device=x_BFD.device)
        noise_BFD = drawn_noise(rngs, x_BFD)
        tasks = self._tasks(batch, rngs)
        prompt = self._prompt(network, x_BFD, batch, tasks, rngs)
        features = replace(self._features(batch, tasks, rngs), audio=prompt)
        features = features.keeping(
            _flags((keep[0] and task.text for keep, task in zip(keeps, tasks, strict=True)), x_BFD),
            _flags((keep[1] and task.video for keep, task in zip(keeps, tasks, strict=True)), x_BFD),
            _flags((keep[2] for keep in keeps), x_BFD),
        )
        predicted = network(mixed(self.path, x_BFD, noise_BFD, t_B), t_B, features)
        loss_B = squared_error(predicted.v_BFD, self.path.target(x_BFD, noise_BFD, t_B))
        loss, tallies = loss_B.mean(), self._by_time(loss_B.detach(), t_B)
        if predicted.student_BS is not None and self.settings.distillation.weight > 0:
            apart = self._distilled(predicted.student_BS, batch)
            loss = loss + self.settings.distillation.weight * apart
            tallies["contrast"] = torch.stack([apart.detach(), torch.ones_like(apart)])
        return StepResult(loss=loss, tallies=tallies)

    def _tasks(self, batch: Batch, rngs: Sequence[np.random.Generator]) -> list[Task]:
        """The task of each row: what its type says, else a drawn one, else everything it has but prompts of sound."""
        types, mix = batch.get("types") or [""] * len(rngs), self.settings.tasks
        if mix is None:
            return [task_of(type_) if type_ else Task(text=True, video=True) for type_ in types]
        pictures, has_B = _pictures(batch)
        shown = has_B.tolist() if pictures is not None else [False] * len(rngs)
        drawn = [
            mix.draw(rng, has_text=bool(text.strip()), has_video=has_video)
            for rng, text, has_video in zip(rngs, batch["texts"], shown, strict=True)
        ]
        return [task_of(type_) if type_ else task for type_, task in zip(types, drawn, strict=True)]

    def _features(self, batch: Batch, tasks: Sequence[Task], rngs: Sequence[np.random.Generator]) -> Features:
        (pictures, has_B), places = _pictures(batch), [float(rng.random()) for rng in rngs]
        if pictures is not None and any(task.is_still for task in tasks):
            pictures = _stilled(pictures, tasks, places)
        tokens = None if batch.get("tokens") is None else (batch["tokens"], batch["token_lengths"])
        frames, seen = (pictures, None) if batch.get("seen") is None else (None, pictures)
        features = self.encoders.features(batch["texts"], frames, has_B, tokens=tokens, seen_BNPV=seen)
        masking = self.settings.masking
        if masking is None:
            return features
        lengths, most = features.text_lengths, features.text_BLT.shape[1]
        text = [_padded(masking.text.draw(rng, length), most) for rng, length in zip(rngs, lengths, strict=True)]
        shown = None
        if features.frames_BNPV is not None:
            count, patches = features.frames_BNPV.shape[1:3]
            shown = _masks([masking.frames.draw(rng, count, patches) for rng in rngs], features.text_BLT)
        return replace(features, text_shown_BL=_masks(text, features.text_BLT), frames_shown_BNP=shown)

    def _prompt(
        self,
        network: AudioXNetwork,
        x_BFD: Tensor,
        batch: Batch,
        tasks: Sequence[Task],
        rngs: Sequence[np.random.Generator],
    ) -> AudioPrompt | None:
        """Prompts of sound: what sounded before where a task wants it and it is known, else the sound with a gap."""
        masking = self.settings.masking or Masking()
        gaps = [masking.audio.draw(rng, x_BFD.shape[1]) for rng in rngs]
        stays = [self.settings.drop.draw_audio(rng) for rng in rngs]
        if not any(task.audio for task in tasks):
            return None
        if not network.config.adapters.audio:
            raise ValueError(
                "a row trains a prompt of sound, and this network reads none: give its config adapters.audio"
            )
        knows = [False] * len(rngs) if batch.get("before") is None else batch["has_before"].tolist()
        before = [task.is_music and known for task, known in zip(tasks, knows, strict=True)]
        latents_BFD = x_BFD
        if any(before):
            earlier_BFD = network.scale.scaled(batch["before"])
            latents_BFD = torch.where(_flags(before, x_BFD)[:, None, None], earlier_BFD, x_BFD)
        gaps = [np.ones_like(gap) if is_before else gap for gap, is_before in zip(gaps, before, strict=True)]
        return AudioPrompt(
            latents_BFD=latents_BFD,
            has_B=_flags((task.audio and stay for task, stay in zip(tasks, stays, strict=True)), x_BFD),
            before_B=_flags(before, x_BFD),
            shown_BF=_masks(gaps, x_BFD),
        )

    def _distilled(self, student_BS: Tensor, batch: Batch) -> Tensor:
        if batch.get("teachers") is None:
            raise ValueError(
                "the distillation is on and the batch has no teachers: encode them, or set its weight to 0"
            )
        temperature = self.settings.distillation.temperature
        return contrastive_loss(student_BS, batch["teachers"], batch["has_teachers"], temperature)

    def _by_time(self, loss_B: Tensor, t_B: Tensor) -> dict[str, Tensor]:
        bins = self.settings.time_bins
        bin_B = (t_B * bins).long().clamp_max(bins - 1)
        inside_KB = bin_B == torch.arange(bins, device=bin_B.device)[:, None]
        tallies_K2 = torch.stack([(inside_KB * loss_B).sum(1), inside_KB.sum(1).float()], dim=1)
        return {f"loss_t_{k / bins:.2f}_{(k + 1) / bins:.2f}": tallies_K2[k] for k in range(bins)}


def drawn_noise(rngs: Sequence[np.random.Generator], like_BFD: Tensor) -> Tensor:
    """Standard normal noise, each sample from its own generator: (B, F, D) float32, on the device of `like_BFD`."""
    shape = tuple(like_BFD.shape[1:])
    noise = np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs])
    return torch.from_numpy(noise).to(like_BFD.device)


def _pictures(batch: Batch) -> tuple[Tensor | None, Tensor]:
    """What a batch has of pictures, (B, N, ...), or their features that were made before, and which rows have any."""
    name = "frames" if batch.get("seen") is None else "seen"
    return batch[name], batch[f"has_{name}"]


def _stilled(pictures_BN: Tensor, tasks: Sequence[Task], places: Sequence[float]) -> Tensor:
    """The pictures, but one of them all the time for samples whose task is a still one: at a place from 0 to 1."""
    count = pictures_BN.shape[1]
    picked = [np.arange(count)] * len(tasks)
    for row, (task, place) in enumerate(zip(tasks, places, strict=True)):
        if task.is_still:
            picked[row] = np.full(count, int(place * count))
    rows = torch.arange(len(tasks), device=pictures_BN.device)[:, None]
    return pictures_BN[rows, torch.from_numpy(np.stack(picked)).to(pictures_BN.device)]


def _flags(values: Iterable[bool], like: Tensor) -> Tensor:
    return torch.tensor([bool(value) for value in values], device=like.device)


def _masks(masks: Sequence[np.ndarray], like: Tensor) -> Tensor:
    return torch.from_numpy(np.stack(masks)).to(like.device)


def _padded(shown_L: np.ndarray, length: int) -> np.ndarray:
    return np.pad(shown_L, (0, length - len(shown_L)), constant_values=True)
