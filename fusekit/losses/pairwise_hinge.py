"""dlib's metric loss: a hinge on every pair of one person, and on as many of the worst others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusekit.errors import LossError
from fusekit.losses.pairs import check_both_kinds, check_labeled, find_pairs, pair_distances
from fusekit.losses.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor

# dlib divides by no distance below this where it pushes two people apart.
SHORTEST = 0.001


@full_precision
def pairwise_hinge_loss(
    embeddings: Tensor, labels: Tensor, threshold: float = 0.6, margin: float = 0.04
) -> Tensor:
    """Bring every person into a ball of their own, as dlib's recognition network was trained.

    max(0, d - threshold + margin) for every pair of one person, max(0, threshold - d + margin)
    for pairs of two, all scaled by 0.5 / N, N the number of pairs of one person. There are many
    more pairs of two people, so only the worst N of them count, the nearest; ties with the last
    of them count too, as in dlib. It takes the loader's batches of P people x K images.

    Gradients are dlib's. Its program prints twice this value, since it adds up every pair in both
    directions while it hands each row the gradient of one.

    Args:
        embeddings: ``(B, D)``, not normalised: the ball's size is absolute.
        labels: ``(B,)``, 0 or more, with a pair of one person and one of two.
        threshold: Distance below which two faces are one person, above 0; dlib's is 0.6.
        margin: By how much pairs should clear it, from above 0 to below the threshold; dlib's
            default, and that of its network, is 0.04.

    Returns:
        A scalar, 0 or more.

    Raises:
        LossError: The batch or a setting is not as above.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[0.0], [0.8125], [0.5625], [5.0]])
        >>> found = pairwise_hinge_loss(rows, torch.tensor([0, 0, 1, 2]), 0.5, 0.125)
        >>> float(found)  # (0.8125 - 0.375 + 0.625 - 0.25) / 2
        0.40625

    Reference:
        King, "High Quality Face Recognition with Deep Metric Learning", dlib 2017;
        ``loss_metric_`` in dlib/dnn/loss.h and its documentation in loss_abstract.h. There is no
        paper.
    """
    check_labeled(embeddings, labels)
    if not 0 < margin < threshold:
        raise LossError(
            "threshold, margin", f"are {threshold}, {margin}", "a margin above 0 and below it"
        )
    left, right, same = find_pairs(labels)
    check_both_kinds(same)
    distance = pair_distances(embeddings)[left, right]  # (pairs,)
    together, apart = distance[same], distance[~same]  # (N,), (others,)
    worst = apart.detach().topk(min(len(together), len(apart)), largest=False).values[-1]
    pulls = (together - (threshold - margin)).relu()  # (N,)
    pushes = (threshold + margin - _bounded_slope(apart)).relu()[apart <= worst]  # (N or more,)
    return 0.5 / len(together) * (pulls.sum() + pushes.sum())


def _bounded_slope(distance: Tensor) -> Tensor:
    """Leave distances as they are, their gradient (x - y) / max(d, 0.001)."""
    value = distance.detach()
    return value + (value / SHORTEST).clamp_max(1) * (distance - value)
