"""Triplet loss: a face is nearer to each of its person than to anybody else, by a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from fusekit.errors import LossError
from fusekit.losses.pairs import check_labeled, pair_distances
from fusekit.losses.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor

Mining = Literal["semi-hard", "batch-hard"]


@full_precision
def triplet_loss(
    embeddings: Tensor, labels: Tensor, margin: float = 0.2, mining: Mining = "semi-hard"
) -> Tensor:
    """Compare anchors with a row of their person and a row of another.

    It takes the loader's batches of P people x K images; any batch in which somebody comes twice
    and somebody else once will do.

    Args:
        embeddings: ``(B, D)``. Unit rows where they are compared by cosine later: nothing is
            normalised here, and the margin is in the distances' own unit.
        labels: ``(B,)``, 0 or more.
        margin: 0 or more; FaceNet's 0.2 is for squared distances of unit rows.
        mining: ``semi-hard`` takes every pair of one person with the nearest stranger that is
            farther than the pair, see :func:`semi_hard`; ``batch-hard`` takes every row with its
            farthest of the same person and its nearest stranger, see :func:`batch_hard`.

    Returns:
        The mean of the hinges, a scalar, 0 or more. (FaceNet writes their sum; a mean does not
        grow with the batch.)

    Raises:
        LossError: The batch is not as above, the mining is no such word, or the margin is negative.

    Example:
        >>> rows = torch.tensor([[0.0], [1.0], [3.0]])
        >>> float(triplet_loss(rows, torch.tensor([0, 0, 1]), margin=4.0))
        0.5

    Reference:
        Schroff, Kalenichenko, Philbin, "FaceNet: A Unified Embedding for Face Recognition and
        Clustering", CVPR 2015, equations 3 and 4. Hermans, Beyer, Leibe, "In Defense of the
        Triplet Loss for Person Re-Identification", 2017, equation 5.
    """
    check_labeled(embeddings, labels)
    if not margin >= 0:
        raise LossError("margin", f"is {margin}", "0 or more")
    same = labels[:, None] == labels[None, :]  # (B, B)
    others = same & ~torch.eye(len(labels), dtype=torch.bool, device=same.device)
    if not others.any() or same.all():
        raise LossError(
            "labels",
            "no two rows have one label, or all have it",
            "several rows of several people",
            "let the loader draw P people x K images",
        )
    distances = pair_distances(embeddings)  # (B, B)
    match mining:
        case "semi-hard":
            return semi_hard(distances, others, ~same, margin)
        case "batch-hard":
            return batch_hard(distances, others, ~same, margin)
        case _:
            raise LossError("mining", f"is {mining!r}", "semi-hard or batch-hard")


def semi_hard(distances: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Take max(0, d(a,p)² - d(a,n)² + margin) for every ordered pair of one person.

    n is the nearest stranger that is farther from a than p is: the nearest of all would, early
    on, collapse the embeddings to one point (FaceNet, section 3.2). Where every stranger is
    nearer, which the paper leaves open, n is the farthest of them.

    Args:
        distances: ``(B, B)``.
        positive: Whether a column is another row of the row's person, ``(B, B)``.
        negative: Whether it is a stranger, ``(B, B)``.
        margin: In squared distances.

    Returns:
        The mean over the pairs, a scalar.
    """
    squared = distances.square()  # (B, B)
    anchor, other = positive.nonzero(as_tuple=True)
    pair = squared[anchor, other]  # (pairs,)
    strangers = squared[anchor]  # (pairs, B)
    is_stranger = negative[anchor]  # (pairs, B)
    farther = is_stranger & (strangers > pair[:, None])  # (pairs, B)
    nearest_farther = strangers.masked_fill(~farther, torch.inf).amin(dim=1)  # (pairs,)
    farthest = strangers.masked_fill(~is_stranger, -torch.inf).amax(dim=1)  # (pairs,)
    stranger = torch.where(farther.any(dim=1), nearest_farther, farthest)  # (pairs,)
    return (pair - stranger + margin).relu().mean()


def batch_hard(distances: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Take max(0, max d(a,p) - min d(a,n) + margin) for every row of somebody who comes twice.

    Args:
        distances: ``(B, B)``.
        positive: Whether a column is another row of the row's person, ``(B, B)``.
        negative: Whether it is a stranger, ``(B, B)``.
        margin: In distances, not squared.

    Returns:
        The mean over the rows, a scalar.
    """
    paired = positive.any(dim=1)  # (B,)
    farthest = distances.masked_fill(~positive, -torch.inf).amax(dim=1)[paired]  # (anchors,)
    nearest = distances.masked_fill(~negative, torch.inf).amin(dim=1)[paired]  # (anchors,)
    return (farthest - nearest + margin).relu().mean()
