"""Contrastive distillation: the middle of the network is pulled to what a frozen encoder heard in the target.

Source: ours; AudioX's summary names contrastive distillation without any detail. The loss is InfoNCE, van den Oord et
al. 2018, arXiv 1807.03748, in both directions as in CLIP, Radford et al. 2021, arXiv 2103.00020. It compares the
samples of a batch with each other and so depends on the micro-batch, unlike all other losses here.

Legend: B batch, S width of the teacher's vectors.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, slots=True)
class Distillation:
    """Settings of the loss.

    Attributes:
        weight: Of it beside the diffusion loss; 0: off.
        temperature: Similarities are divided by it. 0.07 as CLIP begins with.
    """

    weight: float = 0.0
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight of the distillation is {self.weight}: it cannot be negative")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}: it must be above 0")


def contrastive_loss(student_BS: Tensor, teacher_BS: Tensor, has_B: Tensor, temperature: float) -> Tensor:
    """How badly each student's vector is told apart from the others by its own teacher's, and the other way round.

    Args:
        student_BS: What the network says; of any length.
        teacher_BS: Frozen vectors of the targets; of any length. Samples whose vectors are equal (one clip drawn twice)
            are each other's right answer too.
        has_B: bool, which samples have a teacher's vector; the others take no part.
        temperature: Above 0.

    Returns:
        Scalar, the mean over samples that take part; 0 with fewer than two. log(n) where n of them are not told apart.
    """
    student_NS = functional.normalize(student_BS[has_B].float(), dim=-1)
    teacher_NS = functional.normalize(teacher_BS[has_B].float(), dim=-1)
    if len(student_NS) < 2:
        return student_BS.float().sum() * 0
    logits_NN = student_NS @ teacher_NS.T / temperature
    same_NN = (teacher_NS @ teacher_NS.T > 1 - 1e-5).float()
    right_NN = same_NN / same_NN.sum(1, keepdim=True)
    ways = [functional.cross_entropy(logits, right_NN) for logits in (logits_NN, logits_NN.T)]
    return torch.stack(ways).mean()
