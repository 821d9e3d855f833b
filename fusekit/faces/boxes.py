"""Boxes ``(x0, y0, x1, y1)``: overlap and suppression of doubles."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Boxes: TypeAlias = npt.NDArray[np.floating]
"""``(N, 4)``: x0, y0, x1, y1 in pixels."""


def overlaps(boxes: Boxes, box: Boxes) -> npt.NDArray[np.float64]:
    """Give the intersection over union of each box with one box.

    Args:
        boxes: ``(N, 4)``.
        box: ``(4,)``.

    Returns:
        ``(N,)``, 0 to 1; 0 where both have no area.

    Example:
        >>> overlaps(np.array([[0.0, 0, 2, 2], [9, 9, 10, 10]]), np.array([0.0, 0, 2, 1])).tolist()
        [0.5, 0.0]
    """
    boxes, box = np.asarray(boxes, np.float64), np.asarray(box, np.float64)
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    shared = np.maximum(sides, 0).prod(axis=1)
    union = areas(boxes) + areas(box[None]) - shared
    out: npt.NDArray[np.float64] = np.zeros(len(boxes))
    np.divide(shared, union, out=out, where=union > 0)
    return out


def areas(boxes: Boxes) -> npt.NDArray[np.float64]:
    """Give the area of each box ``(N, 4)``; 0 for one turned inside out."""
    boxes = np.asarray(boxes, np.float64)
    return np.asarray(np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1))


def suppress(boxes: Boxes, scores: Floats, max_overlap: float) -> npt.NDArray[np.intp]:
    """Keep the best box of every heap of overlapping ones (greedy non-maximum suppression).

    Args:
        boxes: ``(N, 4)``.
        scores: ``(N,)``; among equals the earlier box wins.
        max_overlap: Intersection over union above which the weaker box goes.

    Returns:
        Positions of the kept boxes, best first.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        order = rest[overlaps(boxes[rest], boxes[best]) <= max_overlap]
    return np.array(kept, np.intp)
