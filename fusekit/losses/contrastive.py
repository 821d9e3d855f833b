"""Contrastive loss: pairs of one person together, pairs of two people apart up to a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusekit.errors import LossError
from fusekit.losses.pairs import check_labeled, find_pairs, pair_distances
from fusekit.losses.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor


@full_precision
def contrastive_loss(embeddings: Tensor, labels: Tensor, margin: float = 1.0) -> Tensor:
    """Take ½ d² for each pair of one person and ½ max(0, margin - d)² for each of two.

    It takes the loader's batches of P people x K images, all pairs of the batch.

    Args:
        embeddings: ``(B, D)``, B of 2 or more; nothing is normalised here.
        labels: ``(B,)``, 0 or more.
        margin: Distance from which two people are far enough apart, above 0. The papers tune it;
            the default is ours, for unit rows, whose distances go up to 2.

    Returns:
        The mean over the pairs, a scalar. (The papers sum over pairs that were drawn beforehand.)

    Raises:
        LossError: The batch is not as above, or the margin is not above 0.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[0.0], [1.0], [1.5]])
        >>> float(contrastive_loss(rows, torch.tensor([0, 0, 1])) * 3)
        0.625

    Reference:
        Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR
        2006, equation 4. Sun, Chen, Wang, Tang, "Deep Learning Face Representation by Joint
        Identification-Verification" (DeepID2), NIPS 2014, equation 2.
    """
    check_labeled(embeddings, labels)
    if len(labels) < 2:
        raise LossError("labels", f"{len(labels)} rows make no pair", "2 rows or more")
    if not margin > 0:
        raise LossError("margin", f"is {margin}", "a distance above 0")
    left, right, same = find_pairs(labels)
    distance = pair_distances(embeddings)[left, right]  # (pairs,)
    apart = (margin - distance).relu()  # (pairs,)
    return 0.5 * distance.where(same, apart).square().mean()
