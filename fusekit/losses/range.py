"""Range loss: the widest spread of each person small, the two nearest people apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fusekit.errors import LossError
from fusekit.losses.pairs import check_labeled
from fusekit.losses.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor


@full_precision
def range_loss(
    embeddings: Tensor,
    labels: Tensor,
    k: int = 2,
    margin: float = 1.0,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """Take how far the people of a batch spread, and how close two of them come.

    alpha times the first plus beta times the second. Both look at people, not at images: somebody
    with three images weighs as much as somebody with three hundred, which is what it is for. The
    paper adds it to a softmax loss. It takes the loader's batches of P people x K images.

    Args:
        embeddings: ``(B, D)``; nothing is normalised here.
        labels: ``(B,)``, 0 or more, of two people or more.
        k: How many of a person's largest distances count, 1 or more; the paper's is 2. A person
            with fewer pairs has as many as there are; one with a single row has no spread.
        margin: Squared distance from which two people's means are far enough apart, above 0.
        alpha: Weight of the spread, 0 or more.
        beta: Weight of the closeness, 0 or more. The last three are ours: the paper's fit
            embeddings of no fixed length.

    Returns:
        A scalar, 0 or more: a sum over people, as the paper has it.

    Raises:
        LossError: The batch is not as above, or a setting is out of its range.

    Example:
        >>> rows = torch.tensor([[0.0], [2.0], [1.5]])
        >>> float(range_loss(rows, torch.tensor([0, 0, 1])))
        4.75

    Reference:
        Zhang, Fang, Wen, Li, Qiao, "Range Loss for Deep Face Recognition with Long-tail", ICCV
        2017: the harmonic mean of the k largest ranges, and the shortest distance between class
        means.
    """
    check_labeled(embeddings, labels)
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not value >= 0:
            raise LossError(name, f"is {value}", "0 or more")
    if k < 1 or not margin > 0:
        raise LossError("k, margin", f"are {k}, {margin}", "1 or more, above 0")
    people = labels.unique()  # (P,)
    if len(people) < 2:
        raise LossError("labels", "all rows have one label", "rows of several people")
    rows = [embeddings[labels == person] for person in people]
    spread = torch.stack([harmonic_range(each, k) for each in rows]).sum()
    means = torch.stack([each.mean(dim=0) for each in rows])  # (P, D)
    return alpha * spread + beta * (margin - squared_distances(means).min()).relu()


def harmonic_range(rows: Tensor, k: int) -> Tensor:
    """Take the harmonic mean of the k largest squared distances between one person's rows.

    The harmonic mean follows the smallest of the k, so one outlier doesn't carry it.

    Args:
        rows: ``(K, D)``.
        k: How many, at most.

    Returns:
        A scalar: k / Σ 1/d², 0 for a single row.
    """
    if len(rows) < 2:
        return rows.sum() * 0.0
    squared = squared_distances(rows)  # (pairs,)
    largest = squared.topk(min(k, len(squared))).values  # (k,)
    # Of two equal rows, 1/d² is as large as float32 can square on the way back.
    return len(largest) / (1 / largest.clamp_min(1e-18)).sum()


def squared_distances(rows: Tensor) -> Tensor:
    """Take the squared distance of every two rows.

    Args:
        rows: ``(K, D)``.

    Returns:
        ``(K (K - 1) / 2,)``.
    """
    left, right = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
    return (rows[left] - rows[right]).square().sum(dim=1)
