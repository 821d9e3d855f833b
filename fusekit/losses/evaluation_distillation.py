"""Evaluation-oriented distillation: a pair stands on the teacher's side of every threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import mse_loss, normalize

from fusekit.errors import LossError
from fusekit.losses.distillation import check_taught
from fusekit.losses.pairs import check_both_kinds, check_labeled, find_pairs
from fusekit.losses.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# False positive rates 1/10 ... 1/1,000,000, by what they divide the number of negative pairs.
RATES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)


@full_precision
def evaluation_distillation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    student_thresholds: Tensor,
    teacher_thresholds: Tensor,
    temperature: float = 0.01,
    hardest: int = 2000,
    positive_weight: float = 0.02,
    negative_weight: float = 0.01,
) -> Tensor:
    """Compare how many thresholds a pair passes with the student and with the teacher.

    A model is judged at a few thresholds, those of false positive rates. A pair on the same side
    of each of them for both models is judged alike, whatever its cosine: so a small student need
    not copy cosines that change no verdict. Of the many pairs of two people only those count that
    the student takes for most alike. It takes the loader's batches of P people x K images.

    Args:
        student: ``(B, D)``; normalised here.
        teacher: ``(B, E)``, of the same images; normalised here, and gets no gradient.
        labels: ``(B,)``, 0 or more, with a pair of one person and one of two.
        student_thresholds: Cosines, ``(T,)``, no gradient; see :func:`negative_thresholds`.
        teacher_thresholds: Cosines of the same rates, ``(T,)``.
        temperature: Of the soft steps, above 0, in cosines.
        hardest: How many pairs of two people count, at most, 1 or more.
        positive_weight: Of the pairs of one person.
        negative_weight: Of the pairs of two. These four are the authors'.

    Returns:
        A scalar: the two means of (student's rank - teacher's rank)², weighted and added.

    Raises:
        LossError: The batch, thresholds or settings are not as above.

    Reference:
        Huang, Wu, Xu, Ding, "Evaluation-oriented Knowledge Distillation for Deep Face
        Recognition", CVPR 2022, section 3.2 and equation 11, the rank-based loss; settings and
        details: Tencent/TFace, recognition/tasks/ekd.
    """
    check_taught(student, teacher)
    check_labeled(student, labels)
    if student_thresholds.shape != teacher_thresholds.shape or student_thresholds.ndim != 1:
        raise LossError(
            "thresholds",
            f"have the shapes {tuple(student_thresholds.shape)}, {tuple(teacher_thresholds.shape)}",
            "one cosine a rate for both",
        )
    if not temperature > 0 or hardest < 1:
        raise LossError(
            "temperature, hardest", f"are {temperature}, {hardest}", "above 0, 1 or more"
        )
    left, right, same = find_pairs(labels)
    check_both_kinds(same)
    ours = cosines_of(student)[left, right]  # (pairs,)
    theirs = cosines_of(teacher.detach())[left, right]  # (pairs,)
    rank = soft_ranks(ours, student_thresholds, temperature)  # (pairs,)
    wanted = soft_ranks(theirs, teacher_thresholds, temperature)  # (pairs,)
    different = (~same).nonzero()[:, 0]  # (negatives,)
    alike = ours.detach()[different].topk(min(hardest, len(different))).indices
    hard = different[alike]  # (at most hardest,)
    return positive_weight * mse_loss(rank[same], wanted[same]) + negative_weight * mse_loss(
        rank[hard], wanted[hard]
    )


def soft_ranks(cosines: Tensor, thresholds: Tensor, temperature: float) -> Tensor:
    """Count softly how many thresholds each cosine passes: Σ_t sigmoid((cos - t) / temperature).

    Args:
        cosines: ``(pairs,)``.
        thresholds: ``(T,)``.
        temperature: In cosines; towards 0 it is the plain count.

    Returns:
        ``(pairs,)``, 0 to T.

    Example:
        >>> soft_ranks(torch.tensor([-1.0, 0.5, 1.0]), torch.tensor([0.2, 0.7]), 0.001).tolist()
        [0.0, 1.0, 2.0]
    """
    return ((cosines[:, None] - thresholds[None, :]) / temperature).sigmoid().sum(dim=1)


def negative_thresholds(cosines: Tensor, rates: Sequence[int] = RATES) -> Tensor:
    """Find the cosine that a part of the pairs of two people pass.

    Args:
        cosines: Of pairs of two people, ``(N,)``, N of 1 or more.
        rates: What N is divided by, each 1 or more; a rate finer than the batch can tell gives
            the largest cosine.

    Returns:
        ``(len(rates),)``: the cosine that N // rate others exceed.

    Raises:
        LossError: There are no pairs, or a rate is below 2.

    Example:
        >>> negative_thresholds(torch.linspace(0, 1, 101), (10, 100, 1000)).tolist()
        [0.8999999761581421, 0.9900000095367432, 1.0]
    """
    if len(cosines) == 0 or min(rates) < 2:
        raise LossError(
            "rates", f"are {tuple(rates)} for {len(cosines)} pairs", "2 or more for 1 pair or more"
        )
    places = torch.tensor([len(cosines) // rate for rate in rates], device=cosines.device)
    return cosines.sort(descending=True).values[places]


def cosines_of(embeddings: Tensor) -> Tensor:
    """Take the cosine of every two rows.

    Args:
        embeddings: ``(B, D)``.

    Returns:
        ``(B, B)``.
    """
    unit = normalize(embeddings, dim=1)  # (B, D)
    return unit @ unit.T


class EvaluationDistillation(nn.Module):  # type: ignore[misc] # torch is not seen by the checker
    """Evaluation-oriented distillation with its thresholds, which follow the batches.

    A batch has too few pairs of two people for rates of 1/100,000: what it gives for them is the
    cosine of its worst pair. A moving average over batches steadies that; the first batch in
    training mode sets it, each later one moves it by ``momentum``. (The authors' program starts
    from 0, and so spends its first few hundred steps below every cosine that matters.) The loss of
    a batch is taken with the thresholds after its move, as theirs. Thresholds are buffers: saved
    with the module, and each process keeps its own.

    Args:
        rates: Of false positives, by what they divide the number of pairs of two people.
        momentum: How much of a threshold is the newest batch's, above 0 to 1; the authors' 0.01.
        temperature: See :func:`evaluation_distillation_loss`, as the next three.
        hardest: Pairs of two people that count.
        positive_weight: Of the pairs of one person.
        negative_weight: Of the pairs of two.

    Attributes:
        thresholds: Cosines of the student and of the teacher, ``(2, rates)``.
        begun: Whether a batch has set them, a boolean scalar.

    Raises:
        LossError: The momentum is out of its range.
    """

    def __init__(
        self,
        rates: Sequence[int] = RATES,
        momentum: float = 0.01,
        temperature: float = 0.01,
        hardest: int = 2000,
        positive_weight: float = 0.02,
        negative_weight: float = 0.01,
    ) -> None:
        super().__init__()
        if not 0 < momentum <= 1:
            raise LossError("momentum", f"is {momentum}", "above 0, at most 1")
        self.rates = tuple(rates)
        self.momentum = momentum
        self.temperature = temperature
        self.hardest = hardest
        self.positive_weight = positive_weight
        self.negative_weight = negative_weight
        self.register_buffer("thresholds", torch.zeros(2, len(self.rates)))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Move the thresholds by the batch, in training mode, and give its loss.

        Args:
            student: ``(B, D)``.
            teacher: ``(B, E)``.
            labels: ``(B,)``, 0 or more, with a pair of one person and one of two.

        Returns:
            A scalar.

        Raises:
            LossError: The batch is not as above, or none has set the thresholds in training mode.
        """
        check_taught(student, teacher)
        check_labeled(student, labels)
        if self.training:
            self._move(student, teacher, labels)
        elif not self.begun:
            raise LossError("thresholds", "no batch has set them", "a batch in training mode")
        return evaluation_distillation_loss(
            student,
            teacher,
            labels,
            self.thresholds[0],
            self.thresholds[1],
            self.temperature,
            self.hardest,
            self.positive_weight,
            self.negative_weight,
        )

    @torch.no_grad()  # type: ignore[untyped-decorator] # torch is not seen by the checker
    def _move(self, student: Tensor, teacher: Tensor, labels: Tensor) -> None:
        left, right, same = find_pairs(labels)
        check_both_kinds(same)
        found = _thresholds_of(student, teacher, left[~same], right[~same], self.rates)  # (2, T)
        # No branch on the buffer: on a device, asking for its value would wait for it.
        newest = torch.where(self.begun, self.momentum, 1.0)
        self.thresholds.copy_(torch.lerp(self.thresholds, found.to(self.thresholds), newest))
        self.begun.fill_(1)


@full_precision
def _thresholds_of(
    student: Tensor, teacher: Tensor, left: Tensor, right: Tensor, rates: Sequence[int]
) -> Tensor:
    each = [
        negative_thresholds(cosines_of(rows)[left, right], rates) for rows in (student, teacher)
    ]
    return torch.stack(each)
