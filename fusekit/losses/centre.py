"""Centre loss: each face near its person's centre, and centres that follow their faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from fusekit.errors import LossError
from fusekit.losses.pairs import check_classes
from fusekit.losses.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor


@full_precision
def centre_loss(embeddings: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Take half the squared distance of each face to its person's centre.

    The paper adds it, weighted by λ = 0.003 (its best on faces), to a softmax loss: alone it is
    least where all faces are one point.

    Args:
        embeddings: ``(B, D)``, as they come from the network, not normalised.
        labels: ``(B,)``, 0 to C - 1.
        centres: ``(C, D)``; they get no gradient, see :func:`move_centres`.

    Returns:
        The mean over rows, a scalar. (Equation 2 writes the sum; so does its softmax loss, so
        with a mean of both, λ stays the paper's.)

    Raises:
        LossError: The batch is not as above, or a label has no centre.

    Example:
        >>> float(centre_loss(torch.ones(1, 2), torch.tensor([1]), torch.zeros(3, 2)))
        1.0

    Reference:
        Wen, Zhang, Li, Qiao, "A Discriminative Feature Learning Approach for Deep Face
        Recognition", ECCV 2016, equation 2.
    """
    check_classes(embeddings, labels, centres)
    away = embeddings - centres.detach()[labels]  # (B, D)
    return 0.5 * away.square().sum(dim=1).mean()


@torch.no_grad()  # type: ignore[untyped-decorator] # torch is not seen by the checker
def move_centres(centres: Tensor, embeddings: Tensor, labels: Tensor, alpha: float = 0.5) -> Tensor:
    """Move the centres of the people in a batch towards their faces.

    c_j - alpha Σ_i (c_j - x_i) / (1 + n_j), over the n_j rows of person j. The 1 keeps a single
    mislabeled face from dragging a centre along; a person without rows stays.

    Args:
        centres: ``(C, D)``, not changed.
        embeddings: ``(B, D)``.
        labels: ``(B,)``, 0 to C - 1.
        alpha: How far, 0 to 1; the paper's is 0.5.

    Returns:
        The new centres, ``(C, D)``, in the centres' type.

    Raises:
        LossError: The batch is not as above, a label has no centre, or alpha is outside 0 to 1.

    Example:
        >>> move_centres(torch.zeros(2, 1), torch.ones(3, 1), torch.tensor([0, 0, 0])).tolist()
        [[0.375], [0.0]]

    Reference:
        Wen et al. 2016, equation 4 and step 6 of algorithm 1.
    """
    check_classes(embeddings, labels, centres)
    if not 0 <= alpha <= 1:
        raise LossError("alpha", f"is {alpha}", "0 to 1")
    away = centres[labels] - embeddings.to(centres.dtype)  # (B, D)
    total = torch.zeros_like(centres).index_add_(0, labels, away)  # (C, D)
    count = torch.bincount(labels, minlength=len(centres))  # (C,)
    return centres - alpha * total / (1 + count[:, None])


class CentreLoss(nn.Module):  # type: ignore[misc] # torch is not seen by the checker
    """Centre loss with its centres, which follow the batches while it is in training mode.

    The centres are a buffer, not a parameter: they are saved with the module, and no optimiser
    touches them. Each process moves its own by its own rows.

    Args:
        classes: C, how many people.
        embedding_dim: D.
        alpha: How far centres move, see :func:`move_centres`.

    Raises:
        LossError: Alpha is outside 0 to 1, when it is used.
    """

    def __init__(self, classes: int, embedding_dim: int, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = alpha
        self.register_buffer("centres", torch.zeros(classes, embedding_dim))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Give the loss by the centres as they are, then move them (algorithm 1's order).

        Args:
            embeddings: ``(B, D)``.
            labels: ``(B,)``, 0 to C - 1.

        Returns:
            A scalar.
        """
        loss = centre_loss(embeddings, labels, self.centres)
        if self.training:
            self.centres.copy_(move_centres(self.centres, embeddings, labels, self.alpha))
        return loss
