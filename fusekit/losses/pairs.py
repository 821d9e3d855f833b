"""The pairs of a labeled batch: who is with whom, and how far apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from fusekit.errors import LossError

if TYPE_CHECKING:
    from torch import Tensor


class Pairs(NamedTuple):
    """Every pair of two rows of a batch of B, each once: B (B - 1) / 2 of them.

    Attributes:
        left: Row of the first, int64, ``(pairs,)``.
        right: Row of the second, above ``left``, int64, ``(pairs,)``.
        same: Whether the two have one label, bool, ``(pairs,)``.
    """

    left: Tensor
    right: Tensor
    same: Tensor


def check_labeled(embeddings: Tensor, labels: Tensor) -> None:
    """Refuse what isn't a labeled batch.

    A row labeled -1 is an unknown person: two of them would be taken for one. So unlabeled rows
    are refused, not passed over: give the loss ``[:batch.n_labeled]``.

    Args:
        embeddings: ``(B, D)``, of a floating type.
        labels: ``(B,)``, integers, 0 or more.

    Raises:
        LossError: Shapes or types differ from these, or a label is negative.
    """
    check_embeddings(embeddings)
    if labels.shape != embeddings.shape[:1]:
        raise LossError(
            "labels",
            f"have the shape {tuple(labels.shape)} for embeddings {tuple(embeddings.shape)}",
            f"({len(embeddings)},)",
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise LossError("labels", f"are {labels.dtype}", "whole numbers")
    if (labels < 0).any():
        row = int((labels < 0).nonzero()[0, 0])
        raise LossError(
            "labels",
            f"row {row} is {int(labels[row])}",
            "labels of 0 or more",
            "give the loss only the labeled rows: embeddings[:n_labeled], labels[:n_labeled]",
        )


def check_classes(embeddings: Tensor, labels: Tensor, classes: Tensor) -> None:
    """Refuse a labeled batch that doesn't fit a table of classes.

    Args:
        embeddings: ``(B, D)``, of 1 row or more.
        labels: ``(B,)``, 0 to C - 1.
        classes: ``(C, D)``.

    Raises:
        LossError: Shapes differ from these, or a label is outside the classes.
    """
    check_labeled(embeddings, labels)
    if len(labels) == 0:
        raise LossError("labels", "are none", "1 row or more")
    if classes.ndim != 2 or classes.shape[1] != embeddings.shape[1]:
        raise LossError(
            "classes", f"have the shape {tuple(classes.shape)}", f"(C, {embeddings.shape[1]})"
        )
    if int(labels.max()) >= len(classes):
        raise LossError("labels", f"{int(labels.max())} is among them", f"0 to {len(classes) - 1}")


def check_embeddings(embeddings: Tensor) -> None:
    """Refuse what isn't rows of floating numbers.

    Args:
        embeddings: ``(B, D)``, of a floating type.

    Raises:
        LossError: It has another shape or type.
    """
    if embeddings.ndim != 2 or not embeddings.is_floating_point():
        raise LossError(
            "embeddings",
            f"are {embeddings.dtype} of the shape {tuple(embeddings.shape)}",
            "floating numbers of the shape (rows, dimensions)",
        )


def find_pairs(labels: Tensor) -> Pairs:
    """List every pair of a batch.

    Args:
        labels: ``(B,)``.

    Returns:
        The pairs.

    Example:
        >>> find_pairs(torch.tensor([4, 7, 4])).same.tolist()
        [False, True, False]
    """
    left, right = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
    return Pairs(left, right, labels[left] == labels[right])


def check_both_kinds(same: Tensor) -> None:
    """Refuse a batch whose pairs are all of one kind.

    Args:
        same: Whether a pair is of one person, bool, ``(pairs,)``.

    Raises:
        LossError: No pair is of one person, or none of two.
    """
    count = int(same.sum())
    if count in (0, len(same)):
        kind = "one label" if count == 0 else "two labels"
        raise LossError(
            "labels",
            f"no pair of rows has {kind}",
            "several rows of several people",
            "let the loader draw P people x K images",
        )


def pair_distances(embeddings: Tensor) -> Tensor:
    """Measure the Euclidean distance of every two rows.

    Taken from the differences themselves: ``x·x + y·y - 2 x·y`` cancels in float32, where two
    unit vectors closer than 0.0003 can come out as one. At distance 0 the gradient is 0.

    Args:
        embeddings: ``(B, D)``.

    Returns:
        ``(B, B)``, symmetric, its diagonal 0.
    """
    return torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
