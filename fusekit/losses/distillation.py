"""A small model learns from a large one: its embeddings, or how they lie to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import huber_loss, normalize

from fusekit.errors import LossError
from fusekit.losses.pairs import check_embeddings, pair_distances
from fusekit.losses.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor


@full_precision
def embedding_distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Take the squared distance of each embedding to the teacher's, both of unit length.

    It is 2 - 2 cos θ: the direction alone is taught, since only it is compared later. It needs no
    labels, so unlabeled rows are as good as others.

    Args:
        student: ``(B, D)``; normalised here.
        teacher: ``(B, D)``, of the same images; normalised here, and gets no gradient. For a
            teacher of another D see :class:`EmbeddingDistillation`.

    Returns:
        The mean over rows, a scalar, 0 to 4.

    Raises:
        LossError: The two are no matrices of one shape with a row.

    Example:
        >>> float(embedding_distillation_loss(torch.eye(2), 3 * torch.eye(2).flip(0)))
        2.0

    Reference:
        Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, its hint loss, for the last
        layer. On unit vectors: Duong et al., "ShrinkTeaNet: Million-scale Lightweight Face
        Recognition via Shrinking Teacher-Student Networks", 2019.
    """
    check_taught(student, teacher)
    if student.shape[1] != teacher.shape[1]:
        raise LossError(
            "student, teacher",
            f"have {student.shape[1]} and {teacher.shape[1]} dimensions",
            "one number of dimensions",
            "use EmbeddingDistillation, which learns a projection between them",
        )
    away = normalize(student, dim=1) - normalize(teacher.detach(), dim=1)  # (B, D)
    return away.square().sum(dim=1).mean()


@full_precision
def relational_distillation_loss(
    student: Tensor, teacher: Tensor, distance: float = 1.0, angle: float = 2.0
) -> Tensor:
    """Ask that the student's embeddings lie to each other as the teacher's do.

    The two need not have one number of dimensions, nor one unit. It needs no labels.

    Args:
        student: ``(B, D)``, B of 3 or more; nothing is normalised here.
        teacher: ``(B, E)``, of the same images; it gets no gradient.
        distance: Weight of :func:`relational_distance_loss`, 0 or more.
        angle: Weight of :func:`relational_angle_loss`, 0 or more. The defaults are the paper's
            for metric learning; beside a softmax loss its are 25 and 50.

    Returns:
        A scalar, 0 or more.

    Raises:
        LossError: The two are no matrices of equally many rows, 3 or more, or a weight is negative.

    Example:
        >>> rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
        >>> float(relational_distillation_loss(7 * rows.flip(1), rows)) < 1e-12
        True

    Reference:
        Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019, section 3.2.
    """
    for name, weight in (("distance", distance), ("angle", angle)):
        if not weight >= 0:
            raise LossError(name, f"is {weight}", "a weight of 0 or more")
    return distance * relational_distance_loss(student, teacher) + angle * relational_angle_loss(
        student, teacher
    )


@full_precision
def relational_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Compare distances within the batch, in units of the batch's mean distance.

    Args:
        student: ``(B, D)``, B of 3 or more.
        teacher: ``(B, E)``; it gets no gradient.

    Returns:
        The mean over pairs of the Huber loss (δ = 1) of ψ = d / mean d, a scalar. (The paper
        writes a sum; its program's mean counts the B zeros of the diagonal too.)

    Raises:
        LossError: The two are no matrices of equally many rows, 3 or more.

    Reference:
        Park et al. 2019, section 3.2.1.
    """
    check_taught(student, teacher, least=3)
    with torch.no_grad():
        wanted = _relative_distances(teacher)  # (pairs,)
    return huber_loss(_relative_distances(student), wanted)


@full_precision
def relational_angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Compare the angles of all triangles within the batch, by their cosines.

    Memory grows with B² (B + D): batches of a few hundred rows are its bound.

    Args:
        student: ``(B, D)``, B of 3 or more.
        teacher: ``(B, E)``; it gets no gradient.

    Returns:
        The mean over corners, all (i, j, k) that differ, of the Huber loss (δ = 1) of ψ, the
        cosine of the angle at j, a scalar. Two equal rows have no angle: ψ is 0 there.

    Raises:
        LossError: The two are no matrices of equally many rows, 3 or more.

    Reference:
        Park et al. 2019, section 3.2.2.
    """
    check_taught(student, teacher, least=3)
    with torch.no_grad():
        wanted = _corner_cosines(teacher)  # (B, B, B)
    count = len(student)
    corners = count * (count - 1) * (count - 2)  # i, j, k that differ; at all others both are 0
    return huber_loss(_corner_cosines(student), wanted, reduction="sum") / corners


class EmbeddingDistillation(nn.Module):  # type: ignore[misc] # torch is not seen by the checker
    """Embedding distillation with a learned projection of the student's embeddings.

    The projection serves the training alone; the student is used without it. It should learn with
    the student: give its parameters to the optimiser.

    Args:
        student_dim: D of the student, 1 or more.
        teacher_dim: D of the teacher, 1 or more.

    Attributes:
        projection: ``nn.Linear`` without bias, from D to the teacher's D.
    """

    def __init__(self, student_dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(student_dim, teacher_dim, bias=False)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Give the loss of a batch.

        Args:
            student: ``(B, student_dim)``.
            teacher: ``(B, teacher_dim)``.

        Returns:
            A scalar.
        """
        return embedding_distillation_loss(self.projection(student), teacher)


def check_taught(student: Tensor, teacher: Tensor, least: int = 1) -> None:
    """Refuse embeddings of a student and a teacher that are not of one batch.

    Args:
        student: ``(B, D)``.
        teacher: ``(B, E)``.
        least: The least B.

    Raises:
        LossError: Shapes differ from these, or there are fewer rows.
    """
    check_embeddings(student)
    check_embeddings(teacher)
    if len(student) != len(teacher) or len(student) < least:
        raise LossError(
            "student, teacher",
            f"have {len(student)} and {len(teacher)} rows",
            f"embeddings of the same images, {least} or more",
        )


def _relative_distances(rows: Tensor) -> Tensor:
    left, right = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
    distance = pair_distances(rows)[left, right]  # (pairs,)
    mean = distance.mean()
    # Embeddings that are all one point have no unit; their distances are 0 in any.
    return distance / mean.clamp_min(torch.finfo(mean.dtype).tiny)


def _corner_cosines(rows: Tensor) -> Tensor:
    sides = rows[None, :, :] - rows[:, None, :]  # (B, B, D): j, i
    lengths = sides.norm(dim=2, keepdim=True)  # (B, B, 1)
    # An image that came twice has no direction to itself, and no gradient for one.
    sides = sides / lengths.where(lengths > 0, 1)
    cosines = sides @ sides.transpose(1, 2)  # (B, B, B): j, i, k
    # At i = j or k = j a side is 0; at i = k there is no angle, and the cosine is made 0.
    return cosines * ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
